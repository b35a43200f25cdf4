//! Acquiring against the real state machine, with calls cancelled at every moment and answers lost.

use super::world::{World, wanted};
use super::*;
use crate::pending::tests::{Fate, MOST_POLLS, cancel_after, courses};
use conclave_state::QueueKind::{Election, Lock};
use conclave_state::{Alarm, AlarmChange, AlarmKind, Command, QueueKind, Rejection, queue_key};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

type Call = JoinHandle<Result<Acquired, AcquireError>>;

/// A call as a service makes it: kept as soon as it is granted.
fn call(queues: &Queues, kind: QueueKind, name: &str, lease: i64) -> Call {
    let (queues, wanted) = (queues.clone(), wanted(kind, name, lease));
    tokio::spawn(async move { Ok(queues.acquire(wanted).await?.keep()) })
}

/// Lets everything that can happen now happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn start(leases: &[i64]) -> (World, Waiters, Queues) {
    let (world, waiters) = World::new();
    for lease in leases {
        world.grant(*lease);
    }
    let queues = world.queues(&waiters);
    (world, waiters, queues)
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_a_waited_lock_has_a_later_revision_than_the_one_before() {
    let (world, _, queues) = start(&[1, 2]);
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let waiting = call(&queues, Lock, "n", 2);
    settle().await;
    assert!(!waiting.is_finished());
    world.delete(&first.place.key);
    let second = waiting.await.unwrap().unwrap();
    assert!(second.revision > first.revision);
    assert!(second.place.first);
    assert_eq!(second.place.key, queue_key(b"n", 2));
    assert_eq!(world.get(&second.place.key).unwrap().create_revision, second.place.create_revision);
}

