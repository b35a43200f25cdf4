//! Who waits, on this node, for a place in a native queue to become the first, and who observes a queue's leader.
//!
//! Waiting is memory only. A command gave the place; every later batch of commands passes [`Waiters::observe`] as it is applied, and
//! the waiter's fate is read off a queue view of its own. No reads, no watches, O(log n) an event however many wait.
//!
//! Invariants:
//! 1. A waiter is granted when, at the end of a batch, its key is the first of its queue *and* is the incarnation it was given.
//! 2. It is lost at the end of the first batch after which that incarnation is gone: deleted, its lease over, or created anew. So
//!    no place is ever won by somebody who is no longer in the queue.
//! 3. A queue's view stands at `as_of`: batches that it knows from the state it was read from are not news. Registering and
//!    observing exclude each other, so nothing falls between.
//! 4. Observers see every new leader and every new value of the leader's once, in revision order; one that is more than
//!    [`queue::OBSERVER_BACKLOG`] behind jumps to the present.
//!
//! Queues that nobody waits in are kept for a while ([`IDLE_QUEUES`]), since reading one costs a scan.

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

use crate::sink::ApplyObserver;
use bytes::Bytes;
use conclave_state::view::Fault;
use conclave_state::{Changes, KeyValue, Place, QueueIndex, queue_prefix};
use conclave_storage::{AppliedBatch, StateHandle};
use parking_lot::Mutex;
use queue::{OBSERVER_BACKLOG, Queue};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

const IDLE_QUEUES: usize = 256;

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
    index: QueueIndex,
    queues: HashMap<Bytes, Queue>,
    /// Oldest first.
    idle: VecDeque<Bytes>,
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
            self.register(queue_prefix(name), place, done).map_err(|fault| Lost::Fault(fault.to_string()))?;
        verdict.await.unwrap_or_else(|_| Err(Lost::Fault("the node is stopping".into())))
    }

    /// The feed of a queue's leaders, beginning with the present one.
    #[must_use]
    pub fn observe_leader(&self, name: &[u8]) -> LeaderFeed {
        LeaderFeed { waiters: self.clone(), prefix: queue_prefix(name), seen: None, subscription: None }
    }

    /// The present leader of a queue, in everything that is applied here, and the revision at which it leads.
    pub fn leader(&self, name: &[u8]) -> Result<(Option<KeyValue>, i64), Fault> {
        let prefix = queue_prefix(name);
        let mut view = self.shared.view.lock();
        let look = self.shared.source.look()?;
        if look.revision() > view.revision && view.queues.contains_key(&prefix) {
            // Applied but not yet observed: for this one moment the view cannot be used.
            let mut index = QueueIndex::default();
            look.ensure(&mut index, &prefix)?;
            return Ok((head_of(&index, &prefix, &*look)?, look.revision()));
        }
        view.open(&prefix, &*look)?;
        view.note_idle(&prefix);
        Ok((head_of(&view.index, &prefix, &*look)?, look.revision()))
    }

    /// Takes in a batch. Called from apply, in order, after the batch was written.
    pub fn observe(&self, changes: &Changes) {
        let mut view = self.shared.view.lock();
        if !view.queues.is_empty() && !changes.events.is_empty() {
            view.observe(changes, &*self.shared.source);
        }
        view.revision = view.revision.max(changes.revision);
    }

    /// The whole state was replaced: everybody's fate is read off the new one.
    pub fn reset(&self) {
        let mut view = self.shared.view.lock();
        let fault = match self.shared.source.look() {
            Ok(look) => view.reopen(&*look).err(),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
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
        prefix: Bytes,
        place: &Place,
        done: oneshot::Sender<Result<Granted, Lost>>,
    ) -> Result<Registered, Fault> {
        let mut view = self.shared.view.lock();
        if !view.queues.contains_key(&prefix) {
            view.open(&prefix, &*self.shared.source.look()?)?;
        }
        let id = view.next_id();
        let QueueView { index, queues, revision, .. } = &mut *view;
        let queue = queues.get_mut(&prefix).expect("the queue was opened above, under the same lock");
        // A place of a batch that is yet to be observed is judged then.
        let known = place.create_revision <= queue.as_of().max(*revision);
        match queue.verdict(index, &place.key, place.create_revision).filter(|_| known) {
            // Whoever asked is still here: it is the caller.
            Some(verdict) => drop(done.send(verdict)),
            None => queue.wait(id, &place.key, place.create_revision, done),
        }
        Ok(Registered { waiters: self.clone(), prefix, id, key: Some(place.key.clone()) })
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
    prefix: Bytes,
    id: u64,
    /// A waiter's key; `None` for an observer.
    key: Option<Bytes>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut view = self.waiters.shared.view.lock();
        if let Some(queue) = view.queues.get_mut(&self.prefix) {
            match &self.key {
                Some(key) => queue.leave(self.id, key),
                None => queue.stop_observing(self.id),
            }
            view.note_idle(&self.prefix);
        }
    }
}

