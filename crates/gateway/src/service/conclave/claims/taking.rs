//! Taking and extending claims.
//!
//! A holder that asks again, for no longer than was promised before in its tenure, needs no
//! command: the leader moves the deadline of the tenure's timer. That timer was read from this
//! member's state, which may be old; but a timer is of one tenure and of one longest promise for
//! ever. If the leader still has it, with everything applied that was committed when it was asked,
//! the tenure lasts. What a timer does not prove (that the namespace allows the duration, that the
//! session lives) is read with everything that was committed before, while the leader is asked.
//!
//! 1. What is answered as taken or extended holds for the guaranteed time from when the call was
//!    made: the deadline was set after that, by a leader that was confirmed after that, or by one
//!    that began later still.
//! 2. A remembered answer tells of a call that is past. Before it is given, the tenure is extended
//!    for this call; if it is over, the claim is denied, in the name of its present holder.
//! 3. With a dedupe id the command is the same in every attempt: it has all the items or none,
//!    whatever could be extended meanwhile.

use super::super::decide::{Decided, decide, look};
use crate::convert::conclave::Caller;
use crate::convert::conclave::claim::result;
use crate::gateway::Gateway;
use crate::service::quota::Quota;
use crate::status::{dedupe_id_reused, not_read, text};
use conclave_api::conclave::v1;
use conclave_node::keeper::Extension;
use conclave_state::coord::instance_of;
use conclave_state::coord::read::{self, ClaimState, HolderState};
use conclave_state::{Claim, ClaimAnswer, CoordBody, CoordResponse, Expect, Limits, Name, Twin};
use futures::TryFutureExt;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use tokio::time::Instant;
use tonic::Status;

/// More items are looked up beside the event loop.
const FEW: usize = 64;

/// About how many bytes a claim adds to the store.
const ROWS: usize = 512;

pub(super) struct Taking<'a> {
    pub(super) gateway: &'a Gateway,
    quota: &'a Quota,
    /// When the call was known here: after it was made.
    pub(super) began: Instant,
}

/// One item's fate.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) answer: ClaimAnswer,
    pub(super) guaranteed_ms: u64,
}

/// A tenure that lasts for so long from now at least.
pub(super) struct Hold {
    pub(super) fence: i64,
    pub(super) millis: u64,
}

