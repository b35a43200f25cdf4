//! Who waits, on this node, for a place in a native queue to become the first, and who observes a queue's leader.
//!
//! Waiting is memory only. A command gave the place; every later batch of commands passes [`Waiters::observe`] as it is applied, and
//! the waiter's fate is read off the first place of its queue. No watches; a change of the first costs a seek, however many wait and
//! however many keys there are below the name.
//!
//! Invariants:
//! 1. A waiter is granted when, at the end of a batch, its key is the first of its queue *and* is the incarnation it was given.
//! 2. It is lost at the end of the first batch after which that incarnation is gone: deleted, its lease over, or created anew. So
//!    no place is ever won by somebody who is no longer in the queue.
//! 3. A queue stands at `as_of`: batches that it knows from the state it was read from are not news. Registering and observing exclude
//!    each other, so nothing falls between.
//! 4. Observers see every new leader and every new value of the leader's once, in revision order; one that is more than
//!    [`queue::OBSERVER_BACKLOG`] behind jumps to the present.
//!
//! A queue that nobody waits in or observes is not kept: reading one costs a seek.

mod acquire;
#[cfg(test)]
mod acquire_tests;
mod queue;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use acquire::{AcquireError, AcquireRequest, Acquired, Held, Queues, RefreshLease};
pub use source::{Look, Source, look};

use bytes::Bytes;
use conclave_node::sink::ApplyObserver;
use conclave_state::queue::{self as queues, Fronts};
use conclave_state::view::Fault;
use conclave_state::{Changes, Event, KeyValue, Place};
use conclave_storage::{AppliedBatch, StateHandle};
use parking_lot::Mutex;
use queue::{OBSERVER_BACKLOG, Queue};
use source::OneLook;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// The place became the first of its queue at this revision.
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

/// A queue's leader, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    pub kv: KeyValue,
    pub revision: i64,
}

#[derive(Clone)]
pub struct Waiters {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn Source>,
    view: Mutex<QueueView>,
}

/// All queues that this node follows, at one point in the log.
#[derive(Default)]
struct QueueView {
    /// By name. Each has a waiter or an observer.
    queues: HashMap<Bytes, Queue>,
    fronts: Fronts,
    /// The store's revision after the last batch observed.
    revision: i64,
    last_id: u64,
}

impl Waiters {
    #[must_use]
    pub fn new(state: StateHandle) -> Waiters {
        Waiters::with_source(Arc::new(state))
    }

    #[must_use]
    pub fn with_source(source: Arc<dyn Source>) -> Waiters {
        // A state that cannot be read now will say so to the first who asks.
        let revision = source.look().map_or(0, |look| look.revision());
        let view = Mutex::new(QueueView { revision, ..QueueView::default() });
        Waiters { shared: Arc::new(Shared { source, view }) }
    }

    /// Waits until `place`, of the queue of `name`, is the first or is lost. Dropping the future ends the waiting and nothing else: the
    /// place stays until somebody withdraws it.
    pub async fn wait(&self, name: &[u8], place: &Place) -> Result<Granted, Lost> {
        let (done, verdict) = oneshot::channel();
        let _waiting =
            self.register(Bytes::copy_from_slice(name), place, done).map_err(|fault| Lost::Fault(fault.to_string()))?;
        verdict.await.unwrap_or_else(|_| Err(Lost::Fault("the node is stopping".into())))
    }

    /// The feed of a queue's leaders, beginning with the present one.
    #[must_use]
    pub fn observe_leader(&self, name: &[u8]) -> LeaderFeed {
        LeaderFeed { waiters: self.clone(), name: Bytes::copy_from_slice(name), seen: None, subscription: None }
    }

    /// The present leader of a queue, in everything that is applied here, and the revision at which it leads.
    pub fn leader(&self, name: &[u8]) -> Result<(Option<KeyValue>, i64), Fault> {
        let mut view = self.shared.view.lock();
        let look = self.shared.source.look()?;
        let first = look.first(name, view.fronts.front(name))?;
        view.fronts.found(name, first.as_ref().map_or(look.revision(), |(created, _)| *created));
        drop(view);
        let kv = first.map(|(_, key)| look.version_at(&key, i64::MAX)).transpose()?.flatten();
        Ok((kv, look.revision()))
    }

    /// Takes in a batch. Called from apply, in order, after the batch was written.
    pub fn observe(&self, changes: &Changes) {
        let mut view = self.shared.view.lock();
        if let Err(fault) = view.observe(changes, &mut OneLook::new(&*self.shared.source)) {
            view.fail(&fault);
        }
        view.revision = view.revision.max(changes.revision);
    }

    /// The whole state was replaced: everybody's fate is read off the new one.
    pub fn reset(&self) {
        let mut view = self.shared.view.lock();
        if let Err(fault) = view.reopen(&mut OneLook::new(&*self.shared.source)) {
            view.fail(&fault);
        }
    }

