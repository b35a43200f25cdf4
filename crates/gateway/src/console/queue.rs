//! Queues of etcd's Lock and Election: keys that end with a lease. For who may read the keys.

use super::ends::Ends;
use super::found::{Found, Listed, empty};
use super::query::Query;
use super::times::Times;
use super::{PAGE, beginning};
use crate::gateway::Gateway;
use crate::service::conclave::decide::look_at;
use bytes::Bytes;
use conclave_console::coordination::{Row, Waiting};
use conclave_console::name::{Change, History, Holder, Waiter};
use conclave_console::{Kind, Left, Name as Shown, shown};
use conclave_state::auth::prefix_range;
use conclave_state::coord::{RESERVED, is_reserved};
use conclave_state::{Event, EventKind, Fault, KeyRange, LeaseId, queue, queue_prefix, read};
use conclave_storage::StateView;
use std::collections::BTreeMap;
use tonic::Status;

/// Names that are looked at for one page: a key that only looks like a place is passed over.
const MOST_NAMES: usize = 1_000;

/// Bytes of values that are read to say who is in front.
const MOST_BYTES: usize = 1 << 20;

/// Versions of places from which the history of a queue is made.
const MOST_VERSIONS: usize = 1_000;

/// Changes that are shown.
const SHOWN: usize = 50;

/// Places of a queue that are counted.
const MOST_COUNTED: usize = 1_000;

/// Characters of a value that say who it is.
const WHO: usize = 80;