impl QueueView {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn open(&mut self, prefix: &Bytes, look: &dyn Look) -> Result<(), Fault> {
        if !self.queues.contains_key(prefix) {
            // Left over only if an earlier opening failed half-way.
            self.index.forget(prefix);
            look.ensure(&mut self.index, prefix)?;
            self.queues.insert(prefix.clone(), Queue::open(prefix.clone(), &self.index, look)?);
        }
        Ok(())
    }

    fn observe(&mut self, changes: &Changes, source: &dyn Source) {
        let mut touched = BTreeSet::new();
        let mut look = None;
        for event in &changes.events {
            let concerned: Vec<Bytes> = self.index.followed(&event.kv.key).map(|p| event.kv.key.slice_ref(p)).collect();
            if concerned.is_empty() {
                continue;
            }
            self.index.observe(event);
            for prefix in concerned {
                let Some(queue) = self.queues.get_mut(&prefix) else { continue };
                if look.is_none() && queue.is_observed() {
                    match source.look() {
                        Ok(fresh) => look = Some(fresh),
                        Err(fault) => return self.fail(&fault),
                    }
                }
                if let Err(fault) = queue.step(&self.index, event, look.as_deref()) {
                    return self.fail(&fault);
                }
                touched.insert(prefix);
            }
        }
        for prefix in touched {
            if let Some(queue) = self.queues.get_mut(&prefix) {
                queue.settle(&self.index, changes.revision);
            }
        }
    }

    fn reopen(&mut self, look: &dyn Look) -> Result<(), Fault> {
        self.revision = look.revision();
        self.index.clear();
        self.idle.clear();
        self.queues.retain(|_, queue| !queue.is_idle());
        for (prefix, queue) in &mut self.queues {
            queue.listed_idle = false;
            look.ensure(&mut self.index, prefix)?;
            queue.reopen(&self.index, look)?;
        }
        Ok(())
    }

    /// Reading the state failed, which stops the node: nobody is left waiting for it.
    fn fail(&mut self, fault: &Fault) {
        tracing::error!(%fault, "the queues cannot be followed");
        for queue in self.queues.values_mut() {
            queue.fail(fault);
        }
        self.queues.clear();
        self.idle.clear();
        self.index.clear();
    }

    /// Lists the queue as idle if it is, and forgets the one that has been idle longest if there are too many.
    fn note_idle(&mut self, prefix: &Bytes) {
        match self.queues.get_mut(prefix) {
            Some(queue) if queue.is_idle() && !queue.listed_idle => queue.listed_idle = true,
            _ => return,
        }
        self.idle.push_back(prefix.clone());
        while self.idle.len() > IDLE_QUEUES {
            let Some(oldest) = self.idle.pop_front() else { return };
            match self.queues.get_mut(&oldest) {
                Some(queue) if !queue.is_idle() => queue.listed_idle = false,
                _ => {
                    self.queues.remove(&oldest);
                    self.index.forget(&oldest);
                }
            }
        }
    }
}

fn head_of(index: &QueueIndex, prefix: &[u8], look: &dyn Look) -> Result<Option<KeyValue>, Fault> {
    match index.head(prefix) {
        Some((_, key)) => look.version_at(key, look.revision()),
        None => Ok(None),
    }
}

/// The leaders of one queue, one after the other.
pub struct LeaderFeed {
    waiters: Waiters,
    prefix: Bytes,
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
        view.open(&self.prefix, &*look)?;
        let id = view.next_id();
        let queue = view.queues.get_mut(&self.prefix).expect("the queue was opened above, under the same lock");
        let news = queue.observe(id, sender, self.seen.clone(), &*look)?;
        drop(view);
        let registered = Registered { waiters: self.waiters.clone(), prefix: self.prefix.clone(), id, key: None };
        self.subscription = Some((receiver, registered));
        Ok(news)
    }
}