impl<'a> Taking<'a> {
    pub(super) fn new(gateway: &'a Gateway, quota: &'a Quota) -> Taking<'a> {
        Taking { gateway, quota, began: Instant::now() }
    }

    pub(super) async fn run(self, caller: Caller, items: Vec<Claim>) -> Result<v1::ClaimResponse, Status> {
        // An extension is no command, and needs the same right.
        self.gateway.require(|| caller.clone().command(CoordBody::Claim(items.clone())))?;
        let mut told: Vec<Option<Told>> = repeated(&items);
        let mut revision = self.extend(&caller, &items, &mut told).await?;
        let open: Vec<usize> = (0..items.len()).filter(|at| told[*at].is_none()).collect();
        if !open.is_empty() {
            let asked: Vec<Claim> = open.iter().map(|&at| items[at].clone()).collect();
            self.quota.admit(ROWS * asked.len()).await?;
            let (at, answers) = self.command(&caller, asked).await?;
            revision = at;
            let fresh = |(&at, answer): (&usize, ClaimAnswer)| Told { answer, guaranteed_ms: items[at].duration_ms };
            let mut fates: Vec<Told> = open.iter().zip(answers).map(fresh).collect();
            if caller.dedupe.is_some() {
                let asked: Vec<Claim> = open.iter().map(|&at| items[at].clone()).collect();
                self.renew(&caller, &asked, &mut fates).await?;
            }
            for (&at, fate) in open.iter().zip(fates) {
                told[at] = Some(fate);
            }
            if let ([item], Some(Told { answer: ClaimAnswer::Waiting { ticket }, .. })) = (&items[..], &told[0]) {
                let (at, granted) = self.wait(&caller, item, *ticket).await?;
                told[0] = Some(granted);
                revision = at;
            }
        }
        let results = items.iter().zip(told).map(|(item, told)| {
            let Told { answer, guaranteed_ms } = told.expect("decided, one way or the other");
            result(&item.claim, answer, guaranteed_ms)
        });
        Ok(v1::ClaimResponse { header: Some(self.gateway.header(revision)), results: results.collect() })
    }

    /// Extends without a command what can be. Returns the revision that was looked at.
    async fn extend(&self, caller: &Caller, items: &[Claim], told: &mut [Option<Told>]) -> Result<i64, Status> {
        let open: Vec<usize> = (0..items.len()).filter(|at| told[*at].is_none()).collect();
        let able_in = |standings: &Standings| -> Vec<(usize, i64, Extension)> {
            let able = |&at: &usize| standings.extension(caller, &items[at], at).map(|(fence, to)| (at, fence, to));
            open.iter().filter_map(able).collect()
        };
        let (mut standings, mut revision) = self.standings(caller, items, true).await?;
        let mut able = able_in(&standings);
        let doubtful = able.len() < open.len();
        if doubtful {
            // Perhaps it was taken through another member a moment ago: a command is for what the
            // present does not allow.
            (standings, revision) = self.standings(caller, items, false).await?;
            able = able_in(&standings);
        }
        if able.is_empty() || (caller.dedupe.is_some() && able.len() < open.len()) {
            return Ok(revision);
        }
        let extensions: Vec<Extension> = able.iter().map(|(.., extension)| *extension).collect();
        let lasts = if doubtful {
            self.gateway.node.timers.extend(&extensions).await.map_err(not_read)?
        } else {
            // Both rounds are shared with others, and go at the same time.
            let extended = self.gateway.node.timers.extend(&extensions);
            let (lasts, (present, at)) =
                tokio::try_join!(extended.map_err(not_read), self.standings(caller, items, false))?;
            revision = at;
            let still = able_in(&present);
            lasts.iter().zip(&able).map(|(lasts, able)| *lasts && still.contains(able)).collect()
        };
        if caller.dedupe.is_some() && lasts.contains(&false) {
            return Ok(revision);
        }
        for ((at, fence, Extension { timer, millis }), _) in able.into_iter().zip(lasts).filter(|(_, lasts)| *lasts) {
            let answer = ClaimAnswer::Extended { fence, timer, longest_ms: millis };
            told[at] = Some(Told { answer, guaranteed_ms: millis });
        }
        Ok(revision)
    }

    async fn standings(
        &self,
        caller: &Caller,
        items: &[Claim],
        serializable: bool,
    ) -> Result<(Standings, i64), Status> {
        let names: Vec<Name> = items.iter().map(|item| item.claim.clone()).collect();
        let session = caller.session;
        look(self.gateway, serializable, names.len() > FEW, move |view| {
            let mut limits = BTreeMap::new();
            let mut claims = Vec::with_capacity(names.len());
            for name in names {
                claims.push(read::claim(view, &name)?);
                if let Entry::Vacant(unknown) = limits.entry(name.namespace) {
                    let those = read::limits(view, unknown.key())?;
                    unknown.insert(those);
                }
            }
            let session = session == 0 || conclave_state::read::lease_ttl(view, session)?.is_some();
            Ok(Standings { claims, limits, session })
        })
        .await
    }

    async fn command(&self, caller: &Caller, items: Vec<Claim>) -> Result<(i64, Vec<ClaimAnswer>), Status> {
        let items = match <[Claim; 1]>::try_from(items) {
            Ok([item]) if item.wait => return self.propose_to_wait(caller, item).await,
            Ok(item) => item.into(),
            Err(items) => items,
        };
        let count = items.len();
        let Decided { revision, answer } = decide(self.gateway, caller.clone(), CoordBody::Claim(items)).await?;
        match answer {
            CoordResponse::Claims { items } if items.len() == count => Ok((revision, items)),
            _ if caller.dedupe.is_some() => Err(dedupe_id_reused()),
            other => Err(super::not_of_it(&other)),
        }
    }

    /// Of answers that may be remembered ones: the same for the present. One call to the leader for
    /// all of them, as far as that decides.
    async fn renew(&self, caller: &Caller, items: &[Claim], told: &mut [Told]) -> Result<(), Status> {
        let (standings, _) = self.standings(caller, items, true).await?;
        let mut taken: Vec<(usize, i64)> = Vec::new();
        let mut extensions = Vec::new();
        for (at, fate) in told.iter().enumerate() {
            let (ClaimAnswer::Taken { fence, .. } | ClaimAnswer::Extended { fence, .. }) = fate.answer else {
                continue;
            };
            let tenure = standings.claims[at].as_ref().and_then(|state| state.holder.as_ref());
            let timer = tenure.filter(|tenure| is_of(tenure, &items[at], fence)).map_or(0, |tenure| tenure.timer);
            let longest = tenure.map_or(0, |tenure| tenure.longest_ms);
            taken.push((at, fence));
            extensions.push(Extension { timer, millis: items[at].duration_ms.min(longest) });
        }
        if taken.is_empty() {
            return Ok(());
        }
        // A timer 0 is none: what has it is looked at again, by itself.
        let lasts = self.gateway.node.timers.extend(&extensions).await.map_err(not_read)?;
        for (((at, fence), Extension { timer, millis }), lasts) in taken.into_iter().zip(extensions).zip(lasts) {
            let item = &items[at];
            told[at] = if timer != 0 && lasts {
                Told { answer: told[at].answer.clone(), guaranteed_ms: millis }
            } else {
                match self.hold(item, |tenure| is_of(tenure, item, fence)).await?.1 {
                    Ok(Hold { millis, .. }) => Told { answer: told[at].answer.clone(), guaranteed_ms: millis },
                    Err(holder) => Told { answer: denied(holder), guaranteed_ms: 0 },
                }
            };
        }
        Ok(())
    }

    /// Has the tenure that is meant last on, from now; or tells who holds the claim instead. With
    /// the revision at which that was so.
    pub(super) async fn hold(
        &self,
        item: &Claim,
        is_meant: impl Fn(&HolderState) -> bool,
    ) -> Result<(i64, Result<Hold, Option<HolderState>>), Status> {
        let end = Instant::now() + self.gateway.node.config.request_timeout();
        let mut of_present = false;
        while Instant::now() < end {
            let name = item.claim.clone();
            let (state, at) = look(self.gateway, !of_present, false, move |view| read::claim(view, &name)).await?;
            let holder = state.and_then(|state| state.holder);
            // A tenure that is over does not come back.
            let Some(HolderState { fence, longest_ms, timer, .. }) = holder.as_ref().filter(|holder| is_meant(holder))
            else {
                return Ok((at, Err(holder)));
            };
            let millis = item.duration_ms.min(*longest_ms);
            if *timer != 0 {
                if self.gateway.node.timers.extend(&[Extension { timer: *timer, millis }]).await.map_err(not_read)?
                    == [true]
                {
                    return Ok((at, Ok(Hold { fence: *fence, millis })));
                }
            } else if of_present {
                // It ran out while the claim is pinned, and will have its whole time again when it
                // no longer is.
                return Ok((at, Ok(Hold { fence: *fence, millis })));
            }
            // The leader knows more than is applied here: the tenure is over, or has another timer.
            of_present = true;
        }
        Err(text::TIMED_OUT.status())
    }
}

