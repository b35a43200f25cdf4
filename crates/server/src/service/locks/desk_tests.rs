//! The desk over the state machine alone, with answers that are lost or come late.

use super::desk::{Desk, Host, Standing, Stay, standing};
use crate::convert::coord::Caller;
use crate::coordination::tests::{World, name, release};
use crate::proposer::{Applied, ProposeError};
use conclave_state::coord::read;
use conclave_state::{Acquire, Command, Fault, LeaseId, LockMode, LockPart};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// What happens to the next proposal.
enum Fate {
    /// Decided, but the caller does not learn it.
    AnswerLost,
    /// Perhaps decided, but it was not.
    Lost,
    NoLeader,
    /// Decided only when notified; until then nothing is known.
    Held(Arc<Notify>),
}

#[derive(Clone)]
struct Node {
    world: World,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    proposals: Arc<Mutex<usize>>,
}

impl Node {
    fn decide(&self, command: &Command) -> Applied {
        let outcome = self.world.apply(std::slice::from_ref(command)).remove(0);
        Applied { outcome, index: 1, term: 1 }
    }

    fn fate(&self, fate: Fate) {
        self.fates.lock().push_back(fate);
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

#[tonic::async_trait]
impl Host for Node {
    async fn propose(&self, command: Command) -> Result<Applied, ProposeError> {
        *self.proposals.lock() += 1;
        let fate = self.fates.lock().pop_front();
        tokio::task::yield_now().await;
        match fate {
            None => Ok(self.decide(&command)),
            Some(Fate::AnswerLost) => {
                self.decide(&command);
                Err(ProposeError::LeaderFailed)
            }
            Some(Fate::Lost) => Err(ProposeError::TimedOut),
            Some(Fate::NoLeader) => Err(ProposeError::NoLeader),
            Some(Fate::Held(until)) => {
                let node = self.clone();
                tokio::spawn(async move {
                    until.notified().await;
                    node.decide(&command);
                });
                Err(ProposeError::ConnectionLost)
            }
        }
    }

    fn standing(&self, fence: i64, session: LeaseId) -> Result<Standing, Fault> {
        standing(&self.world.store.lock().view, fence, session)
    }

    fn before(&self, part: &LockPart, fence: i64) -> Result<(u64, i64), Fault> {
        let view = &self.world.store.lock().view;
        Ok((super::before(view, part, fence)?, conclave_state::read::meta(view)?.revision))
    }
}

fn start() -> (Node, Desk) {
    let node = Node { world: World::new(), fates: Arc::default(), proposals: Arc::default() };
    let desk = Desk::new(Arc::new(node.clone()), node.world.feed.clone(), CancellationToken::new());
    (node, desk)
}

fn caller(id: Option<u8>) -> Caller {
    Caller { session: 1, dedupe: id.map(|id| [id; 16]), expect: None }
}

fn wanted() -> Acquire {
    let parts = vec![LockPart { lock: name("a"), mode: LockMode::Exclusive }];
    Acquire { parts, owner: "o".into(), ..Acquire::default() }
}

fn call(desk: &Desk, id: Option<u8>, acquire: Acquire) -> JoinHandle<Result<(i64, Stay), Status>> {
    let desk = desk.clone();
    tokio::spawn(async move {
        let mut stay = desk.ask(caller(id), acquire).await?;
        let got = stay.wait().await?;
        Ok((got.fence, stay))
    })
}

async fn code(call: JoinHandle<Result<(i64, Stay), Status>>) -> Code {
    match call.await.unwrap() {
        Ok((fence, _)) => panic!("it holds under {fence}"),
        Err(status) => status.code(),
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_asked_for_again_and_take_effect_once() {
    let (node, desk) = start();
    for fate in [Fate::NoLeader, Fate::Lost, Fate::AnswerLost, Fate::AnswerLost] {
        node.fate(fate);
    }
    let (fence, mut stay) = call(&desk, None, wanted()).await.unwrap().unwrap();
    assert_eq!((node.counts(), *node.proposals.lock()), ((1, 0), 5));
    stay.keep();
    drop(stay);
    // The one after it waits, whatever became of its answers.
    node.fate(Fate::AnswerLost);
    let second = call(&desk, None, wanted());
    node.until((1, 1)).await;
    node.world.release(fence);
    let (next, _stay) = second.await.unwrap().unwrap();
    assert!(next > fence);
    assert_eq!(node.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_handed_over_is_given_back() {
    let (node, desk) = start();
    let (_, stay) = call(&desk, None, wanted()).await.unwrap().unwrap();
    drop(stay);
    node.until((0, 0)).await;
    let held = node.world.acquire("a");
    let waiting = call(&desk, None, wanted());
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
    let second = Node { fates: Arc::default(), ..first.clone() };
    let other = Desk::new(Arc::new(second.clone()), second.world.feed.clone(), CancellationToken::new());
    let held = first.world.acquire("a");
    let early = call(&one, Some(1), wanted());
    first.until((1, 1)).await;
    let late = call(&other, Some(1), wanted());
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..10).for_each(|_| first.fate(Fate::NoLeader));
    early.abort();
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.world.release(held);
    let (fence, mut stay) = late.await.unwrap().unwrap();
    stay.keep();
    drop(stay);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(first.fates.lock().is_empty(), "it has given up by now");
    assert_eq!(first.counts(), (1, 0));
    first.world.release(fence);
    assert_eq!(first.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_elsewhere_and_gives_up_means_it() {
    for dies in [false, true] {
        let (node, one) = start();
        let other = Desk::new(Arc::new(node.clone()), node.world.feed.clone(), CancellationToken::new());
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
        let (node, desk) = start();
        let notify = Arc::new(Notify::new());
        node.fate(Fate::Held(notify.clone()));
        for _ in 0..3 {
            node.fate(Fate::NoLeader);
        }
        let asked = call(&desk, id, wanted());
        tokio::time::sleep(Duration::from_millis(1)).await;
        asked.abort();
        if !late {
            notify.notify_one();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        // The first command comes out of the log after the one that asked what became of it.
        notify.notify_one();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(node.counts(), (0, 0), "late: {late}");
        // Whoever asks with that id is not told that it was tried in vain.
        if id.is_some() {
            assert_eq!(code(call(&desk, id, wanted())).await, Code::Aborted);
        }
        assert!(call(&desk, Some(4), wanted()).await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_equal_calls_takes_the_place_along() {
    let (node, desk) = start();
    let held = node.world.acquire("a");
    let (one, other) = (call(&desk, Some(1), wanted()), call(&desk, Some(1), wanted()));
    node.until((1, 1)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.counts(), (1, 1));
    node.world.release(held);
    let (fence, mut stay) = other.await.unwrap().unwrap();
    stay.keep();
    drop(stay);
    // Found again while it is held: somebody was told of it.
    let (again, stay) = call(&desk, Some(1), wanted()).await.unwrap().unwrap();
    assert_eq!(again, fence);
    drop(stay);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.counts(), (1, 0));
    node.world.release(fence);
    assert_eq!(code(call(&desk, Some(1), wanted())).await, Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_by_itself_even_if_the_cluster_does_not_end_it() {
    let (node, desk) = start();
    node.world.acquire("a");
    let began = tokio::time::Instant::now();
    let ended = code(call(&desk, None, Acquire { wait_ms: 1_000, ..wanted() })).await;
    assert_eq!(ended, Code::DeadlineExceeded);
    assert!(began.elapsed() >= Duration::from_millis(1_000) && began.elapsed() < Duration::from_secs(2));
    node.until((1, 0)).await;
    // Also while nobody leads.
    (0..100).for_each(|_| node.fate(Fate::NoLeader));
    let ended = code(call(&desk, None, Acquire { wait_ms: 1_000, ..wanted() })).await;
    assert_eq!(ended, Code::DeadlineExceeded);
    node.fates.lock().clear();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.counts(), (1, 0));
    // Who only tries is told at once.
    node.fate(Fate::NoLeader);
    let ended = code(call(&desk, None, Acquire { try_only: true, ..wanted() })).await;
    assert_eq!(ended, Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_taken_away_ends_the_wait() {
    let (node, desk) = start();
    node.world.acquire("a");
    let waiting = call(&desk, None, wanted());
    node.until((1, 1)).await;
    let fence = node.world.revision();
    node.world.apply(&[release(fence)]);
    assert_eq!(code(waiting).await, Code::Aborted);
    let waiting = call(&desk, None, wanted());
    node.until((1, 1)).await;
    node.world.apply(&[Command::LeaseRevoke { id: 1 }]);
    assert_eq!(code(waiting).await, Code::NotFound);
    assert_eq!(node.counts(), (0, 0));
    assert_eq!(code(call(&desk, None, wanted())).await, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_nothing_back() {
    let (node, desk) = start();
    node.world.acquire("a");
    let waiting = call(&desk, Some(1), wanted());
    node.until((1, 1)).await;
    desk.stopping.cancel();
    assert_eq!(code(waiting).await, Code::Unavailable);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.counts(), (1, 1));
}