#[tokio::test(start_paused = true)]
async fn losing_the_lease_or_the_key_ends_the_call() {
    let (world, _, queues) = start(&[1, 2, 3]);
    call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let (by_lease, by_key) = (call(&queues, Lock, "n", 2), call(&queues, Election, "n", 3));
    settle().await;
    world.revoke(2);
    assert_eq!(by_lease.await.unwrap(), Err(AcquireError::Lost));
    world.delete(&queue_key(b"n", 3));
    assert_eq!(by_key.await.unwrap(), Err(AcquireError::Lost));
    assert_eq!(call(&queues, Lock, "n", 77).await.unwrap(), Err(AcquireError::Rejected(Rejection::LeaseNotFound)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.proposals(), 4, "what is gone is not withdrawn");
    assert!(queues.calls.is_idle());
}

#[tokio::test(start_paused = true)]
async fn cancelled_while_waiting_it_leaves_nothing() {
    let (world, _, queues) = start(&[1, 2, 3]);
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let (cancelled, next) = (call(&queues, Lock, "n", 2), call(&queues, Lock, "n", 3));
    settle().await;
    cancelled.abort();
    world.until("withdrawn", |world| world.get(&queue_key(b"n", 2)).is_none()).await;
    world.delete(&first.place.key);
    next.await.unwrap().unwrap();
    assert!(queues.calls.is_idle());
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_the_command_was_decided_it_leaves_nothing() {
    for lease in [0, 2] {
        let (world, waiters, queues) = start(&[2]);
        let decide = Arc::new(Notify::new());
        world.fate(Fate::Held(decide.clone()));
        let cancelled = call(&queues, Lock, "n", lease);
        settle().await;
        cancelled.abort();
        settle().await;
        decide.notify_one();
        settle().await;
        world.until("gone", |world| world.revision() == 3 && waiters.leader(b"n").unwrap().0.is_none()).await;
        assert_eq!(world.leases(), [2], "an own lease goes too");
        assert!(queues.calls.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_while_the_outcome_is_unknown_it_leaves_nothing_and_asks_for_nothing_more() {
    for lease in [0, 2] {
        let (world, waiters, queues) = start(&[2]);
        world.fate(Fate::AnswerLost);
        let cancelled = call(&queues, Election, "n", lease);
        settle().await;
        assert_eq!(world.revision(), 2, "the place was taken, unknown to the call");
        cancelled.abort();
        world.until("gone", |world| world.revision() == 3).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.revision(), 3, "taken and given back, once");
        assert_eq!(waiters.leader(b"n").unwrap().0, None);
        assert!(world.leases_with_keys().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_nobody_was_told_of_is_given_back() {
    let (world, _, queues) = start(&[1, 2]);
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let (served, wanted) = (queues.clone(), wanted(Lock, "n", 2));
    let held = tokio::spawn(async move { served.acquire(wanted).await });
    settle().await;
    world.delete(&first.place.key);
    drop(held.await.unwrap().unwrap());
    world.until("given back", |world| world.get(&queue_key(b"n", 2)).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leader_is_not_seen_by_the_caller() {
    let (world, _, queues) = start(&[1]);
    world.fate(Fate::NoLeader);
    world.fate(Fate::AnswerLost);
    world.fate(Fate::NoLeader);
    let mine = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    assert_eq!(world.get(&mine.place.key).unwrap().create_revision, mine.place.create_revision);
    world.fate(Fate::AnswerLost);
    let own = call(&queues, Lock, "other", 0).await.unwrap().unwrap();
    assert_eq!(world.get(&own.place.key).unwrap().lease, own.place.lease);
    assert_eq!(world.leases().len(), 2, "one lease, though it was asked for twice");
}

#[tokio::test(start_paused = true)]
async fn the_same_lease_asked_twice_keeps_its_place_while_one_still_waits() {
    let (world, _, queues) = start(&[1, 2, 3]);
    let first = call(&queues, Election, "n", 1).await.unwrap().unwrap();
    let one = call(&queues, Election, "n", 2);
    settle().await;
    let place = world.get(&queue_key(b"n", 2)).unwrap();
    let behind = call(&queues, Election, "n", 3);
    let other = call(&queues, Election, "n", 2);
    settle().await;
    one.abort();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.get(&queue_key(b"n", 2)).unwrap(), place);
    world.delete(&first.place.key);
    assert_eq!(other.await.unwrap().unwrap().place.create_revision, place.create_revision);
    assert!(!behind.is_finished());
    behind.abort();
    world.until("withdrawn", |world| world.get(&queue_key(b"n", 3)).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn one_call_goes_while_the_other_is_on_its_way_to_the_same_place() {
    let (world, _, queues) = start(&[1, 2]);
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let one = call(&queues, Lock, "n", 2);
    settle().await;
    let place = world.get(&queue_key(b"n", 2)).unwrap();
    let decide = Arc::new(Notify::new());
    world.fate(Fate::Held(decide.clone()));
    let other = call(&queues, Lock, "n", 2);
    settle().await;
    one.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    decide.notify_one();
    settle().await;
    assert_eq!(world.get(&queue_key(b"n", 2)).unwrap(), place, "the place was kept");
    other.abort();
    world.until("withdrawn", |world| world.get(&queue_key(b"n", 2)).is_none()).await;
    assert!(world.get(&first.place.key).is_some());
}

#[tokio::test(start_paused = true)]
async fn asking_again_for_what_one_holds_and_giving_up_lets_nothing_go() {
    let (world, _, queues) = start(&[1]);
    let held = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let decide = Arc::new(Notify::new());
    world.fate(Fate::Held(decide.clone()));
    let again = call(&queues, Lock, "n", 1);
    settle().await;
    again.abort();
    settle().await;
    decide.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.get(&held.place.key).unwrap().create_revision, held.place.create_revision);
}

#[tokio::test(start_paused = true)]
async fn an_own_lease_is_kept_while_waiting_and_full_at_the_grant() {
    let (world, _, queues) = start(&[1]);
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let waiting = call(&queues, Lock, "n", 0);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(world.refreshed().len(), 3);
    world.delete(&first.place.key);
    let mine = waiting.await.unwrap().unwrap();
    assert_eq!(world.refreshed().len(), 4, "once more at the grant");
    assert!(world.leases().contains(&mine.place.lease));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(world.refreshed().len(), 4, "and then it is the client's");
}

#[tokio::test(start_paused = true)]
async fn an_own_lease_goes_with_the_call() {
    let (world, _, queues) = start(&[1]);
    call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let (cancelled, lost) = (call(&queues, Lock, "n", 0), call(&queues, Lock, "n", 0));
    settle().await;
    assert_eq!(world.leases().len(), 3);
    cancelled.abort();
    world.until("revoked", |world| world.leases().len() == 2).await;
    let lease = world.leases().into_iter().find(|lease| *lease != 1).unwrap();
    world.delete(&queue_key(b"n", lease));
    assert_eq!(lost.await.unwrap(), Err(AcquireError::Lost));
    world.until("revoked", |world| world.leases() == [1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_leaves_the_places_to_the_clients() {
    let (world, _, queues) = start(&[1, 2]);
    call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let waiting = call(&queues, Lock, "n", 2);
    settle().await;
    world.stopping.cancel();
    assert_eq!(waiting.await.unwrap(), Err(AcquireError::Stopped));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.get(&queue_key(b"n", 2)).is_some());
}

/// Its connection to one member broke, the client asked through another: what the first one gives
/// up is not the client's any more.
#[tokio::test(start_paused = true)]
async fn what_another_member_was_asked_for_since_is_not_given_back() {
    let (world, _, queues) = start(&[1, 2, 3]);
    let elsewhere = world.queues(&world.member());
    let first = call(&queues, Lock, "n", 1).await.unwrap().unwrap();
    let broken = call(&queues, Lock, "n", 2);
    settle().await;
    let behind = call(&elsewhere, Lock, "n", 3);
    settle().await;
    let decide = Arc::new(Notify::new());
    world.fate(Fate::Held(decide.clone()));
    broken.abort();
    settle().await;
    let again = call(&elsewhere, Lock, "n", 2);
    settle().await;
    world.delete(&first.place.key);
    let mine = again.await.unwrap().unwrap();
    decide.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.get(&mine.place.key).map(|kv| kv.create_revision), Some(mine.place.create_revision));
    assert!(!behind.is_finished(), "two would hold it");
}

#[tokio::test(start_paused = true)]
async fn what_another_member_found_granted_is_not_given_back() {
    let (world, _, queues) = start(&[1]);
    let elsewhere = world.queues(&world.member());
    world.fate(Fate::AnswerLost);
    let decide = Arc::new(Notify::new());
    world.fate(Fate::Held(decide.clone()));
    let broken = call(&queues, Lock, "n", 1);
    settle().await;
    broken.abort();
    settle().await;
    let mine = call(&elsewhere, Lock, "n", 1).await.unwrap().unwrap();
    decide.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.get(&mine.place.key).map(|kv| kv.create_revision), Some(mine.place.create_revision));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_never_decided_gives_back_nothing_of_others() {
    let (world, _, queues) = start(&[1]);
    let elsewhere = world.queues(&world.member());
    world.fate(Fate::Lost);
    let broken = call(&queues, Lock, "n", 1);
    settle().await;
    broken.abort();
    let mine = call(&elsewhere, Lock, "n", 1).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.get(&mine.place.key).map(|kv| kv.create_revision), Some(mine.place.create_revision));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_hide_what_an_attempt_before_it_took() {
    let (world, _, queues) = start(&[1]);
    let alarm = |raise| Command::Alarm(AlarmChange { raise, alarm: Alarm { member: 1, kind: AlarmKind::NoSpace } });
    world.fate(Fate::AnswerLost);
    let refused = call(&queues, Lock, "n", 1);
    tokio::task::yield_now().await;
    world.until("taken", |world| world.get(&queue_key(b"n", 1)).is_some()).await;
    world.one(alarm(true));
    assert_eq!(refused.await.unwrap(), Err(AcquireError::Rejected(Rejection::NoSpace)));
    world.until("given back", |world| world.get(&queue_key(b"n", 1)).is_none()).await;
}

/// Whether the lock is free or held, with a lease of the caller's or of the call's own.
#[tokio::test(start_paused = true)]
async fn cancelled_at_any_moment_it_leaves_nothing() {
    for (held, lease) in [(false, 2), (true, 2), (false, 0), (true, 0)] {
        for course in courses() {
            for polls in 0..MOST_POLLS {
                let (world, _, queues) = start(&[1, 2]);
                if held {
                    call(&queues, Lock, "n", 1).await.unwrap().unwrap();
                }
                course.iter().for_each(|fate| world.fate(fate.clone()));
                let granted = cancel_after(polls, &course, queues.acquire(wanted(Lock, "n", lease))).await;
                assert_eq!(world.get(&queue_key(b"n", 2)), None, "{course:?}, {polls} polls");
                // A lease of the call's own may be left to expire, so that no late command is
                // granted it.
                assert_eq!(world.leases_with_keys(), if held { vec![1] } else { vec![] }, "{course:?}, {polls} polls");
                assert_eq!(world.get(&queue_key(b"n", 1)).is_some(), held);
                assert!(queues.calls.is_idle());
                if granted {
                    break;
                }
            }
        }
    }
}