/// A name counts once in a request.
fn repeated(items: &[Claim]) -> Vec<Option<Told>> {
    let mut named = BTreeSet::new();
    let again = || Told { answer: ClaimAnswer::Repeated {}, guaranteed_ms: 0 };
    items.iter().map(|item| if named.insert(item.claim.clone()) { None } else { Some(again()) }).collect()
}

/// Whether a tenure is the one that an item was answered with. All items of a command have the same
/// fence.
fn is_of(tenure: &HolderState, item: &Claim, fence: i64) -> bool {
    tenure.fence == fence && tenure.holder == item.holder
}

/// Whether the tenure is this caller's, as far as no session has ended.
pub(super) fn is_same(caller: &Caller, item: &Claim, tenure: &HolderState) -> bool {
    tenure.session == caller.session && tenure.instance == instance_of(caller.session, &item.instance)
}

pub(super) fn denied(holder: Option<HolderState>) -> ClaimAnswer {
    match holder {
        Some(HolderState { holder, instance, fence, .. }) => ClaimAnswer::Denied { holder, instance, fence },
        None => ClaimAnswer::Denied { holder: String::new(), instance: String::new(), fence: 0 },
    }
}

/// What this member knows of the claims that a request names.
struct Standings {
    claims: Vec<Option<ClaimState>>,
    limits: BTreeMap<String, Limits>,
    /// The caller's is there, or it has none.
    session: bool,
}

impl Standings {
    /// How an item can be had without a command: the tenure's fence, and the timer with the time
    /// that it is to run. Whatever is doubtful is left to the command.
    fn extension(&self, caller: &Caller, item: &Claim, at: usize) -> Option<(i64, Extension)> {
        let state = self.claims[at].as_ref()?;
        let tenure = state.holder.as_ref()?;
        // Who shares gives up its place in line, if it has one: that takes the command. So does a
        // holder that comes with another session.
        let shares = item.twin == Twin::Share && tenure.shared && state.waiting == 0;
        // A holder that begins to share changes its tenure: that takes the command, too.
        let begins_to_share = item.twin == Twin::Share && !tenure.shared;
        let same = (is_same(caller, item, tenure) && !begins_to_share) || shares;
        let allowed = self.limits.get(&item.claim.namespace)?;
        let fits =
            (allowed.min_ms..=allowed.max_ms).contains(&item.duration_ms) && item.duration_ms <= tenure.longest_ms;
        let able = self.session && tenure.holder == item.holder && same && fits && tenure.timer != 0;
        let expected = caller.expect.as_ref().is_none_or(|expect| is_as_expected(expect, tenure));
        let extension = Extension { timer: tenure.timer, millis: item.duration_ms };
        (able && expected).then_some((tenure.fence, extension))
    }
}