    /// How many wait here, for metrics and tests.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.shared.view.lock().queues.len()
    }

    /// The store's revision after what was observed last.
    fn revision(&self) -> i64 {
        self.shared.view.lock().revision
    }

    fn register(
        &self,
        name: Bytes,
        place: &Place,
        done: oneshot::Sender<Result<Granted, Lost>>,
    ) -> Result<Registered, Fault> {
        let mut view = self.shared.view.lock();
        let look = self.shared.source.look()?;
        let id = view.next_id();
        let queue = view.open(&name, &*look)?;
        match queue.verdict(&place.key, place.create_revision, &*look)? {
            // Whoever asked is still here: it is the caller.
            Some(verdict) => drop(done.send(verdict)),
            None => queue.wait(id, &place.key, place.create_revision, done),
        }
        Ok(Registered { waiters: self.clone(), name, id, key: Some(place.key.clone()) })
    }
}

impl ApplyObserver for Waiters {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(&batch.changes);
    }

    fn reset(&self) {
        Waiters::reset(self);
    }
}

/// Keeps a waiter or an observer registered.
struct Registered {
    waiters: Waiters,
    name: Bytes,
    id: u64,
    /// A waiter's key; `None` for an observer.
    key: Option<Bytes>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut view = self.waiters.shared.view.lock();
        if let Some(queue) = view.queues.get_mut(&self.name) {
            match &self.key {
                Some(key) => queue.leave(self.id, key),
                None => queue.stop_observing(self.id),
            }
            view.forget_if_idle(&self.name);
        }
    }
}

impl QueueView {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn open(&mut self, name: &Bytes, look: &dyn Look) -> Result<&mut Queue, Fault> {
        match self.queues.entry(name.clone()) {
            Entry::Occupied(queue) => Ok(queue.into_mut()),
            Entry::Vacant(place) => {
                let queue = Queue::open(name.clone(), self.fronts.front(name), look)?;
                Ok(place.insert(queue))
            }
        }
    }

    fn observe(&mut self, changes: &Changes, look: &mut OneLook<'_>) -> Result<(), Fault> {
        if self.queues.is_empty() {
            return Ok(());
        }
        let mut concerned: BTreeMap<&[u8], Vec<&Event>> = BTreeMap::new();
        for event in &changes.events {
            let name = queues::name_of(&event.kv.key).filter(|name| self.queues.contains_key(*name));
            if let Some(name) = name {
                concerned.entry(name).or_default().push(event);
            }
        }
        for (name, events) in concerned {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.batch(&events, changes.revision, look)?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self, look: &mut OneLook<'_>) -> Result<(), Fault> {
        self.revision = look.get()?.revision();
        self.fronts.clear();
        self.queues.values_mut().try_for_each(|queue| queue.reopen(look))
    }

    /// Reading the state failed, which stops the node: nobody is left waiting for it.
    fn fail(&mut self, fault: &Fault) {
        tracing::error!(%fault, "the queues cannot be followed");
        for queue in self.queues.values_mut() {
            queue.fail(fault);
        }
        self.queues.clear();
    }

    fn forget_if_idle(&mut self, name: &Bytes) {
        if let Some(queue) = self.queues.get(name).filter(|queue| queue.is_idle()) {
            self.fronts.found(name, queue.front());
            self.queues.remove(name);
        }
    }
}

/// The leaders of one queue, one after the other.
pub struct LeaderFeed {
    waiters: Waiters,
    name: Bytes,
    /// Key and mod revision of what was given out last.
    seen: Option<(Bytes, i64)>,
    subscription: Option<(mpsc::Receiver<Leading>, Registered)>,
}

impl LeaderFeed {
    /// The next change. Never ends by itself.
    pub async fn next(&mut self) -> Result<Leading, Fault> {
        loop {
            let Some((changes, _)) = &mut self.subscription else {
                if let Some(news) = self.subscribe()? {
                    return Ok(self.note(news));
                }
                continue;
            };
            match changes.recv().await {
                Some(news) => return Ok(self.note(news)),
                // Too far behind, and everything that was sent has been read: go on from the present.
                None => self.subscription = None,
            }
        }
    }

    fn note(&mut self, news: Leading) -> Leading {
        self.seen = Some((news.kv.key.clone(), news.kv.mod_revision));
        news
    }

    fn subscribe(&mut self) -> Result<Option<Leading>, Fault> {
        let (sender, receiver) = mpsc::channel(OBSERVER_BACKLOG);
        let mut view = self.waiters.shared.view.lock();
        let look = self.waiters.shared.source.look()?;
        let id = view.next_id();
        let news = view.open(&self.name, &*look)?.observe(id, sender, self.seen.clone(), &*look)?;
        drop(view);
        let registered = Registered { waiters: self.waiters.clone(), name: self.name.clone(), id, key: None };
        self.subscription = Some((receiver, registered));
        Ok(news)
    }
}
