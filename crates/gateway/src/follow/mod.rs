//! Following what is applied: subscriptions to spans of keys, with history.
//!
//! # The idea
//!
//! Everything that a call waits for is a key: the queues of the etcd wire are keys, and what
//! elections, locks and claims decide is projected into keys under `/_conclave/`
//! ([`Shown`](conclave_state::coord::Shown)). A [`Subscription`] gives the events of one span of
//! keys, revision by revision: from memory while it keeps up, from the store's history when it is
//! behind ([`Subscription::next`]). A caller that can do with the present is told to look at it
//! instead ([`Subscription::recent`]).
//!
//! All subscriptions to one span share one *topic*: its newest batches, which apply appends to. A
//! subscription is a number, the next revision that it wants. So an event costs apply a look in an
//! index and one append for a topic, however many follow it, and a slow reader costs nobody
//! anything.
//!
//! Watches ([`crate::watch`]) share the index ([`followers`]), the view of the state and the
//! reading of history, and have their own delivery.
//!
//! # Invariants
//!
//! 1. A topic holds every batch of its span from revision `from` on, up to the hub's revision. All
//!    below `from` is in the store. Who has missed nothing but what falls out of the topic begins
//!    there in the store, not at what it saw last.
//! 2. Batches are whole revisions, in order; a subscription is given each one once. `next` and
//!    `recent` may be dropped at any point: what was not returned is given again.
//! 3. Apply takes two short locks and waits for nobody. A topic is bounded
//!    ([`topic::MOST_BATCHES`], [`topic::MOST_BYTES`]), and holds only what a subscription has yet
//!    to see.
//! 4. A snapshot that replaces the state is not seen by subscriptions, but as history.
//! 5. Locks are taken in the order hub, topic; none is held across an await.

mod feed;
pub(crate) mod followers;
pub(crate) mod history;
mod index;
mod intervals;
mod source;
mod span;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod topic;

pub use feed::{Feed, Subscription};
pub use history::History;
pub use source::{StateAt, StateSource, ViewAt};
pub use span::{EmptyRange, Span};

use conclave_state::read;
use conclave_state::{Event, Fault};
use conclave_storage::{StateHandle, StateView};
use thiserror::Error;

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
