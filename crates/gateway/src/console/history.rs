//! Who led or held a name, with which fence, and why that changed.
//!
//! Each tenure has a key of its own, named by its fence, which exists as long as the tenure lasts
//! (see `conclave_state::coord`). Fences are revisions, so the latest tenures are those with fences
//! just below the present. The keys of a window of fences are read, and of wider ones until there
//! are enough.

use super::times::Times;
use crate::service::conclave::values::{self, LockValue, TenureValue, TermValue};
use bytes::Bytes;
use conclave_console::name::{Change, History};
use conclave_state::auth::prefix_range;
use conclave_state::coord::{leader_key, lock_holder_key, tenure_key, term_key};
use conclave_state::{Cause, Event, EventKind, Fault, KeyRange, Name, read};
use conclave_storage::StateView;
use std::collections::BTreeMap;

/// Tenures that are enough.
const ENOUGH: usize = 25;

/// Changes that are shown.
const SHOWN: usize = 50;

/// Versions and bytes of keys that are read of one window.
const MOST: usize = 400;
const MOST_BYTES: usize = 1 << 20;

/// Fences of the first window, and how much wider each next one is. No more than [`MOST`] versions
/// are in the first one: a tenure has two, and a revision begins one at most.
const FIRST: i64 = 128;
const WIDER: i64 = 8;

/// Whose tenures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turns {
    Election,
    Lock,
    Claim,
}

impl Turns {
    fn key(self, name: &Name, fence: i64) -> Vec<u8> {
        match self {
            Turns::Election => leader_key(name, fence),
            Turns::Lock => lock_holder_key(name, fence),
            Turns::Claim => tenure_key(name, fence),
        }
    }
}

/// The digits of a fence in a key.
const DIGITS: usize = 16;

fn fence_of(key: &[u8]) -> Option<i64> {
    let (_, digits) = key.split_last_chunk::<DIGITS>()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(u64::cast_signed)
}

pub(super) fn turns(view: &StateView, name: &Name, of: Turns) -> Result<History, Fault> {
    let (events, is_whole) = latest(view, |fence| of.key(name, fence))?;
    let compacted = view.bounds().compacted;
    // Who it was is known by the beginning of a tenure.
    let mut holders: BTreeMap<i64, String> = BTreeMap::new();
    let mut changes = Vec::new();
    let (puts, ends): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|event| event.kind == EventKind::Put);
    for event in puts.iter().filter(|event| event.kv.version == 1) {
        let Some(fence) = fence_of(&event.kv.key) else { continue };
        let at = event.kv.mod_revision;
        let change = |holder: String, cause, about| Change {
            at: Times::at(at),
            what: "begins",
            who: holder,
            fence,
            cause: word(cause),
            about,
        };
        let change = match of {
            Turns::Election => {
                let term = term(view, name, at, compacted)?;
                let about = if term.subject == term.leader { String::new() } else { term.subject };
                change(term.leader, term.cause, about)
            }
            Turns::Lock => {
                let lock: LockValue = values::value(&event.kv.value).unwrap_or_default();
                change(lock.owner, lock.cause, String::new())
            }
            Turns::Claim => {
                let tenure: TenureValue = values::value(&event.kv.value).unwrap_or_default();
                change(tenure.holder, tenure.cause, String::new())
            }
        };
        holders.insert(fence, change.who.clone());
        changes.push(change);
    }
    for event in ends {
        let Some(fence) = fence_of(&event.kv.key) else { continue };
        let at = event.kv.mod_revision;
        let (cause, about) = match of {
            Turns::Election => {
                let term = term(view, name, at, compacted)?;
                (term.cause, term.reason)
            }
            Turns::Lock | Turns::Claim => (None, String::new()),
        };
        let who = holders.get(&fence).cloned().unwrap_or_default();
        changes.push(Change { at: Times::at(at), what: "ends", who, fence, cause: word(cause), about });
    }
    // What ends does so before what begins in the same revision.
    changes.sort_by_key(|change| std::cmp::Reverse((change.at.revision, change.what == "begins", change.fence)));
    let is_cut = !is_whole || changes.len() > SHOWN || compacted > 0;
    changes.truncate(SHOWN);
    Ok(History { changes, is_cut })
}

/// The election as it was right after a change; nothing if that was compacted.
fn term(view: &StateView, name: &Name, at: i64, compacted: i64) -> Result<TermValue, Fault> {
    if at < compacted {
        return Ok(TermValue::default());
    }
    let shown = read::version_at(view, &term_key(name), at)?;
    Ok(shown.and_then(|kv| values::value(&kv.value)).unwrap_or_default())
}

fn word(cause: Option<Cause>) -> String {
    cause.map_or_else(String::new, |cause| cause.word().replace('_', " "))
}

/// The versions of the keys of the latest fences, and whether these are all that are kept.
fn latest(view: &StateView, key: impl Fn(i64) -> Vec<u8>) -> Result<(Vec<Event>, bool), Fault> {
    let current = view.bounds().current;
    let first = key(0);
    let end = prefix_range(&first[..first.len().saturating_sub(DIGITS)]).end;
    let (mut window, mut before) = (FIRST, Vec::new());
    loop {
        let from = current.saturating_sub(window).max(0);
        let range = KeyRange { key: Bytes::from(key(from)), end: end.clone() };
        let (events, is_whole) = read::versions(view, &range, MOST, MOST_BYTES)?;
        if !is_whole && !before.is_empty() {
            // The latest are not among them: keys come in order.
            return Ok((before, false));
        }
        if from == 0 || !is_whole || events.iter().filter(|event| event.kv.version == 1).count() >= ENOUGH {
            return Ok((events, is_whole && from == 0));
        }
        (window, before) = (window.saturating_mul(WIDER), events);
    }
}
