//! Campaigns over the state machine alone, with calls cancelled at every moment and answers lost.

use super::campaign::Campaigns;
use super::state::{self, Order, Seen, State, Then};
use crate::convert::conclave::{Caller, election::Campaign};
use crate::follow::tests::{World, name};
use crate::pending::Calls;
use crate::pending::tests::{Fate, MOST_POLLS, TestLog, cancel_after, courses};
use conclave_api::conclave::v1::campaign_response::Now;
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::coord::read;
use conclave_state::{Command, CoordBody, Enter, Fault, LeaseGrant, LeaseId, Leave, Name};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

#[derive(Clone)]
struct Node {
    world: World,
    log: TestLog,
}

impl State for Node {
    fn candidate(&self, election: &Name, candidate: &str) -> Result<Seen, Fault> {
        state::candidate(&self.world.store.lock().view, election, candidate)
    }

    fn leader(&self, election: &Name) -> Result<(Option<String>, i64), Fault> {
        state::leader(&self.world.store.lock().view, election)
    }

    fn order(&self, election: &Name, most: usize) -> Result<Option<Order>, Fault> {
        state::order(&self.world.store.lock().view, election, most)
    }

    fn order_later(&self, election: &Name, then: Then) {
        then(self.order(election, usize::MAX).transpose());
    }

    fn session_lives(&self, session: LeaseId) -> Result<bool, Fault> {
        state::session_lives(&self.world.store.lock().view, session)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { revision, ..ResponseHeader::default() }
    }
}

impl Node {
    /// The leader and those who wait.
    fn line(&self) -> (Option<String>, Vec<String>) {
        let view = &self.world.store.lock().view;
        let order = state::order(view, &name("e"), usize::MAX).unwrap().unwrap();
        (order.leader, order.waiting)
    }

    fn is_candidate(&self, candidate: &str) -> bool {
        read::candidate(&self.world.store.lock().view, &name("e"), candidate).unwrap().is_some()
    }

    fn member(&self, log: &TestLog) -> Campaigns {
        let stopping = CancellationToken::new();
        Campaigns {
            calls: Calls::new(Arc::new(log.clone()), stopping.clone()),
            state: Arc::new(self.clone()),
            feed: self.world.feed.clone(),
            lines: Arc::default(),
            stopping,
            leave_timeout: Duration::from_secs(1),
        }
    }
}

/// Sessions 1 and 2.
fn start() -> (Node, Campaigns) {
    let world = World::new();
    world.apply(&[Command::LeaseGrant(LeaseGrant { id: 2, ttl_ms: 60_000 })]);
    let decided = world.clone();
    let log = TestLog::new(move |command| decided.apply(std::slice::from_ref(command)).remove(0));
    let node = Node { world, log: log.clone() };
    let campaigns = node.member(&log);
    (node, campaigns)
}

fn of(session: LeaseId) -> Caller {
    Caller { session, ..Caller::default() }
}

fn entering(candidate: &str) -> Enter {
    Enter { election: name("e"), candidate: candidate.into(), ..Enter::default() }
}

fn leads(node: &Node, session: LeaseId, candidate: &str) {
    node.world.apply(&[of(session).command(CoordBody::Enter(entering(candidate)))]);
    assert_eq!(node.line().0.as_deref(), Some(candidate));
}

fn campaign(session: LeaseId, candidate: &str) -> Campaign {
    Campaign { caller: of(session), enter: entering(candidate), stay: false, timeout: None }
}

/// Waits until the campaign is won.
async fn win(campaigns: &Campaigns, campaign: Campaign) -> Result<(), Status> {
    let mut answers = campaigns.run(campaign).await?;
    while let Some(answer) = answers.next().await {
        if matches!(answer?.now, Some(Now::Won(_))) {
            return Ok(());
        }
    }
    panic!("the answers ended without a win or an error");
}

#[tokio::test(start_paused = true)]
async fn cancelled_at_any_moment_it_leaves_nothing() {
    for (led, stay) in [(false, false), (true, false)] {
        for course in courses() {
            for polls in 0..MOST_POLLS {
                let (node, campaigns) = start();
                if led {
                    leads(&node, 1, "first");
                }
                course.iter().for_each(|fate| node.log.fate(fate.clone()));
                let campaign = Campaign { stay, ..campaign(2, "c") };
                let won = cancel_after(polls, &course, win(&campaigns, campaign)).await;
                assert_eq!(node.is_candidate("c"), won, "{course:?}, {polls} polls, led {led}");
                assert_eq!(node.is_candidate("first"), led);
                assert!(campaigns.calls.is_idle());
                if won {
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_to_stay_stays() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let course = &courses()[0];
    let staying = Campaign { stay: true, ..campaign(2, "c") };
    assert!(!cancel_after(MOST_POLLS, course, win(&campaigns, staying)).await);
    assert_eq!(node.line(), (Some("first".into()), vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_win_follows_when_the_leader_leaves_and_is_kept() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let waiting = tokio::spawn(async move { win(&campaigns, campaign(2, "c")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    let leave = Leave { election: name("e"), candidate: "first".into(), ..Leave::default() };
    node.world.apply(&[of(1).command(CoordBody::Leave(leave))]);
    waiting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(node.line().0.as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_session_ends_the_call() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let waiting = tokio::spawn(async move { win(&campaigns, campaign(2, "c")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.world.apply(&[Command::LeaseRevoke { id: 2 }]);
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::NotFound);
    let proposals = node.log.proposals();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(node.log.proposals(), proposals, "nothing is left to be released");
}

#[tokio::test(start_paused = true)]
async fn out_of_time_it_has_left_before_it_answers() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let timed = Campaign { timeout: Some(Duration::from_secs(3)), ..campaign(2, "c") };
    assert_eq!(win(&campaigns, timed).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(!node.is_candidate("c"));
}

/// Its connection to one member broke, and the client entered again at another.
#[tokio::test(start_paused = true)]
async fn what_was_entered_again_elsewhere_is_not_given_up() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let elsewhere = node.member(&node.log.elsewhere());
    let broken = tokio::spawn(async move { win(&campaigns, campaign(2, "c")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    (0..10).for_each(|_| node.log.fate(Fate::NoLeader));
    broken.abort();
    let again = tokio::spawn(async move { win(&elsewhere, campaign(2, "c")).await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.log.fates_left(), 0, "it has given up by now");
    assert!(node.is_candidate("c"));
    assert!(!again.is_finished());
}

/// The second is refused, and takes nothing from the first when its call ends in doubt.
#[tokio::test(start_paused = true)]
async fn calls_of_two_sessions_under_one_id_are_apart() {
    let (node, campaigns) = start();
    leads(&node, 1, "first");
    let (one, other) = (campaigns.clone(), campaigns.clone());
    let waiting = tokio::spawn(async move { win(&one, campaign(1, "c")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.log.fate(Fate::Lost);
    let refused = tokio::spawn(async move { win(&other, campaign(2, "c")).await });
    assert_eq!(refused.await.unwrap().unwrap_err().code(), Code::AlreadyExists);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(node.is_candidate("c"));
    assert!(!waiting.is_finished());
}
