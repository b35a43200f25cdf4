//! Acquiring over the state machine alone, with answers that are lost or come late.

use super::acquire::{Acquiring, Place, Requests, Standing, standing};
use crate::convert::conclave::Caller;
use crate::follow::tests::{World, name, release};
use crate::pending::Calls;
use crate::pending::tests::{Fate, MOST_POLLS, TestLog, cancel_after, courses};
use conclave_state::coord::read;
use conclave_state::{Acquire, Command, Fault, LeaseId, LockMode, LockPart};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

#[derive(Clone)]
struct Node {
    world: World,
    log: TestLog,
}

impl Node {
    fn fate(&self, fate: Fate) {
        self.log.fate(fate);
    }

    fn acquiring(&self) -> Acquiring {
        let stopping = CancellationToken::new();
        let calls = Calls::new(Arc::new(self.log.clone()), stopping.clone());
        Acquiring::new(calls, Arc::new(self.clone()), self.world.feed.clone(), stopping)
    }

    fn counts(&self) -> (u32, u32) {
        let found = read::lock(&self.world.store.lock().view, &name("a")).unwrap();
        found.map_or((0, 0), |lock| (lock.holders, lock.waiting))
    }

    async fn until(&self, counts: (u32, u32)) {
        for _ in 0..1000 {
            if self.counts() == counts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} instead of {counts:?}", self.counts());
    }
}

impl Requests for Node {
    fn standing(&self, fence: i64, session: LeaseId) -> Result<Standing, Fault> {
        standing(&self.world.store.lock().view, fence, session)
    }

    fn before<'a>(&'a self, part: &'a LockPart, fence: i64) -> BoxFuture<'a, Result<(u64, i64), Status>> {
        let view = &self.world.store.lock().view;
        let before = super::before(view, part, fence, usize::MAX).unwrap().unwrap();
        let revision = conclave_state::read::meta(view).unwrap().revision;
        async move { Ok((before, revision)) }.boxed()
    }
}

fn start() -> (Node, Acquiring) {
    let world = World::new();
    let decided = world.clone();
    let log = TestLog::new(move |command| decided.apply(std::slice::from_ref(command)).remove(0));
    let node = Node { world, log };
    let acquiring = node.acquiring();
    (node, acquiring)
}

fn caller(id: Option<u8>) -> Caller {
    Caller { session: 1, dedupe: id.map(|id| [id; 16]), expect: None }
}

fn wanted() -> Acquire {
    let parts = vec![LockPart { lock: name("a"), mode: LockMode::Exclusive }];
    Acquire { parts, owner: "o".into(), ..Acquire::default() }
}

fn call(acquiring: &Acquiring, id: Option<u8>, acquire: Acquire) -> JoinHandle<Result<(i64, Place), Status>> {
    let acquiring = acquiring.clone();
    tokio::spawn(async move {
        let mut place = acquiring.ask(caller(id), acquire).await?;
        let got = place.wait().await?;
        Ok((got.fence, place))
    })
}

