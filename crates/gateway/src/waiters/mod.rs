//! Calls of this node that wait in a queue of the etcd wire until they are first, and calls that
//! observe which one is.
//!
//! # The idea
//!
//! A queue consists of keys, so a call that waits in it follows keys ([`crate::follow`]), like a
//! client that runs etcd's recipe itself. A waiting call follows two: its own, and one *ahead* of
//! it. When either changes, it looks at the present and finds that it is the first, that its own
//! key is gone, or that something else is ahead. Places are only ever added behind the others, so
//! nothing else matters to it.
//!
//! Ahead of a call is the nearest place of a call that waits here, if that is alive, and the first
//! of the queue otherwise. So a hand-over wakes one call of this node, however many wait, and is
//! found by one search, however long the queue is.
//!
//! # Invariants
//!
//! 1. A call is granted only by a look at the present in which its key is the first of the queue
//!    *and* is the incarnation that it was given. The revision of the grant is that of the look.
//! 2. It is lost by the first look in which that incarnation is gone: deleted, its lease over, or
//!    created anew. Every change of a followed key after the look leads to another one.
//! 3. A front ([`Fronts`]) that was found in a newer state says nothing about an older one. So
//!    states are opened, and fronts read and kept, under one lock.
//! 4. An observer sees the values of a leader in order, and leaders in the order in which they led.
//!    It passes over leaders that came and went before it looked. If it is further behind than a
//!    topic keeps, it goes on from the present.

mod acquire;
#[cfg(test)]
mod acquire_tests;
#[cfg(test)]
mod model;
mod observe;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use acquire::{AcquireError, AcquireRequest, Acquired, Held, Queues, RefreshLease};
pub use observe::{LeaderFeed, Leading};

use crate::follow::{Feed, Span, StateAt};
use bytes::Bytes;
use conclave_state::queue::Fronts;
use conclave_state::view::Fault;
use conclave_state::{KeyValue, Place};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thiserror::Error;

/// The place was the first of its queue at this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    #[error("the place is gone")]
    Gone,
    #[error("{0}")]
    Fault(String),
}

/// A create revision and a key: places stand in this order.
type At = (i64, Bytes);

#[derive(Clone)]
pub struct Waiters {
    shared: Arc<Shared>,
}

struct Shared {
    feed: Feed,
    local: Mutex<Local>,
}

/// Who waits and observes here.
#[derive(Default)]
struct Local {
    /// By name. Each has a waiting call or an observer.
    queues: HashMap<Bytes, Queue>,
    fronts: Fronts,
}

#[derive(Default)]
struct Queue {
    /// How many calls wait for each place.
    waiting: BTreeMap<At, usize>,
    observers: usize,
}

/// Where a place stands.
enum Standing {
    First,
    Gone,
    Behind {
        /// The key of a place before it.
        ahead: Bytes,
    },
}

impl Waiters {
    #[must_use]
    pub fn new(feed: Feed) -> Waiters {
        Waiters { shared: Arc::new(Shared { feed, local: Mutex::default() }) }
    }

    /// Waits until `place`, of the queue of `name`, is the first or is lost. Dropping the future
    /// ends the waiting and nothing else: the place stays until somebody withdraws it.
    pub async fn wait(&self, name: &[u8], place: &Place) -> Result<Granted, Lost> {
        let at = (place.create_revision, place.key.clone());
        let _waiting = self.enter(name, Some(at.clone()));
        let mut followed = None;
        loop {
            let (standing, revision) = self.standing(name, &at).map_err(|fault| Lost::Fault(fault.to_string()))?;
            let ahead = match standing {
                Standing::First => return Ok(Granted { revision }),
                Standing::Gone => return Err(Lost::Gone),
                Standing::Behind { ahead } => ahead,
            };
            let follow = |key| self.shared.feed.subscribe(Span::Key(key), Some(revision + 1));
            let own = followed.get_or_insert_with(|| follow(place.key.clone()));
            own.skip(revision);
            let mut ahead = follow(ahead);
            tokio::select! {
                _ = own.recent() => {}
                _ = ahead.recent() => {}
            }
        }
    }

