//! The waiters against the real state machine.

use super::world::{World, delete};
use super::*;
use crate::follow::topic::MOST_BATCHES;
use conclave_state::{Command, Compare, DeleteRange, KeyRange, Op, Put, Relation, Target, Txn};
use std::pin::pin;
use std::time::{Duration, Instant};

/// The outcome of waiting, if there is one by now.
async fn now(waiting: impl Future<Output = Result<Granted, Lost>>) -> Option<Result<Granted, Lost>> {
    tokio::time::timeout(Duration::from_millis(1), waiting).await.ok()
}

#[tokio::test(start_paused = true)]
async fn granted_when_the_holder_goes_at_a_revision_at_which_the_place_is_first() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let second = world.enqueue("n", 2);
    assert!(holder.first && !second.first);
    let mut waiting = pin!(waiters.wait(b"n", &second));
    assert_eq!(now(waiting.as_mut()).await, None);
    world.put("elsewhere", "x", 0);
    world.put("n/zz", "a younger key", 0);
    assert_eq!(now(waiting.as_mut()).await, None);
    world.delete(&holder.key);
    let gone = world.revision();
    world.put("elsewhere", "y", 0);
    let granted = now(waiting).await.unwrap().unwrap();
    assert!((gone..=world.revision()).contains(&granted.revision), "{granted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_became_first_before_anybody_waited_is_granted_at_once() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let second = world.enqueue("n", 2);
    world.delete(&holder.key);
    let granted = waiters.wait(b"n", &second).await.unwrap();
    assert_eq!(granted.revision, world.revision());
}

#[tokio::test(start_paused = true)]
async fn lost_at_once_however_the_place_goes_and_the_next_is_served() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let places: Vec<Place> = (2..=5).map(|lease| world.enqueue("n", lease)).collect();
    let mut waiting: Vec<_> = places.iter().map(|place| Box::pin(waiters.wait(b"n", place))).collect();
    for waiting in &mut waiting {
        assert_eq!(now(waiting).await, None);
    }
    // By hand, with its lease, and by being created anew in one batch.
    world.delete(&places[0].key);
    assert_eq!(now(&mut waiting[0]).await, Some(Err(Lost::Gone)));
    world.revoke(3);
    assert_eq!(now(&mut waiting[1]).await, Some(Err(Lost::Gone)));
    let again = Put { key: places[2].key.clone(), lease: 4, ..Put::default() };
    world.batch(&[delete(&places[2].key), Command::Put(again)]);
    assert_eq!(now(&mut waiting[2]).await, Some(Err(Lost::Gone)));
    assert_eq!(now(&mut waiting[3]).await, None);
    world.delete(&holder.key);
    assert_eq!(now(&mut waiting[3]).await, Some(Ok(Granted { revision: world.revision() })));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_in_the_holders_batch_does_not_win() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let (second, third) = (world.enqueue("n", 2), world.enqueue("n", 3));
    let mut waiting = pin!(waiters.wait(b"n", &second));
    let mut next = pin!(waiters.wait(b"n", &third));
    assert_eq!(now(waiting.as_mut()).await, None);
    assert_eq!(now(next.as_mut()).await, None);
    world.batch(&[delete(&holder.key), delete(&second.key), delete(b"nothing")]);
    assert_eq!(now(waiting).await, Some(Err(Lost::Gone)));
    assert_eq!(now(next).await, Some(Ok(Granted { revision: world.revision() })));
}

