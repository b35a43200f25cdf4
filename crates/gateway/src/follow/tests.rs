//! Subscriptions against the real state machine, in memory.

mod model;
pub(crate) mod store;

use super::topic::MOST_BATCHES;
use super::{Ended, Feed, History, Span, Subscription};
use crate::service::conclave::values::{self, LockValue};
use conclave_state::coord::{self, Shown};
use conclave_state::*;
use futures::FutureExt;
use parking_lot::Mutex;
use std::sync::Arc;
use store::{Inline, Source, Store};

/// Members that follow one state.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<Mutex<Store>>,
    /// Of the first member.
    pub(crate) feed: Feed,
    /// What is read on the event loop.
    pub(crate) inline: Inline,
    feeds: Arc<Mutex<Vec<Feed>>>,
}

impl World {
    pub(crate) fn new() -> World {
        let world = World::empty();
        world.apply(&[Command::LeaseGrant(LeaseGrant { id: 1, ttl_ms: 60_000 })]);
        world
    }

    pub(crate) fn empty() -> World {
        let source = Source::new();
        let feed = Feed::new(History::new(Arc::new(source.clone())));
        let feeds = Arc::new(Mutex::new(vec![feed.clone()]));
        World { store: source.store, feed, inline: source.inline, feeds }
    }

    /// Another member, which sees everything at once.
    pub(crate) fn member(&self) -> Feed {
        let source = Source::of(self.store.clone(), self.inline.clone());
        let feed = Feed::new(History::new(Arc::new(source)));
        self.feeds.lock().push(feed.clone());
        feed
    }

    /// In the state, but not shown: what a snapshot brings.
    pub(crate) fn write(&self, commands: &[Command]) -> (Vec<Outcome>, Changes) {
        self.store.lock().apply(commands)
    }

    pub(crate) fn show(&self, changes: &Changes) {
        self.feeds.lock().iter().for_each(|feed| feed.observe(changes));
    }

    /// What was not shown is to be found in the state.
    pub(crate) fn reset(&self) {
        self.feeds.lock().iter().for_each(Feed::reset);
    }

    pub(crate) fn apply(&self, commands: &[Command]) -> Vec<Outcome> {
        let (outcomes, changes) = self.write(commands);
        self.show(&changes);
        outcomes
    }

    /// Returns the fence.
    pub(crate) fn acquire(&self, lock: &str) -> i64 {
        self.apply(&[acquire(lock)])[0].revision
    }

    pub(crate) fn release(&self, fence: i64) {
        self.apply(&[release(fence)]);
    }

    pub(crate) fn revision(&self) -> i64 {
        self.store.lock().machine.revision()
    }

    pub(crate) fn compact(&self, revision: i64) {
        self.apply(&[Command::Compact { revision }]);
        self.store.lock().sweep(revision);
    }
}

pub(crate) fn name(name: &str) -> Name {
    Name { namespace: "n".into(), name: name.into() }
}

pub(crate) fn coord_command(body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session: 1, dedupe: None, expect: None, body }))
}

pub(crate) fn acquire(lock: &str) -> Command {
    let parts = vec![LockPart { lock: name(lock), mode: LockMode::Exclusive }];
    coord_command(CoordBody::Acquire(Acquire { parts, owner: "o".into(), ..Acquire::default() }))
}

pub(crate) fn release(fence: i64) -> Command {
    coord_command(CoordBody::Release(Release { fence, ..Release::default() }))
}

fn noise() -> Command {
    Command::Put(Put { key: "other".into(), ..Put::default() })
}

fn lock(of: &str) -> Span {
    Span::prefix(coord::lock_prefix(&name(of)))
}

/// The revisions that are there without waiting; `next` is dropped after each look.
fn there(subscription: &mut Subscription) -> Vec<i64> {
    std::iter::from_fn(|| subscription.next().now_or_never()).map(|batch| batch.unwrap().revision).collect()
}

#[tokio::test]
async fn changes_arrive_in_order_and_say_what_they_are() {
    let world = World::new();
    let mut all = world.feed.subscribe(lock("a"), None);
    let fence = world.acquire("a");
    world.acquire("ab");
    let second = world.acquire("a");
    world.release(fence);
    let first = all.next().await.unwrap();
    assert_eq!((first.revision, first.events.len()), (fence, 1));
    assert_eq!(Shown::parse(&first.events[0].kv.key), Some(Shown::LockHolder { lock: name("a"), fence }));
    let value: LockValue = values::put(&first.events[0]).unwrap();
    assert_eq!((value.owner.as_str(), value.cause, value.locks), ("o", Some(Cause::Acquired), 1));
    assert_eq!(all.next().await.unwrap().revision, second);
    let third = all.next().await.unwrap();
    let shown: Vec<_> = third.events.iter().map(|event| (event.kind, Shown::parse(&event.kv.key).unwrap())).collect();
    let (held, waited) =
        (|fence| Shown::LockHolder { lock: name("a"), fence }, Shown::LockWaiter { lock: name("a"), fence: second });
    assert_eq!(shown, [(EventKind::Delete, held(fence)), (EventKind::Put, held(second)), (EventKind::Delete, waited)]);
    let value: LockValue = values::put(&third.events[1]).unwrap();
    assert_eq!((value.cause, value.previous), (Some(Cause::Released), fence));
    assert!(there(&mut all).is_empty());
}

