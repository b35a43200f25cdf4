//! Elections, locks and claims in the transcripts.
//!
//! A name is `name` (of the namespace `d`) or `namespace:name`. Every operation takes `lease=`,
//! `dedupe=` (a number) and `expect_fence=`, `expect_rev=`, `expect_holder=`. Items of a claim are
//! parted by `+`; parts of a lock are `x`, `x/shared` or `x/2of5`.

use super::parse::Words;
use super::print;
use conclave_state::coord::read;
use conclave_state::*;
use std::fmt::Write;

fn name(word: &str) -> Name {
    let (namespace, name) = word.split_once(':').unwrap_or(("d", word));
    Name { namespace: namespace.into(), name: name.into() }
}

fn text(words: &mut Words<'_>, option: &str) -> Result<String, String> {
    Ok(words.option(option)?.unwrap_or_default())
}

/// The operation of a line, if it is one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Result<Option<Command>, String> {
    match verb {
        "fire" => {
            let term = words.option("term")?.unwrap_or(1);
            let mut ids = Vec::new();
            while words.end().is_err() {
                ids.push(words.number("a timer")?);
            }
            return Ok(Some(Command::CoordTimer(CoordTimer { ids, term })));
        }
        "session" => {
            let grant = LeaseGrant { id: words.number("a lease")?, ttl_ms: words.number("a TTL in milliseconds")? };
            return Ok(Some(Command::LeaseGrant(grant)));
        }
        _ => {}
    }
    if verb == "cancel" {
        return cancel(words).map(Some);
    }
    let session = words.or_default("lease")?;
    let dedupe = words.option::<u128>("dedupe")?.map(u128::to_be_bytes);
    let expect = Expect {
        fence: words.option("expect_fence")?,
        revision: words.option("expect_rev")?,
        holder: words.option::<String>("expect_holder")?.map(|holder| holder.replace("nobody", "")),
    };
    let expect = (expect != Expect::default()).then_some(expect);
    let Some(body) = election(verb, words)?.map_or_else(|| other(verb, words), |body| Ok(Some(body)))? else {
        return Ok(None);
    };
    Ok(Some(Command::Coord(Box::new(Coord { session, dedupe, expect, body }))))
}

fn cancel(words: &mut Words<'_>) -> Result<Command, String> {
    let session = words.or_default("lease")?;
    let attempt = words.option("attempt")?.ok_or("the attempt is missing")?;
    let dedupe = words.option::<u128>("dedupe")?.map(u128::to_be_bytes);
    let place = match words.next("a kind of place")? {
        "key" => PlaceId::Key(words.bytes("a key")?),
        "candidate" => PlaceId::Candidate {
            election: name(words.next("an election")?),
            candidate: words.next("a candidate")?.to_owned(),
        },
        "request" => PlaceId::Request { fence: words.number("a fence")?, dedupe },
        other => return Err(format!("unknown place {other}")),
    };
    Ok(Command::Cancel(Cancel { session, attempt, place }))
}

#[expect(clippy::too_many_lines, reason = "a table: one arm a verb")]
fn election(verb: &str, words: &mut Words<'_>) -> Result<Option<CoordBody>, String> {
    let ignore_missing = words.flag("ignore_missing");
    let of = |words: &mut Words<'_>| -> Result<(Name, String), String> {
        Ok((name(words.next("an election")?), words.next("a candidate")?.to_owned()))
    };
    Ok(Some(match verb {
        "enter" => {
            let (election, candidate) = of(words)?;
            CoordBody::Enter(Enter {
                election,
                candidate,
                instance: text(words, "instance")?,
                priority: words.or_default("priority")?,
                labels: words.option::<String>("label")?.map(|label| (label, "yes".into())).into_iter().collect(),
                value: text(words, "value")?.into(),
                try_only: words.flag("try"),
                takeover: words.flag("takeover"),
                preempt: words.flag("preempt"),
                lock_delay_ms: words.or_default("delay")?,
                max_hold_ms: words.or_default("hold")?,
                attempt: words.or_default("attempt")?,
            })
        }
        "leave" => {
            let (election, candidate) = of(words)?;
            CoordBody::Leave(Leave { election, candidate, instance: words.option("instance")? })
        }
        "anoint" => {
            let (election, candidate) = of(words)?;
            CoordBody::Anoint(Anoint { election, candidate, ignore_missing })
        }
        "promote" => {
            let (election, candidate) = of(words)?;
            let to = match (words.flag("front"), words.flag("lead")) {
                (true, _) => PromoteTo::Front,
                (_, true) => PromoteTo::Lead,
                _ => PromoteTo::Places(words.option("places")?.unwrap_or(1)),
            };
            CoordBody::Promote(Promote { election, candidate, to, ignore_missing })
        }
        "demote" => {
            let (election, candidate) = of(words)?;
            CoordBody::Demote(Demote {
                election,
                candidate,
                places: words.option("places")?.unwrap_or(1),
                ignore_missing,
            })
        }
        "evict" => {
            let (election, candidate) = of(words)?;
            let (cooldown_ms, reason) = (words.or_default("cooldown")?, text(words, "reason")?);
            CoordBody::Evict(Evict { election, candidate, cooldown_ms, reason, ignore_missing })
        }
        "evict_everywhere" => CoordBody::EvictEverywhere(EvictEverywhere {
            candidate: words.next("a candidate")?.to_owned(),
            namespace: words.option("namespace")?,
            cooldown_ms: words.or_default("cooldown")?,
            reason: text(words, "reason")?,
        }),
        "proclaim_term" => CoordBody::ProclaimTerm(ProclaimTerm {
            term_id: words.option("term")?.ok_or("the term is missing")?,
            election: name(words.next("an election")?),
            value: words.bytes("a value")?,
        }),
        "request_transfer" => {
            let (election, to) = of(words)?;
            CoordBody::RequestTransfer(RequestTransfer {
                election,
                to,
                deadline_ms: words.or_default("deadline")?,
                force: words.flag("force"),
            })
        }
        "transfer" => CoordBody::Transfer(Transfer {
            term_id: words.option("term")?.ok_or("the term is missing")?,
            to: text(words, "to")?,
            leave: words.flag("leave"),
            election: name(words.next("an election")?),
        }),
        "delete_election" => CoordBody::DeleteElection(name(words.next("an election")?)),
        _ => return Ok(None),
    }))
}