/// As far as the timer proves it. The revision of the last change it does not.
fn is_as_expected(expect: &Expect, tenure: &HolderState) -> bool {
    expect.revision.is_none()
        && expect.fence.is_none_or(|fence| fence == tenure.fence)
        && expect.holder.as_ref().is_none_or(|holder| *holder == tenure.holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name { namespace: "n".into(), name: name.into() }
    }

    fn item(duration_ms: u64) -> Claim {
        Claim { claim: name("db"), holder: "a".into(), instance: "1".into(), duration_ms, ..Claim::default() }
    }

    fn standings() -> Standings {
        let (holder, instance) = ("a".into(), "1".into());
        let (session, shared) = (0, false);
        let tenure = HolderState { holder, instance, fence: 7, longest_ms: 60_000, timer: 3, session, shared };
        let state = ClaimState { holder: Some(tenure), waiting: 0, pins: 0, revision: 7 };
        Standings { claims: vec![Some(state)], limits: [("n".into(), Limits::default())].into(), session: true }
    }

    fn able(standings: &Standings, item: &Claim) -> bool {
        standings.extension(&Caller::default(), item, 0).is_some()
    }

    #[test]
    fn what_its_timer_proves_is_extended_without_a_command() {
        let found = standings().extension(&Caller::default(), &item(60_000), 0);
        assert_eq!(found, Some((7, Extension { timer: 3, millis: 60_000 })));
        assert!(able(&standings(), &item(5_000)));
    }

    #[test]
    fn everything_else_is_left_to_the_command() {
        assert!(!able(&standings(), &item(60_001)), "longer than ever promised");
        assert!(!able(&standings(), &item(4_999)), "less than the namespace allows");
        let other = Claim { instance: "2".into(), ..item(5_000) };
        assert!(!able(&standings(), &other));
        let share = Claim { twin: Twin::Share, ..other.clone() };
        assert!(!able(&standings(), &share), "the holder does not share");
        assert!(!able(&standings(), &Claim { twin: Twin::Share, ..item(5_000) }), "it does from now on");
        let mut line = standings();
        line.claims[0].as_mut().unwrap().holder.as_mut().unwrap().shared = true;
        assert!(able(&line, &share));
        line.claims[0].as_mut().unwrap().waiting = 1;
        assert!(!able(&line, &share) && able(&line, &item(5_000)));
        assert!(!able(&standings(), &Claim { twin: Twin::TakeOver, ..other }));
        assert!(!able(&standings(), &Claim { holder: "b".into(), ..item(5_000) }));
        let of_session = |session| {
            let caller = Caller { session, ..Caller::default() };
            let own = Claim { instance: String::new(), ..item(5_000) };
            let named = [own, item(5_000)].map(|item| standings().extension(&caller, &item, 0).is_some());
            assert_eq!(named, [false; 2], "another session, whatever its instance is called");
        };
        of_session(1);
        of_session(2);
        let spoilt: [fn(&mut Standings); 4] = [
            |standings| standings.session = false,
            |standings| standings.claims[0] = None,
            |standings| standings.claims[0].as_mut().unwrap().holder = None,
            |standings| standings.claims[0].as_mut().unwrap().holder.as_mut().unwrap().timer = 0,
        ];
        for spoil in spoilt {
            let mut standings = standings();
            spoil(&mut standings);
            assert!(!able(&standings, &item(5_000)));
        }
    }

    #[test]
    fn an_expectation_is_met_by_what_the_timer_proves_or_by_the_command() {
        let expecting = |expect: Expect| {
            let caller = Caller { expect: Some(expect), ..Caller::default() };
            standings().extension(&caller, &item(5_000), 0).is_some()
        };
        let none = Expect::default();
        assert!(expecting(Expect { fence: Some(7), holder: Some("a".into()), revision: None }));
        assert!(!expecting(Expect { fence: Some(8), ..none.clone() }));
        assert!(!expecting(Expect { holder: Some(String::new()), ..none.clone() }));
        assert!(!expecting(Expect { revision: Some(7), ..none }));
    }

    #[test]
    fn a_name_counts_once() {
        let again = repeated(&[item(1), Claim { claim: name("x"), ..item(1) }, item(2)]);
        assert_eq!(again.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
    }
}