#[tokio::test]
async fn one_key_wakes_those_who_follow_it_alone() {
    let world = World::new();
    let first = world.acquire("a");
    let fences: Vec<i64> = (0..50).map(|_| world.acquire("a")).collect();
    let follow = |fence| world.feed.subscribe(Span::key(coord::lock_waiter_key(&name("a"), fence)), None);
    let mut waiting: Vec<Subscription> = fences.iter().map(|fence| follow(*fence)).collect();
    assert_eq!(world.feed.topics(), 50);
    world.release(first);
    let woken: Vec<usize> =
        waiting.iter_mut().enumerate().filter_map(|(at, one)| one.next().now_or_never().map(|_| at)).collect();
    assert_eq!(woken, [0]);
    drop(waiting);
    assert_eq!(world.feed.topics(), 0);
}

#[tokio::test]
async fn a_waiting_subscription_is_woken() {
    let world = World::new();
    let mut subscriptions: Vec<_> = (0..100).map(|_| world.feed.subscribe(lock("a"), None)).collect();
    let waiting: Vec<_> = subscriptions
        .drain(..)
        .map(|mut one| tokio::spawn(async move { one.next().await.unwrap().revision }))
        .collect();
    tokio::task::yield_now().await;
    let fence = world.acquire("a");
    for one in waiting {
        assert_eq!(one.await.unwrap(), fence);
    }
    assert_eq!(world.feed.topics(), 0);
}

#[tokio::test]
async fn history_comes_first_and_the_present_follows() {
    let world = World::new();
    let fences: Vec<i64> = (0..100).map(|_| world.acquire("a")).collect();
    world.apply(&[noise(), noise()]);
    let mut all = world.feed.subscribe(lock("a"), Some(fences[10]));
    let mut seen = Vec::new();
    for _ in 10..100 {
        seen.push(all.next().await.unwrap().revision);
        if seen.len() == 20 {
            world.acquire("b");
        }
    }
    assert_eq!(seen, fences[10..]);
    let last = world.acquire("a");
    assert_eq!(there(&mut all), [last]);
    let mut later = world.feed.subscribe(lock("a"), Some(last + 2));
    let (_, third) = (world.acquire("a"), world.acquire("a"));
    assert_eq!(there(&mut later), [third]);
}

#[tokio::test]
async fn one_that_lags_reads_history_and_holds_nobody_up() {
    let world = World::new();
    let (mut slow, mut fast) = (world.feed.subscribe(lock("a"), None), world.feed.subscribe(lock("a"), None));
    let mut fences = Vec::new();
    for _ in 0..MOST_BATCHES * 3 {
        fences.push(world.acquire("a"));
        assert_eq!(there(&mut fast), fences[fences.len() - 1..]);
    }
    assert_eq!(there(&mut slow), fences);
    fences.push(world.acquire("a"));
    assert_eq!(there(&mut slow), fences[fences.len() - 1..]);
}

#[tokio::test]
async fn compacted_history_is_said_to_be_gone() {
    let world = World::new();
    let old = world.acquire("a");
    let mut idle = world.feed.subscribe(lock("a"), None);
    let mut slow = world.feed.subscribe(lock("b"), None);
    for _ in 0..MOST_BATCHES * 2 {
        world.acquire("b");
    }
    let revision = world.revision();
    world.compact(revision);
    assert_eq!(world.feed.subscribe(lock("a"), Some(old)).next().await, Err(Ended::Compacted(revision)));
    assert_eq!(slow.next().await, Err(Ended::Compacted(revision)));
    // Nothing was missed, however long ago it was.
    let next = world.acquire("a");
    assert_eq!(there(&mut idle), [next]);
    // The compacted revision itself can be read.
    assert_eq!(there(&mut world.feed.subscribe(lock("b"), Some(revision))), [revision]);
}