async fn code(call: JoinHandle<Result<(i64, Place), Status>>) -> Code {
    match call.await.unwrap() {
        Ok((fence, _)) => panic!("it holds under {fence}"),
        Err(status) => status.code(),
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_asked_for_again_and_take_effect_once() {
    let (node, acquiring) = start();
    for fate in [Fate::NoLeader, Fate::Lost, Fate::AnswerLost, Fate::AnswerLost] {
        node.fate(fate);
    }
    let (fence, mut place) = call(&acquiring, None, wanted()).await.unwrap().unwrap();
    assert_eq!((node.counts(), node.log.proposals()), ((1, 0), 5));
    place.keep();
    drop(place);
    // The one after it waits, whatever became of its answers.
    node.fate(Fate::AnswerLost);
    let second = call(&acquiring, None, wanted());
    node.until((1, 1)).await;
    node.world.release(fence);
    let (next, _place) = second.await.unwrap().unwrap();
    assert!(next > fence);
    assert_eq!(node.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_handed_over_is_given_back() {
    let (node, acquiring) = start();
    let (_, place) = call(&acquiring, None, wanted()).await.unwrap().unwrap();
    drop(place);
    node.until((0, 0)).await;
    let held = node.world.acquire("a");
    let waiting = call(&acquiring, None, wanted());
    node.until((1, 1)).await;
    waiting.abort();
    node.until((1, 0)).await;
    node.world.release(held);
    assert_eq!(node.counts(), (0, 0));
}

/// Two members, of which the first is cut off: its client asks the second, with the same id.
#[tokio::test(start_paused = true)]
async fn who_gives_up_late_takes_nothing_from_who_was_told_elsewhere() {
    let (first, one) = start();
    let second = Node { log: first.log.elsewhere(), ..first.clone() };
    let other = second.acquiring();
    let held = first.world.acquire("a");
    let early = call(&one, Some(1), wanted());
    first.until((1, 1)).await;
    let late = call(&other, Some(1), wanted());
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..10).for_each(|_| first.fate(Fate::NoLeader));
    early.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.world.release(held);
    let (fence, mut place) = late.await.unwrap().unwrap();
    place.keep();
    drop(place);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(first.log.fates_left() == 0, "it has given up by now");
    assert_eq!(first.counts(), (1, 0));
    first.world.release(fence);
    assert_eq!(first.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_elsewhere_and_gives_up_means_it() {
    for dies in [false, true] {
        let (node, one) = start();
        let other = node.acquiring();
        node.world.acquire("a");
        let early = call(&one, Some(1), wanted());
        node.until((1, 1)).await;
        let late = call(&other, Some(1), wanted());
        tokio::time::sleep(Duration::from_secs(1)).await;
        if dies {
            one.stopping.cancel();
        }
        early.abort();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.counts(), (1, 1), "the later one waits still");
        late.abort();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.counts(), (1, 0), "dies: {dies}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_before_its_command_is_decided_leaves_nothing() {
    for (late, id) in [(false, Some(3)), (true, Some(3)), (false, None), (true, None)] {
        let (node, acquiring) = start();
        let notify = Arc::new(Notify::new());
        node.fate(Fate::Late(notify.clone()));
        for _ in 0..3 {
            node.fate(Fate::NoLeader);
        }
        let asked = call(&acquiring, id, wanted());
        tokio::time::sleep(Duration::from_millis(1)).await;
        asked.abort();
        if !late {
            notify.notify_one();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        // The first command comes out of the log after the one that gave it up.
        notify.notify_one();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(node.counts(), (0, 0), "late: {late}");
        // With the same dedupe id: what was decided is over, and what was not is decided now.
        if id.is_some() && !late {
            assert_eq!(code(call(&acquiring, id, wanted())).await, Code::Aborted);
        } else if id.is_some() {
            assert!(call(&acquiring, id, wanted()).await.unwrap().is_ok());
            node.until((0, 0)).await;
        }
        assert!(call(&acquiring, Some(4), wanted()).await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_equal_calls_takes_the_place_along() {
    let (node, acquiring) = start();
    let held = node.world.acquire("a");
    let (one, other) = (call(&acquiring, Some(1), wanted()), call(&acquiring, Some(1), wanted()));
    node.until((1, 1)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.counts(), (1, 1));
    node.world.release(held);
    let (fence, mut place) = other.await.unwrap().unwrap();
    place.keep();
    drop(place);
    // Found again while it is held: somebody was told of it.
    let (again, place) = call(&acquiring, Some(1), wanted()).await.unwrap().unwrap();
    assert_eq!(again, fence);
    drop(place);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.counts(), (1, 0));
    node.world.release(fence);
    assert_eq!(code(call(&acquiring, Some(1), wanted())).await, Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_by_itself_even_if_the_cluster_does_not_end_it() {
    let (node, acquiring) = start();
    node.world.acquire("a");
    let began = tokio::time::Instant::now();
    let ended = code(call(&acquiring, None, Acquire { wait_ms: 1_000, ..wanted() })).await;
    assert_eq!(ended, Code::DeadlineExceeded);
    assert!(began.elapsed() >= Duration::from_millis(1_000) && began.elapsed() < Duration::from_secs(2));
    node.until((1, 0)).await;
    // Also while nobody leads.
    (0..100).for_each(|_| node.fate(Fate::NoLeader));
    let ended = code(call(&acquiring, None, Acquire { wait_ms: 1_000, ..wanted() })).await;
    assert_eq!(ended, Code::DeadlineExceeded);
    node.log.forget_fates();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.counts(), (1, 0));
    // Who only tries is told at once.
    node.fate(Fate::NoLeader);
    let ended = code(call(&acquiring, None, Acquire { try_only: true, ..wanted() })).await;
    assert_eq!(ended, Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_taken_away_ends_the_wait() {
    let (node, acquiring) = start();
    node.world.acquire("a");
    let waiting = call(&acquiring, None, wanted());
    node.until((1, 1)).await;
    let fence = node.world.revision();
    node.world.apply(&[release(fence)]);
    assert_eq!(code(waiting).await, Code::Aborted);
    let waiting = call(&acquiring, None, wanted());
    node.until((1, 1)).await;
    node.world.apply(&[Command::LeaseRevoke { id: 1 }]);
    assert_eq!(code(waiting).await, Code::NotFound);
    assert_eq!(node.counts(), (0, 0));
    assert_eq!(code(call(&acquiring, None, wanted())).await, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_nothing_back() {
    let (node, acquiring) = start();
    node.world.acquire("a");
    let waiting = call(&acquiring, Some(1), wanted());
    node.until((1, 1)).await;
    acquiring.stopping.cancel();
    assert_eq!(code(waiting).await, Code::Unavailable);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.counts(), (1, 1));
}

/// Whether the lock is free or held, with a dedupe id and without, waiting or only trying.
#[tokio::test(start_paused = true)]
async fn cancelled_at_any_moment_it_leaves_nothing() {
    for (held, id, try_only) in [
        (false, None, false),
        (true, None, false),
        (false, Some(1), false),
        (true, Some(1), false),
        (false, Some(1), true),
    ] {
        for course in courses() {
            for polls in 0..MOST_POLLS {
                let (node, acquiring) = start();
                if held {
                    node.world.acquire("a");
                }
                course.iter().for_each(|fate| node.fate(fate.clone()));
                let acquire = Acquire { try_only, ..wanted() };
                let ask = async {
                    let mut place = acquiring.ask(caller(id), acquire).await?;
                    place.wait().await.map(|_| ())
                };
                let ended = cancel_after(polls, &course, ask).await;
                assert_eq!(node.counts(), (u32::from(held), 0), "{course:?}, {polls} polls, held {held}, id {id:?}");
                if ended {
                    break;
                }
            }
        }
    }
}