    /// Reports the leaders of a queue, beginning with the present one.
    #[must_use]
    pub fn observe_leader(&self, name: &[u8]) -> LeaderFeed {
        LeaderFeed::new(self.clone(), name)
    }

    /// The present leader of a queue, in everything that is applied here, and the revision at which
    /// it leads.
    pub fn leader(&self, name: &[u8]) -> Result<(Option<KeyValue>, i64), Fault> {
        let mut local = self.shared.local.lock();
        let state = self.shared.feed.now()?;
        let first = local.first(&*state, name)?;
        drop(local);
        let kv = first.map(|(_, key)| present(&*state, &key)).transpose()?.flatten();
        Ok((kv, state.bounds().current))
    }

    /// How many names somebody waits for or observes here, for metrics and tests.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.shared.local.lock().queues.len()
    }

    /// Where a place stands at present, and the revision of that.
    fn standing(&self, name: &[u8], at: &At) -> Result<(Standing, i64), Fault> {
        let mut local = self.shared.local.lock();
        let state = self.shared.feed.now()?;
        let revision = state.bounds().current;
        let first = local.first(&*state, name)?;
        if first.as_ref() == Some(at) {
            return Ok((Standing::First, revision));
        }
        if !is_alive(&*state, at)? {
            return Ok((Standing::Gone, revision));
        }
        let nearest = local.queues.get(name).and_then(|queue| queue.waiting.range(..at).next_back());
        let nearest = nearest.map(|(nearest, _)| nearest.clone());
        drop(local);
        let ahead = match nearest {
            // One whose place is gone will leave, but has not looked yet.
            Some(nearest) if is_alive(&*state, &nearest)? => nearest,
            _ => first.ok_or_else(|| Fault::Corrupt("a place that is in no queue".into()))?,
        };
        Ok((Standing::Behind { ahead: ahead.1 }, revision))
    }

    fn enter(&self, name: &[u8], at: Option<At>) -> Registered {
        let name = Bytes::copy_from_slice(name);
        let mut local = self.shared.local.lock();
        let queue = local.queues.entry(name.clone()).or_default();
        match &at {
            Some(at) => *queue.waiting.entry(at.clone()).or_default() += 1,
            None => queue.observers += 1,
        }
        Registered { waiters: self.clone(), name, at }
    }
}

/// A call that waits for a place here, or observes.
struct Registered {
    waiters: Waiters,
    name: Bytes,
    /// `None` for an observer.
    at: Option<At>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut local = self.waiters.shared.local.lock();
        let Some(queue) = local.queues.get_mut(&self.name) else { return };
        match &self.at {
            Some(at) => {
                if let Some(calls) = queue.waiting.get_mut(at) {
                    *calls -= 1;
                    if *calls == 0 {
                        queue.waiting.remove(at);
                    }
                }
            }
            None => queue.observers -= 1,
        }
        if queue.waiting.is_empty() && queue.observers == 0 {
            local.queues.remove(&self.name);
        }
    }
}

impl Local {
    /// The first place of a queue.
    fn first(&mut self, state: &dyn StateAt, name: &[u8]) -> Result<Option<At>, Fault> {
        let first = state.first_place(name, self.fronts.front(name))?;
        self.fronts.found(name, first.as_ref().map_or(state.bounds().current, |(created, _)| *created));
        Ok(first)
    }
}

fn present(state: &dyn StateAt, key: &[u8]) -> Result<Option<KeyValue>, Fault> {
    state.value_at(key, i64::MAX)
}

fn is_alive(state: &dyn StateAt, (created, key): &At) -> Result<bool, Fault> {
    Ok(present(state, key)?.is_some_and(|kv| kv.create_revision == *created))
}