fn other(verb: &str, words: &mut Words<'_>) -> Result<Option<CoordBody>, String> {
    Ok(Some(match verb {
        "acquire" => {
            let mut acquire = Acquire {
                owner: text(words, "owner")?,
                try_only: words.flag("try"),
                wait_ms: words.or_default("wait")?,
                lock_delay_ms: words.or_default("delay")?,
                max_hold_ms: words.or_default("hold")?,
                attempt: words.or_default("attempt")?,
                parts: Vec::new(),
            };
            while words.end().is_err() {
                acquire.parts.push(part(words.next("a lock")?)?);
            }
            CoordBody::Acquire(acquire)
        }
        "release" => CoordBody::Release(Release {
            evict: words.flag("evict"),
            cooldown_ms: words.or_default("cooldown")?,
            fence: words.number("a fence")?,
        }),
        "claim" => {
            let mut items = Vec::new();
            while words.end().is_err() {
                items.push(claim(&mut words.upto("+"))?);
            }
            CoordBody::Claim(items)
        }
        "unclaim" => CoordBody::Unclaim(Unclaim {
            claim: name(words.next("a claim")?),
            holder: words.next("a holder")?.to_owned(),
            instance: text(words, "instance")?,
        }),
        "revoke_claim" => CoordBody::Revoke(Revoke {
            claim: name(words.next("a claim")?),
            holder: words.option("holder")?,
            instance: words.option("instance")?,
        }),
        "pin" => CoordBody::Pin(Pin {
            with_session: words.flag("with_session"),
            max_ms: words.or_default("max")?,
            reason: text(words, "reason")?,
            claim: name(words.next("a claim")?),
            entity: words.next("an entity")?.to_owned(),
        }),
        "unpin" => {
            CoordBody::Unpin(Unpin { claim: name(words.next("a claim")?), entity: words.next("an entity")?.to_owned() })
        }
        "limits" => CoordBody::SetLimits(SetLimits {
            namespace: words.next("a namespace")?.to_owned(),
            limits: match words.option("min")? {
                None => None,
                Some(min_ms) => Some(Limits {
                    min_ms,
                    max_ms: words.or_default("max")?,
                    max_waiting: words.option("waiting")?.unwrap_or(10),
                }),
            },
        }),
        _ => return Ok(None),
    }))
}

fn claim(words: &mut Words<'_>) -> Result<Claim, String> {
    let twin = match (words.flag("takeover"), words.flag("share")) {
        (true, _) => Twin::TakeOver,
        (_, true) => Twin::Share,
        _ => Twin::Deny,
    };
    let wait_ms: Option<u64> = words.option("wait")?;
    let claim = Claim {
        instance: text(words, "instance")?,
        duration_ms: words.option("ms")?.unwrap_or(30_000),
        twin,
        wait: wait_ms.is_some() || words.flag("wait"),
        wait_ms: wait_ms.unwrap_or(0),
        claim: name(words.next("a claim")?),
        holder: words.next("a holder")?.to_owned(),
    };
    words.end().map(|()| claim)
}

fn part(word: &str) -> Result<LockPart, String> {
    let (lock, mode) = word.split_once('/').unwrap_or((word, "exclusive"));
    let mode = match (mode, mode.split_once("of")) {
        ("exclusive", _) => LockMode::Exclusive,
        ("shared", _) => LockMode::Shared,
        (_, Some((weight, capacity))) => LockMode::Permits {
            weight: weight.parse().map_err(|_| "a weight is missing")?,
            capacity: capacity.parse().map_err(|_| "a capacity is missing")?,
        },
        _ => return Err(format!("unknown mode {mode}")),
    };
    Ok(LockPart { lock: name(lock), mode })
}