#[tokio::test]
async fn a_burst_that_is_too_long_for_the_topic_costs_nobody_what_was_before_it() {
    let world = World::new();
    let mut idle = world.feed.subscribe(lock("a"), None);
    world.apply(&vec![noise(); 200]);
    world.compact(world.revision());
    // The first one is seen, and then nothing happens for long once more.
    let first = world.acquire("a");
    let mut busy = world.feed.subscribe(lock("a"), Some(first));
    assert_eq!(there(&mut busy), [first]);
    world.apply(&vec![noise(); 200]);
    let fences: Vec<i64> = (0..MOST_BATCHES * 2).map(|_| world.acquire("a")).collect();
    for expected in [&[first], &fences[..]].concat() {
        assert_eq!(idle.next().await.map(|batch| batch.revision), Ok(expected));
    }
    world.compact(fences[0]);
    assert_eq!(there(&mut busy), fences);
}

#[tokio::test]
async fn a_large_revision_is_not_read_on_the_event_loop() {
    let world = World::new();
    let from = world.revision() + 1;
    let key = |n: usize| Put { key: format!("other{n:05}").into(), ..Put::default() };
    world.apply(&[Command::Txn(Txn { success: (0..5000).map(|n| Op::Put(key(n))).collect(), ..Txn::default() })]);
    let fence = world.acquire("a");
    world.inline.take();
    let mut all = world.feed.subscribe(lock("a"), Some(from));
    assert_eq!(all.next().await.unwrap().revision, fence);
    let rows = world.inline.take();
    assert!(rows < 1000, "{rows}");
}

#[tokio::test]
async fn a_snapshot_shows_as_history() {
    let world = World::new();
    let fence = world.acquire("a");
    let mut all = world.feed.subscribe(lock("a"), None);
    let mut past = world.feed.subscribe(lock("a"), Some(fence));
    let mut future = world.feed.subscribe(lock("a"), Some(fence + 3));
    let waiting = tokio::spawn(async move { (all.next().await.unwrap().revision, all) });
    tokio::task::yield_now().await;
    world.write(&[release(fence), noise()]);
    let (_, last) = world.write(&[acquire("a")]);
    world.feed.reset();
    // A batch that the reset covered is not shown twice.
    world.show(&last);
    let (woken, mut all) = waiting.await.unwrap();
    assert_eq!(woken, fence + 1);
    assert_eq!(there(&mut all), [fence + 3]);
    assert_eq!(there(&mut past), [fence, fence + 1, fence + 3]);
    assert_eq!(there(&mut future), [fence + 3]);
    world.release(fence + 3);
    assert_eq!(there(&mut all), [fence + 4]);
}

#[tokio::test]
async fn a_follower_that_saw_everything_survives_a_compacted_snapshot() {
    let world = World::new();
    world.acquire("a");
    let mut idle = world.feed.subscribe(lock("a"), None);
    world.apply(&vec![noise(); 10]);
    let seen = world.revision();
    world.write(&[noise(), Command::Compact { revision: seen }, acquire("a")]);
    world.feed.reset();
    assert_eq!(there(&mut idle), [seen + 2]);
    // But a gap does not.
    let mut behind = world.feed.subscribe(lock("b"), None);
    let unread = world.acquire("b");
    world.write(&[noise(), noise(), Command::Compact { revision: unread + 2 }]);
    world.feed.reset();
    assert_eq!(behind.next().await, Err(Ended::Compacted(unread + 2)));
}

/// A caller that needs only the present is told to look at it, and reads no history.
#[tokio::test]
async fn who_looks_at_the_present_goes_on_after_a_gap() {
    let world = World::new();
    let mut all = world.feed.subscribe(lock("a"), None);
    let unread = world.acquire("a");
    world.write(&[noise(), noise(), Command::Compact { revision: unread + 2 }]);
    world.feed.reset();
    world.inline.take();
    assert_eq!(all.recent().now_or_never(), Some(None));
    assert_eq!(world.inline.take(), 0);
    all.skip(world.revision());
    assert_eq!(all.recent().now_or_never(), None);
    let fence = world.acquire("a");
    assert_eq!(all.recent().now_or_never().unwrap().unwrap().revision, fence);
    for _ in 0..MOST_BATCHES * 2 {
        world.acquire("a");
    }
    assert_eq!(all.recent().now_or_never(), Some(None));
    all.skip(world.revision());
    assert_eq!(all.recent().now_or_never(), None);
}

#[tokio::test]
async fn skipping_leaves_out_what_a_snapshot_holds() {
    let world = World::new();
    let mut all = world.feed.subscribe(lock("a"), None);
    let (_, second) = (world.acquire("a"), world.acquire("a"));
    all.skip(second);
    let third = world.acquire("a");
    assert_eq!(there(&mut all), [third]);
    all.skip(second);
    assert!(there(&mut all).is_empty());
}
