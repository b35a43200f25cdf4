//! The topics that this node follows, and the subscriptions to them.

use super::history::History;
use super::topic::{Found, Topic};
use super::{Batch, Ended, Span};
use crate::watch::index::Index;
use crate::watch::source::HistorySource;
use conclave_node::sink::ApplyObserver;
use conclave_state::{Changes, Event, coord};
use conclave_storage::AppliedBatch;
use parking_lot::Mutex;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Where subscriptions are made. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    history: History,
    hub: Mutex<Hub>,
}

#[derive(Default)]
struct Hub {
    /// The store's revision after the last batch observed.
    revision: i64,
    topics: Slab<Arc<Topic>>,
    by_span: HashMap<Span, usize>,
    index: Index,
}

impl Feed {
    /// Made before anything is applied, so that the hub's revision and the state's are one.
    #[must_use]
    pub fn new(source: Arc<dyn HistorySource>) -> Feed {
        let history = History::new(source);
        let hub = Hub { revision: history.current(), ..Hub::default() };
        Feed { shared: Arc::new(Shared { history, hub: Mutex::new(hub) }) }
    }

    /// The batches of a span from revision `from` on; of revisions yet to come if there is none given.
    ///
    /// For a consistent beginning: subscribe, take a [`snapshot`](super::snapshot), and [`skip`](Subscription::skip) to its revision. What is in the
    /// snapshot is then not given, and everything after it is.
    #[must_use]
    pub fn subscribe(&self, span: Span, from: Option<i64>) -> Subscription {
        let mut hub = self.shared.hub.lock();
        let next = hub.revision + 1;
        let topic = match hub.by_span.get(&span) {
            Some(&at) => at,
            None => hub.open(span, next),
        };
        let handle = hub.topics[topic].clone();
        let seat = handle.join(from.unwrap_or(next));
        Subscription { feed: self.clone(), topic: handle, at: topic, seat, page: VecDeque::new() }
    }

    /// Takes in a batch. Called from apply, in order, after the batch was written; waits for nobody.
    pub fn observe(&self, changes: &Changes) {
        let told = self.shared.hub.lock().observe(changes);
        for topic in told {
            topic.news.notify_waiters();
        }
    }

    /// A snapshot replaced the state: everybody goes on from where it was, by reading history.
    pub fn reset(&self) {
        let mut hub = self.shared.hub.lock();
        let before = std::mem::replace(&mut hub.revision, self.shared.history.current());
        for (_, topic) in &hub.topics {
            topic.reset(before, hub.revision);
            topic.news.notify_waiters();
        }
    }

    /// How many spans are followed.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.shared.hub.lock().topics.len()
    }
}

impl ApplyObserver for Feed {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(&batch.changes);
    }

    fn reset(&self) {
        Feed::reset(self);
    }
}

impl Hub {
    fn open(&mut self, span: Span, from: i64) -> usize {
        let at = self.topics.insert(Arc::new(Topic::new(span.clone(), from)));
        self.index.insert(&span.0, at);
        self.by_span.insert(span, at);
        at
    }

    fn close(&mut self, at: usize) {
        let topic = self.topics.remove(at);
        self.index.remove(&topic.span.0, at);
        self.by_span.remove(&topic.span);
    }

    /// Returns the topics that have news.
    fn observe(&mut self, changes: &Changes) -> Vec<Arc<Topic>> {
        self.revision = self.revision.max(changes.revision);
        if self.topics.is_empty() {
            return Vec::new();
        }
        let mut wanted: Vec<(usize, &Event)> = Vec::new();
        for event in changes.events.iter().filter(|event| coord::is_reserved(&event.kv.key)) {
            self.index.at(&event.kv.key, |topic| wanted.push((topic, event)));
        }
        // Stable: the events of each topic stay in order.
        wanted.sort_by_key(|(topic, _)| *topic);
        let told = wanted.chunk_by(|(one, _), (other, _)| one == other).map(|events| {
            let topic = &self.topics[events[0].0];
            topic.add(events.iter().map(|(_, event)| *event));
            topic.clone()
        });
        told.collect()
    }
}

/// The changes of one span, one after the other. Dropping it ends it.
pub struct Subscription {
    feed: Feed,
    topic: Arc<Topic>,
    at: usize,
    seat: usize,
    /// History that was read and not given yet; the topic's cursor is past it.
    page: VecDeque<Arc<Batch>>,
}

impl Subscription {
    /// The next batch, as soon as there is one. May be dropped at any point.
    pub async fn next(&mut self) -> Result<Arc<Batch>, Ended> {
        loop {
            let topic = self.topic.clone();
            let mut news = std::pin::pin!(topic.news.notified());
            // Before looking: what comes after the look is not missed.
            news.as_mut().enable();
            match self.look().await? {
                Some(batch) => return Ok(batch),
                None => news.await,
            }
        }
    }

    /// For who looks at the present after every change: returns when there was one, or perhaps was one in history that is gone.
    /// [`Subscription::skip`] to what was seen then; that passes over what is gone, too.
    pub async fn stirred(&mut self) -> Result<(), Ended> {
        match self.next().await {
            Ok(_) | Err(Ended::Compacted(_)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The next batch, if it is there already.
    pub async fn ready(&mut self) -> Result<Option<Arc<Batch>>, Ended> {
        self.look().await
    }

    async fn look(&mut self) -> Result<Option<Arc<Batch>>, Ended> {
        loop {
            if let Some(batch) = self.page.pop_front() {
                return Ok(Some(batch));
            }
            match self.topic.take(self.seat) {
                Found::Batch(batch) => return Ok(Some(batch)),
                Found::Nothing => return Ok(None),
                Found::Behind { from, to } => {
                    let page = self.feed.shared.history.page(&self.topic.span, from, to).await?;
                    self.topic.forward(self.seat, page.next);
                    self.page.extend(page.batches.into_iter().map(Arc::new));
                }
            }
        }
    }

    /// Leaves out everything up to `revision`.
    pub fn skip(&mut self, revision: i64) {
        self.page.retain(|batch| batch.revision > revision);
        self.topic.forward(self.seat, revision.saturating_add(1));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut hub = self.feed.shared.hub.lock();
        if self.topic.leave(self.seat) {
            hub.close(self.at);
        }
    }
}
