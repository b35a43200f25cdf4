//! Following elections, locks and claims on this node: what the RPCs that wait and watch stand on.
//!
//! # The idea
//!
//! Whatever coordination commands decide is projected into keys under `/_conclave/`, so the events of those keys are the changes of an
//! election, a lock or a claim. A [`Subscription`] gives the events of one span of those keys, revision by revision: from memory while
//! it keeps up, from the store's history when it is behind. [`Shown`](conclave_state::coord::Shown) says what a key speaks of, [`decode`]
//! what its value says.
//!
//! All subscriptions to one span share one *topic*: its newest batches, which apply appends to. A subscription is a number, the next
//! revision that it wants. So an event costs apply a look in an index and one append for a topic, however many follow it, and
//! who reads slowly costs nobody anything: what falls out of the topic is read from the store.
//!
//! # Invariants
//!
//! 1. A topic holds every batch of its span from revision `from` on, up to the hub's revision. All below `from` is in the store. Who has
//!    missed nothing but what falls out of the topic begins there in the store, not at what it saw last.
//! 2. Batches are whole revisions, in order; a subscription is given each one once. `next` may be dropped at any point: what was not
//!    returned is given again.
//! 3. Apply takes two short locks and waits for nobody. A topic is bounded ([`topic::MOST_BATCHES`], [`topic::MOST_BYTES`]), and holds only
//!    what a subscription has yet to see.
//! 4. A snapshot that replaces the state is not seen by subscriptions, but as history.
//! 5. Locks are taken in the order hub, topic; none is held across an await.

pub mod decode;
mod history;
mod hub;
#[cfg(test)]
pub(crate) mod tests;
mod topic;

pub use hub::{Feed, Subscription};

use bytes::Bytes;
use conclave_state::read;
use conclave_state::{Event, Fault};
use conclave_storage::{StateHandle, StateView};
use thiserror::Error;

/// The keys that a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span(crate::watch::interest::Span);

impl Span {
    #[must_use]
    pub fn key(key: Vec<u8>) -> Span {
        Span(crate::watch::interest::Span::Key(key.into()))
    }

    /// All keys that begin so; the prefixes of one election, lock or claim are in [`conclave_state::coord`].
    #[must_use]
    pub fn prefix(prefix: Vec<u8>) -> Span {
        let mut end = prefix.clone();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = end.last_mut().map(|byte| *byte += 1).map(|()| Bytes::from(end));
        Span(crate::watch::interest::Span::Range { start: prefix.into(), end })
    }

    fn contains(&self, key: &[u8]) -> bool {
        match &self.0 {
            crate::watch::interest::Span::Key(own) => own == key,
            crate::watch::interest::Span::Range { start, end } => {
                &start[..] <= key && end.as_ref().is_none_or(|end| key < &end[..])
            }
        }
    }
}

/// All events of a span in one revision, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub revision: i64,
    pub events: Vec<Event>,
}

/// Why a subscription cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// History that it needs is gone: begin anew, from the present.
    #[error("compacted up to revision {0}")]
    Compacted(i64),
    #[error("{0}")]
    Fault(String),
}

/// The applied state at one point in time, and the store's revision in exactly that state.
pub fn snapshot(state: &StateHandle) -> Result<(StateView, i64), Fault> {
    let view = state.view();
    let revision = read::meta(&view)?.revision;
    Ok((view, revision))
}