#[tokio::test(start_paused = true)]
async fn a_recipe_run_by_hand_stands_in_the_same_line() {
    let (world, waiters) = World::new();
    world.grant(9);
    let key = Bytes::from_static(b"n/9");
    let missing = Compare {
        range: conclave_state::KeyRange { key: key.clone(), end: Bytes::new() },
        relation: Relation::Equal,
        target: Target::CreateRevision(0),
    };
    let put = Op::Put(Put { key: key.clone(), lease: 9, ..Put::default() });
    world.one(Command::Txn(Txn { compares: vec![missing], success: vec![put], failure: vec![] }));
    let second = world.enqueue("n", 2);
    assert!(!second.first);
    let mut waiting = pin!(waiters.wait(b"n", &second));
    assert_eq!(now(waiting.as_mut()).await, None);
    world.revoke(9);
    assert!(now(waiting).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn two_who_wait_for_one_place_are_both_granted() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let second = world.enqueue("n", 2);
    let mut one = pin!(waiters.wait(b"n", &second));
    assert_eq!(now(one.as_mut()).await, None);
    {
        let mut other = pin!(waiters.wait(b"n", &second));
        assert_eq!(now(other.as_mut()).await, None);
    }
    world.delete(&holder.key);
    assert!(now(one).await.unwrap().is_ok(), "the other one's going did not touch this one");
}

#[tokio::test(start_paused = true)]
async fn a_batch_not_yet_shown_is_neither_missed_nor_taken_for_news() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let second = world.enqueue("n", 2);
    let third = world.enqueue("n", 3);
    let mut first_wait = pin!(waiters.wait(b"n", &third));
    assert_eq!(now(first_wait.as_mut()).await, None);
    let mut waiting = pin!(waiters.wait(b"n", &second));
    assert_eq!(now(waiting.as_mut()).await, None);
    // Applied, and a call comes before the batch is shown: it sees the state as it is.
    let changes = world.apply(&[delete(&holder.key)]);
    assert_eq!(now(waiters.wait(b"n", &second)).await, Some(Ok(Granted { revision: world.revision() })));
    assert_eq!(now(first_wait.as_mut()).await, None);
    world.show(&changes);
    assert_eq!(now(waiting).await, Some(Ok(Granted { revision: world.revision() })));
    assert_eq!(now(first_wait).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_not_yet_shown_is_not_taken_for_lost() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    assert!(waiters.leader(b"n").unwrap().0.is_some(), "the queue is followed from here on");
    world.grant(2);
    let put = Put { key: "n/2".into(), lease: 2, ..Put::default() };
    let changes = world.apply(&[Command::Put(put)]);
    let place = Place { key: "n/2".into(), lease: 2, create_revision: world.revision(), first: false };
    let mut waiting = pin!(waiters.wait(b"n", &place));
    assert_eq!(now(waiting.as_mut()).await, None);
    world.show(&changes);
    assert_eq!(now(waiting.as_mut()).await, None);
    world.delete(&holder.key);
    assert!(now(waiting).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_decides_everybodys_fate() {
    let (world, waiters) = World::new();
    let holder = world.enqueue("n", 1);
    let places: Vec<Place> = (2..=4).map(|lease| world.enqueue("n", lease)).collect();
    let mut waiting: Vec<_> = places.iter().map(|place| Box::pin(waiters.wait(b"n", place))).collect();
    for waiting in &mut waiting {
        assert_eq!(now(waiting).await, None);
    }
    // What happened is never shown as events.
    world.apply(&[delete(&holder.key), delete(&places[1].key)]);
    world.reset();
    assert!(now(&mut waiting[0]).await.unwrap().is_ok());
    assert_eq!(now(&mut waiting[1]).await, Some(Err(Lost::Gone)));
    assert_eq!(now(&mut waiting[2]).await, None);
    world.delete(&places[0].key);
    assert!(now(&mut waiting[2]).await.unwrap().is_ok());
}

#[tokio::test]
async fn ten_thousand_are_served_in_order() {
    const WAITERS: i64 = 10_000;
    let (world, waiters) = World::new();
    let mut places = vec![world.enqueue("n", 1)];
    let mut waiting = Vec::new();
    for lease in 2..=WAITERS {
        let place = world.enqueue("n", lease);
        let (waiters, wanted) = (waiters.clone(), place.clone());
        waiting.push(tokio::spawn(async move { waiters.wait(b"n", &wanted).await }));
        places.push(place);
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let mut before = 0;
    for (place, next) in places.iter().zip(waiting) {
        assert!(!next.is_finished());
        world.delete(&place.key);
        let granted = next.await.unwrap().unwrap();
        assert_eq!(granted.revision, world.revision());
        assert!(granted.revision > before);
        before = granted.revision;
    }
    // Quadratic work would take minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(waiters.queues(), 0, "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn queues_nobody_uses_are_not_kept() {
    let (world, waiters) = World::new();
    let place = world.enqueue("n", 1);
    assert!(waiters.leader(b"n").unwrap().0.is_some());
    assert_eq!(waiters.queues(), 0);
    {
        let mut feed = waiters.observe_leader(b"n");
        assert!(news(&mut feed).await.is_some());
        assert_eq!(waiters.queues(), 1);
    }
    assert!(waiters.wait(b"n", &place).await.is_ok());
    assert_eq!(waiters.queues(), 0);
}

/// However many keys there are below a name, and however many stand in its queue.
#[tokio::test(start_paused = true)]
async fn a_short_name_costs_a_few_questions() {
    let mut costs = Vec::new();
    for keys in [10, 2_000] {
        let (world, waiters) = World::new();
        for n in 0..keys {
            world.put(&format!("n/{n}/key"), "v", 0);
        }
        let holder = world.enqueue("n", 1);
        let second = world.enqueue("n", 2);
        for lease in 3..keys {
            world.enqueue("n", lease);
        }
        world.base.inline.take();
        world.put("n/zz", "nobody waits here", 0);
        assert_eq!(world.base.inline.take(), 0);
        assert_eq!(waiters.leader(b"n").unwrap().0.unwrap().value, "v1");
        let mut feed = waiters.observe_leader(b"n");
        assert_eq!(news(&mut feed).await.unwrap().0, "v1");
        let mut waiting = pin!(waiters.wait(b"n", &second));
        assert_eq!(now(waiting.as_mut()).await, None);
        world.delete(&holder.key);
        assert!(now(waiting).await.unwrap().is_ok());
        assert_eq!(news(&mut feed).await.unwrap().0, "v2");
        costs.push(world.base.inline.take());
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[1] < 24, "{costs:?}");
}

/// A place that ends wakes the call behind it, and no other.
#[tokio::test(start_paused = true)]
async fn a_hand_over_costs_the_same_however_many_wait() {
    let mut costs = Vec::new();
    for calls in [3, 300] {
        let (world, waiters) = World::new();
        let places: Vec<Place> = (1..=calls + 1).map(|lease| world.enqueue("n", lease)).collect();
        let mut waiting: Vec<_> = places[1..].iter().map(|place| Box::pin(waiters.wait(b"n", place))).collect();
        for call in &mut waiting {
            assert_eq!(now(call).await, None);
        }
        world.base.inline.take();
        // One gives up in the middle, with its place; then the first goes.
        let given_up = waiting.remove(1);
        drop(given_up);
        for gone in [&places[2], &places[0]] {
            world.delete(&gone.key);
            let ended = futures::future::join_all(waiting.iter_mut().map(now)).await;
            assert_eq!(ended.iter().flatten().count(), usize::from(gone.key == places[0].key));
        }
        costs.push(world.base.inline.take());
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_the_oldest_key_with_its_newest_value() {
    let (world, waiters) = World::new();
    assert_eq!(waiters.leader(b"n").unwrap().0, None);
    let first = world.enqueue("n", 1);
    world.enqueue("n", 2);
    world.put("n2/1", "another name", 0);
    assert_eq!(waiters.leader(b"n").unwrap().0.unwrap().value, "v1");
    // Applied, not yet shown: the answer is the newest all the same.
    let changes = world.apply(&[delete(&first.key)]);
    assert_eq!(waiters.leader(b"n").unwrap().0.unwrap().value, "v2");
    world.show(&changes);
    assert_eq!(waiters.leader(b"n").unwrap().0.unwrap().value, "v2");
}

async fn news(feed: &mut LeaderFeed) -> Option<(String, i64)> {
    let news = tokio::time::timeout(Duration::from_millis(1), feed.next()).await.ok()?.unwrap();
    Some((String::from_utf8(news.kv.value.to_vec()).unwrap(), news.revision))
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_leader_and_each_value_once() {
    let (world, waiters) = World::new();
    let mut early = waiters.observe_leader(b"n");
    assert_eq!(news(&mut early).await, None);
    let first = world.enqueue("n", 1);
    let second = world.enqueue("n", 2);
    assert_eq!(news(&mut early).await, Some(("v1".into(), world.revision())));
    let mut late = waiters.observe_leader(b"n");
    assert_eq!(news(&mut late).await.unwrap().0, "v1");
    world.put("n/1", "one", 1);
    world.put("n/2", "two", 2);
    world.put("n/3", "not the leader", 0);
    let proclaimed = world.revision() - 2;
    world.put("n/1", "once more", 1);
    for feed in [&mut early, &mut late] {
        assert_eq!(news(feed).await, Some(("one".into(), proclaimed)));
        assert_eq!(news(feed).await, Some(("once more".into(), world.revision())));
        assert_eq!(news(feed).await, None);
    }
    world.delete(&first.key);
    for feed in [&mut early, &mut late] {
        assert_eq!(news(feed).await, Some(("two".into(), world.revision())));
        assert_eq!(news(feed).await, None);
    }
    world.batch(&[delete(&second.key), delete(b"n/3")]);
    for feed in [&mut early, &mut late] {
        assert_eq!(news(feed).await, None);
    }
    world.put("n/no-place", "nobody", 0);
    world.put("n/4", "four", 0);
    for feed in [&mut early, &mut late] {
        assert_eq!(news(feed).await, Some(("four".into(), world.revision())));
        assert_eq!(news(feed).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_passes_over_leaders_that_came_and_went_before_it_looked() {
    let (world, waiters) = World::new();
    let places: Vec<Place> = (1..=3).map(|lease| world.enqueue("n", lease)).collect();
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    world.put("n/1", "one", 1);
    world.delete(&places[0].key);
    world.put("n/2", "two", 2);
    world.delete(&places[1].key);
    assert_eq!(news(&mut feed).await.unwrap().0, "one");
    assert_eq!(news(&mut feed).await, Some(("v3".into(), world.revision())));
    assert_eq!(news(&mut feed).await, None);
}

/// One of them comes back under the same key before this member has applied any of it: that is
/// another life of the key.
#[tokio::test(start_paused = true)]
async fn an_observer_is_not_told_of_one_who_went_and_came_back_as_of_one_who_led() {
    let (world, waiters) = World::new();
    for lease in 1..=3 {
        world.enqueue("n", lease);
    }
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    let range = KeyRange { key: "n/1".into(), end: "n/3".into() };
    let back = Put { key: "n/2".into(), value: "again".into(), ..Put::default() };
    world.batch(&[Command::DeleteRange(DeleteRange { range, prev_kv: false }), Command::Put(back)]);
    assert_eq!(news(&mut feed).await.unwrap().0, "v3");
    assert_eq!(news(&mut feed).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_not_told_of_those_who_went_together_with_the_leader() {
    let (world, waiters) = World::new();
    for lease in 1..=4 {
        world.enqueue("n", lease);
    }
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    // In one revision, as when many leases end at once: two and three were first between two of its
    // events, and never led.
    let range = KeyRange { key: "n/1".into(), end: "n/4".into() };
    world.one(Command::DeleteRange(DeleteRange { range, prev_kv: false }));
    assert_eq!(news(&mut feed).await, Some(("v4".into(), world.revision())));
    assert_eq!(news(&mut feed).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_comes_between_apply_and_events_sees_nothing_twice() {
    let (world, waiters) = World::new();
    let first = world.enqueue("n", 1);
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    let value = Put { key: first.key.clone(), value: "new".into(), lease: 1, ..Put::default() };
    let changes = world.apply(&[Command::Put(value)]);
    let mut between = waiters.observe_leader(b"n");
    assert_eq!(news(&mut between).await.unwrap().0, "new");
    assert_eq!(news(&mut feed).await, None, "it was not shown yet");
    world.show(&changes);
    assert_eq!(news(&mut feed).await.unwrap().0, "new");
    for feed in [&mut feed, &mut between] {
        assert_eq!(news(feed).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_does_not_read_jumps_to_the_present() {
    let (world, waiters) = World::new();
    world.enqueue("n", 1);
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    for value in 0..3 * MOST_BATCHES {
        world.put("n/1", &value.to_string(), 1);
    }
    world.base.inline.take();
    assert_eq!(news(&mut feed).await, Some(((3 * MOST_BATCHES - 1).to_string(), world.revision())));
    assert!(world.base.inline.take() < 12, "it reads no history");
    assert_eq!(news(&mut feed).await, None);
    world.put("n/1", "live again", 1);
    assert_eq!(news(&mut feed).await.unwrap().0, "live again");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_news_to_an_observer_only_if_something_is_different() {
    let (world, waiters) = World::new();
    let first = world.enqueue("n", 1);
    world.enqueue("n", 2);
    let mut feed = waiters.observe_leader(b"n");
    assert_eq!(news(&mut feed).await.unwrap().0, "v1");
    world.reset();
    assert_eq!(news(&mut feed).await, None);
    world.apply(&[delete(&first.key)]);
    world.reset();
    assert_eq!(news(&mut feed).await.unwrap().0, "v2");
    assert_eq!(news(&mut feed).await, None);
}
