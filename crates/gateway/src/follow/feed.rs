//! The topics that this node follows, and the subscriptions to them.

use super::followers::Followers;
use super::history::History;
use super::source::StateAt;
use super::topic::{Found, Topic};
use super::{Batch, Ended, Span};
use conclave_node::sink::ApplyObserver;
use conclave_state::{Changes, Fault};
use conclave_storage::AppliedBatch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where subscriptions are made. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    history: Arc<History>,
    hub: Mutex<Hub>,
}

#[derive(Default)]
struct Hub {
    /// The store's revision after the last batch observed.
    revision: i64,
    topics: Followers<Span, Arc<Topic>>,
}

impl Feed {
    /// Made before anything is applied, so that the hub's revision and the state's are one.
    #[must_use]
    pub fn new(history: Arc<History>) -> Feed {
        let hub = Hub { revision: history.source().bounds().current, ..Hub::default() };
        Feed { shared: Arc::new(Shared { history, hub: Mutex::new(hub) }) }
    }

    /// The batches of a span from revision `from` on; of revisions yet to come if there is none
    /// given.
    ///
    /// For a consistent beginning: subscribe, take a [`snapshot`](super::snapshot), and
    /// [`skip`](Subscription::skip) to its revision. What is in the snapshot is then not given, and
    /// everything after it is.
    #[must_use]
    pub fn subscribe(&self, span: Span, from: Option<i64>) -> Subscription {
        let mut hub = self.shared.hub.lock();
        let next = hub.revision + 1;
        let at = hub.topics.open(&span, || Arc::new(Topic::new(span.clone(), next)));
        let topic = hub.topics.get(at).1.clone();
        let seat = topic.join(from.unwrap_or(next));
        Subscription { feed: self.clone(), topic, at, seat, page: VecDeque::new() }
    }

    /// The state at present, no older than what was observed last.
    pub(crate) fn now(&self) -> Result<Box<dyn StateAt>, Fault> {
        self.shared.history.source().open()
    }

    /// Takes in a batch. Called in order, after the batch is in the state, which may already be
    /// newer; waits for nobody.
    pub fn observe(&self, changes: &Changes) {
        let told = self.shared.hub.lock().observe(changes);
        for topic in told {
            topic.news.notify_waiters();
        }
    }

    /// A snapshot replaced the state: everybody goes on from where it was, by reading history.
    pub fn reset(&self) {
        let mut hub = self.shared.hub.lock();
        let before = std::mem::replace(&mut hub.revision, self.shared.history.source().bounds().current);
        for topic in hub.topics.values() {
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
    /// Returns the topics that have news.
    fn observe(&mut self, changes: &Changes) -> Vec<Arc<Topic>> {
        if changes.revision <= self.revision {
            // Without events, or the topics were reset to a newer state.
            return Vec::new();
        }
        self.revision = changes.revision;
        let told = self.topics.matching(&changes.events).into_iter().map(|(at, wanted)| {
            let topic = self.topics.get(at).1;
            topic.add(wanted.iter().map(|&at| &changes.events[at]));
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

    /// The next batch from memory. `None`: there may have been some that are not in memory any
    /// more.
    ///
    /// For a caller that can do with the present: it reads no history. After `None` the caller
    /// looks at the present, and [`Subscription::skip`]s to what it saw.
    pub async fn recent(&mut self) -> Option<Arc<Batch>> {
        let topic = self.topic.clone();
        loop {
            let mut news = std::pin::pin!(topic.news.notified());
            // Before looking: what comes after the look is not missed.
            news.as_mut().enable();
            if let Some(batch) = self.page.pop_front() {
                return Some(batch);
            }
            match topic.take(self.seat) {
                Found::Batch(batch) => return Some(batch),
                Found::Behind { .. } => return None,
                Found::Nothing => news.await,
            }
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
            hub.topics.close(self.at);
        }
    }
}