pub(crate) fn response(response: &CoordResponse) -> String {
    match response {
        CoordResponse::Election { term, changed, standing } => {
            let standing = match standing {
                Standing::Absent {} => "absent",
                Standing::Waiting {} => "waits",
                Standing::Leads {} => "leads",
            };
            let Term { id, seq, leader, waiting, revision } = term;
            let leader = leader.as_deref().unwrap_or("nobody");
            let changed = if *changed { "" } else { " unchanged" };
            format!("{standing}{changed}: term={id} seq={seq} leader={leader} waiting={waiting} at={revision}")
        }
        CoordResponse::Claims { items } => items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" + "),
        other => format!("{other:?}"),
    }
}

/// Questions about elections, locks and claims.
#[expect(clippy::too_many_lines, reason = "a table: one arm a verb")]
pub(crate) fn ask(view: &MemoryView, verb: &str, words: &mut Words<'_>) -> Result<Option<String>, String> {
    let mut out = String::new();
    match verb {
        "order" => {
            let name = name(words.next("an election")?);
            let all = read::candidates(view, &name, 0, 100).expect("memory can be read");
            let ids: Vec<_> = all.iter().map(|candidate| candidate.id.as_str()).collect();
            let state = read::election(view, &name).expect("memory can be read");
            let Some(read::ElectionState { term, cause, previous, .. }) = state else {
                return Ok(Some("none\n".into()));
            };
            let leader = term.leader.as_deref().unwrap_or("nobody");
            let previous = previous.map_or(String::new(), |previous| format!(" after {previous}"));
            let (seq, order, cause) = (term.seq, ids.join(" "), cause.word());
            let _ = writeln!(out, "order: [{order}] leader={leader}{previous} seq={seq} cause={cause}");
        }
        "position" => {
            let (election, id) = (name(words.next("an election")?), words.next("a candidate")?);
            let _ = writeln!(out, "{:?}", read::position(view, &election, id).expect("memory can be read"));
        }
        "lockstate" => {
            let lock = name(words.next("a lock")?);
            let fences = |found: Vec<read::RequestState>| found.iter().map(|one| one.fence).collect::<Vec<_>>();
            let held = fences(read::lock_holders(view, &lock, 0, 100).expect("memory can be read"));
            let waiting = fences(read::lock_waiting(view, &lock, 0, 100).expect("memory can be read"));
            let delayed = read::lock(view, &lock).expect("memory can be read").is_some_and(|lock| lock.delayed);
            let _ = writeln!(out, "held={held:?} waiting={waiting:?}{}", if delayed { " delayed" } else { "" });
        }
        "claimstate" => {
            let claim = name(words.next("a claim")?);
            let state = read::claim(view, &claim).expect("memory can be read");
            let waiting = read::claim_waiting(view, &claim, 0, 100).expect("memory can be read");
            let waiting: Vec<_> = waiting.iter().map(|waiter| waiter.holder.as_str()).collect();
            let holder = state.as_ref().and_then(|state| state.holder.clone());
            let holder = holder.map_or("nobody".into(), |held| {
                format!("{}/{} fence={} longest={}", held.holder, held.instance, held.fence, held.longest_ms)
            });
            let pins = state.map_or(0, |state| state.pins);
            let _ = writeln!(out, "{holder} waiting={waiting:?} pins={pins}");
        }
        "coordrows" => {
            let mut rows = Vec::new();
            view.scan(Table::Coord, b"", &[0xff], &mut |key, row| {
                rows.push(format!("  {} = {}", key.escape_ascii(), row.escape_ascii()));
                Ok(Step::Next)
            })
            .expect("memory can be read");
            let _ = writeln!(out, "rows: {}\n{}", rows.len(), rows.join("\n"));
        }
        "timers" => {
            let timers = read::timers(view).expect("memory can be read");
            let timers: Vec<_> = timers.iter().map(|timer| (timer.id, timer.millis)).collect();
            let _ = writeln!(out, "timers: {timers:?}");
        }
        "token" => {
            let token = match words.next("a kind")? {
                "leader" => {
                    let (election, id) = (name(words.next("an election")?), words.next("a candidate")?);
                    read::leadership_token(view, &election, id)
                }
                "lock" => read::lock_token(view, words.number("a fence")?),
                "claim" => {
                    let (claim, holder) = (name(words.next("a claim")?), words.next("a holder")?);
                    read::claim_token(view, &claim, holder, None)
                }
                other => return Err(format!("unknown token {other}")),
            };
            match token.expect("memory can be read") {
                None => out.push_str("no token\n"),
                Some(Token { fence, guards }) => {
                    let _ = writeln!(out, "token: fence={fence}");
                    for Compare { range, relation, target } in guards {
                        let _ = writeln!(out, "  {} {relation:?} {target:?}", print::bytes(&range.key));
                    }
                }
            }
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}