fn lease_of(name: &[u8], key: &[u8]) -> LeaseId {
    let digits = key.get(name.len() + 1..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    // As etcd writes it: a sign, and digits.
    i128::from_str_radix(digits, 16).map_or(0, |id| id as i64)
}

/// A place belongs to a lease that lives. Other keys that end in a number are none.
fn is_place(view: &StateView, name: &[u8], key: &[u8]) -> Result<bool, Fault> {
    Ok(read::lease_ttl(view, lease_of(name, key))?.is_some())
}

/// The value of a place, which says whose it is, or its lease.
fn who(value: &[u8], lease: LeaseId) -> String {
    if value.is_empty() { format!("lease {lease:x}") } else { shown(value, WHO) }
}

pub(super) async fn list(
    gateway: &Gateway,
    prefix: Vec<u8>,
    after: Vec<u8>,
) -> Result<(Vec<Listed>, Option<Shown>), Status> {
    let range = beginning(&prefix);
    let read = move |view: &StateView| {
        let after = (!after.is_empty()).then_some(&after[..]);
        let names = names(view, &prefix, after)?;
        let (mut found, mut bytes, mut next) = (Vec::new(), 0, None);
        for (at, name) in names.iter().enumerate() {
            if found.len() >= PAGE || at == MOST_NAMES {
                next = at.checked_sub(1).map(|last| unspaced(&names[last]));
                break;
            }
            let places = queue::places(view, name, None, MOST_COUNTED + 1)?;
            let Some((created, key)) = places.first() else { continue };
            if is_place(view, name, key)? {
                found.push(row(view, name, (*created, key), places.len(), &mut bytes)?);
            }
        }
        Ok((found, next))
    };
    Ok(look_at(gateway, true, true, move || range, read).await?.0)
}

/// Names of queues, one more than are looked at. The keys that show elections, locks and claims look
/// like places too, and are stepped over as a whole.
fn names(view: &StateView, prefix: &[u8], after: Option<&[u8]>) -> Result<Vec<Bytes>, Fault> {
    let mut names = queue::names(view, prefix, after, MOST_NAMES + 1)?;
    if let Some(at) = names.iter().position(|name| is_reserved(name)) {
        names.truncate(at);
        let behind = [RESERVED, &[0xff]].concat();
        names.extend(queue::names(view, prefix, Some(&behind), MOST_NAMES + 1 - at)?);
    }
    Ok(names)
}

fn unspaced(name: &[u8]) -> Shown {
    Shown { namespace: String::new(), name: name.to_vec() }
}

fn waiting(places: usize) -> Waiting {
    match places {
        0..=MOST_COUNTED => Waiting::Exactly(places.saturating_sub(1) as u64),
        _ => Waiting::MoreThan(MOST_COUNTED as u64 - 1),
    }
}

fn row(
    view: &StateView,
    name: &Bytes,
    (created, key): (i64, &Bytes),
    places: usize,
    bytes: &mut usize,
) -> Result<Listed, Fault> {
    let lease = lease_of(name, key);
    let mut value = Bytes::new();
    if *bytes < MOST_BYTES {
        value = read::version_at(view, key, view.bounds().current)?.map_or(value, |kv| kv.value);
        *bytes += value.len();
    }
    let row = Row {
        name: unspaced(name),
        holder: Some(who(&value, lease)),
        others: 0,
        fence: Some(created),
        since: None,
        left: Left::Unlimited,
        waiting: waiting(places),
        notes: Vec::new(),
    };
    Ok(Listed { row, ends: Ends::Lease(lease) })
}

pub(super) async fn one(gateway: &Gateway, query: &Query) -> Result<Option<Found>, Status> {
    let name = query.bytes("name").to_vec();
    let prefix = queue_prefix(&name);
    let after = query.number("created")?.zip(Some(Bytes::copy_from_slice(query.bytes("after"))));
    let before: u64 = query.number("position")?.unwrap_or(0);
    let read = move |view: &StateView| of_name(view, &name, after.as_ref(), before);
    Ok(look_at(gateway, true, true, move || prefix_range(&prefix), read).await?.0)
}

fn of_name(view: &StateView, name: &[u8], after: Option<&(i64, Bytes)>, before: u64) -> Result<Option<Found>, Fault> {
    let counted = queue::places(view, name, None, MOST_COUNTED + 1)?;
    let history = history(view, name)?;
    if counted.is_empty() && history.changes.is_empty() {
        return Ok(None);
    }
    let mut page = empty(Kind::Queue, unspaced(name), waiting(counted.len()));
    let mut ends = Vec::new();
    if let Some((created, key)) = counted.first() {
        let found = place(view, name, key)?;
        let turn = history.changes.iter().find(|change| change.what == "begins").filter(|turn| turn.fence == *created);
        page.holders.push(Holder {
            who: found.who,
            instance: String::new(),
            part: String::new(),
            fence: *created,
            since: turn.map(|turn| turn.at),
            left: Left::Unlimited,
            lease: found.lease,
            value: None,
        });
        ends.push(Ends::Lease(found.lease));
    }
    let from = after.or(counted.first());
    let mut places = if from.is_some() { queue::places(view, name, from, PAGE + 1)? } else { Vec::new() };
    let more = places.len() > PAGE;
    places.truncate(PAGE);
    if let Some((created, key)) = places.last().filter(|_| more) {
        let position = before.saturating_add(places.len() as u64);
        page.next = Some(vec![
            ("created", created.to_string().into_bytes()),
            ("after", key.to_vec()),
            ("position", position.to_string().into_bytes()),
        ]);
    }
    let mut bytes = 0;
    for (position, (created, key)) in (before.saturating_add(1)..).zip(&places) {
        let lease = lease_of(name, key);
        let found = match bytes < MOST_BYTES {
            true => place(view, name, key)?,
            false => Place { who: who(b"", lease), lease, bytes: 0 },
        };
        bytes += found.bytes;
        let since = Some(Times::at(*created));
        let (instance, part) = (String::new(), String::new());
        page.queue.push(Waiter { position, who: found.who, instance, part, since, lease });
    }
    page.goes_on = after.is_some();
    page.history = history;
    Ok(Some(Found { page, ends }))
}

struct Place {
    who: String,
    lease: LeaseId,
    bytes: usize,
}

fn place(view: &StateView, name: &[u8], key: &Bytes) -> Result<Place, Fault> {
    let kv = read::version_at(view, key, view.bounds().current)?.unwrap_or_default();
    let lease = lease_of(name, key);
    Ok(Place { who: who(&kv.value, lease), lease, bytes: kv.value.len() })
}

/// Who was in front, from what places were taken and given back. Without the beginning nobody knows
/// who was: then there is no history.
fn history(view: &StateView, name: &[u8]) -> Result<History, Fault> {
    let prefix = queue_prefix(name);
    let KeyRange { key, end } = prefix_range(&prefix);
    let (mut events, is_whole) = read::versions(view, &KeyRange { key, end }, MOST_VERSIONS, MOST_BYTES)?;
    if !is_whole {
        return Ok(History { changes: Vec::new(), is_cut: true });
    }
    events.retain(|event| queue::name_of(&event.kv.key) == Some(name));
    events.sort_by_key(|event| event.kv.mod_revision);
    let compacted = view.bounds().compacted;
    let mut changes = turns(name, &events, compacted);
    changes.reverse();
    let is_cut = compacted > 0 || changes.len() > SHOWN;
    changes.truncate(SHOWN);
    Ok(History { changes, is_cut })
}

/// The first in line after each revision, in order.
fn turns(name: &[u8], events: &[Event], compacted: i64) -> Vec<Change> {
    let mut line: BTreeMap<(i64, Bytes), String> = BTreeMap::new();
    let mut front: Option<(i64, Bytes)> = None;
    let mut changes = Vec::new();
    for one in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
        let mut gone = String::new();
        for event in one {
            match event.kind {
                EventKind::Put => {
                    let who = who(&event.kv.value, lease_of(name, &event.kv.key));
                    line.insert((event.kv.create_revision, event.kv.key.clone()), who);
                }
                EventKind::Delete => line.retain(|(created, key), who| {
                    let ends = *key == event.kv.key;
                    if ends && front.as_ref() == Some(&(*created, key.clone())) {
                        gone.clone_from(who);
                    }
                    !ends
                }),
            }
        }
        let first = line.first_key_value();
        if front.as_ref() == first.map(|(place, _)| place) {
            continue;
        }
        let at = Times::at(one[0].kv.mod_revision);
        let shown = one[0].kv.mod_revision > compacted;
        if let Some((created, _)) = front.take().filter(|_| shown) {
            let (cause, about) = ("place given back or expired".to_owned(), String::new());
            changes.push(Change { at, what: "ends", who: gone, fence: created, cause, about });
        }
        if let Some((place, who)) = first {
            if shown {
                let (cause, about) = ("first in line".to_owned(), String::new());
                changes.push(Change { at, what: "begins", who: who.clone(), fence: place.0, cause, about });
            }
            front = Some(place.clone());
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_state::KeyValue;

    fn put(revision: i64, key: &'static str, created: i64) -> Event {
        let value = if revision == created { Bytes::new() } else { "proclaimed".into() };
        let kv = KeyValue {
            key: key.into(),
            value,
            create_revision: created,
            mod_revision: revision,
            ..KeyValue::default()
        };
        Event { kind: EventKind::Put, kv }
    }

    fn delete(revision: i64, key: &'static str) -> Event {
        Event {
            kind: EventKind::Delete,
            kv: KeyValue { key: key.into(), mod_revision: revision, ..KeyValue::default() },
        }
    }

    #[test]
    fn who_was_in_front_from_places() {
        let events = [
            put(2, "q/a", 2),
            put(3, "q/b", 3),
            put(4, "q/a", 2),
            put(5, "q/c", 5),
            delete(6, "q/b"),
            delete(7, "q/a"),
            delete(9, "q/c"),
        ];
        let told = |compacted| -> Vec<String> {
            let one =
                |change: &Change| format!("{} {} {} of {}", change.at.revision, change.who, change.what, change.fence);
            turns(b"q", &events, compacted).iter().map(one).collect()
        };
        let all = ["2 lease a begins of 2", "7 proclaimed ends of 2", "7 lease c begins of 5", "9 lease c ends of 5"];
        assert_eq!(told(0), all);
        assert_eq!(told(2), all[1..]);
    }

    #[test]
    fn the_lease_of_a_place() {
        assert_eq!(lease_of(b"q", b"q/7f"), 0x7f);
        assert_eq!(lease_of(b"q", b"q/-1"), -1);
        assert_eq!(lease_of(b"q", b"q/ffffffffffffffff"), -1);
        assert_eq!(lease_of(b"q", b"q"), 0);
    }
}
