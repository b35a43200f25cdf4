//! The keeper on a host that does what the test says. Time is tokio's paused time plus a
//! hand-turned offset.

use super::*;
use crate::clock::ManualClock;
use crate::proposer::ProposeError;
use async_trait::async_trait;
use conclave_state::{Fault, Outcome, Rejection, Response};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;
use tokio::sync::Notify;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What becomes of a proposed expiry.
enum Fate {
    StaleTerm,
    Fails(ProposeError),
    /// Decided (true) or refused (false) when notified.
    Held(Arc<Notify>, bool),
}

struct Test {
    clock: ManualClock,
    begun: Instant,
    leading: watch::Sender<LeadershipNow>,
    lives: Mutex<BTreeMap<Id, u64>>,
    keeper: Mutex<Option<Weak<Shared>>>,
    fates: Mutex<VecDeque<Fate>>,
    expired: Mutex<Vec<(Vec<Id>, u64)>>,
    /// All attempts.
    proposed: Mutex<Vec<ExpireRequest>>,
    /// Of the last entry that was applied.
    index: Mutex<u64>,
    /// The term that a confirmation gives; `None`: it fails.
    confirms: Mutex<Option<u64>>,
    /// Runs inside the next confirmation.
    during_confirm: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    leader: Mutex<Option<Keeper>>,
    /// Who answers nothing.
    hangs: Mutex<Option<u64>>,
    confirmations: Mutex<usize>,
}

struct Host(Arc<Test>);
struct TestClock(Arc<Test>);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.0.begun.elapsed() + self.0.clock.now()
    }
}

#[async_trait]
impl KeeperHost for Host {
    fn leadership(&self) -> LeadershipNow {
        *self.0.leading.borrow()
    }

    fn leadership_changes(&self) -> watch::Receiver<LeadershipNow> {
        self.0.leading.subscribe()
    }

    fn revision(&self) -> i64 {
        42
    }

    fn all(&self) -> Result<Loaded, Fault> {
        let spans = self.0.lives.lock().iter().map(|(id, seconds)| (*id, Duration::from_secs(*seconds))).collect();
        Ok(Loaded { applied: *self.0.index.lock(), spans })
    }

    async fn confirm(&self) -> Result<u64, ReadError> {
        *self.0.confirmations.lock() += 1;
        sleep(MILLISECOND).await;
        if let Some(event) = self.0.during_confirm.lock().take() {
            event();
        }
        self.0.confirms.lock().ok_or(ReadError::LeaderChanged)
    }

    fn hand_over(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }

    async fn expire(&self, ending: ExpireRequest) -> Result<Outcome, ProposeError> {
        self.0.proposed.lock().push(ending.clone());
        let ExpireRequest { ids, term, .. } = ending;
        let fate = self.0.fates.lock().pop_front();
        sleep(MILLISECOND).await;
        let expires = match fate {
            None => true,
            Some(Fate::StaleTerm) => false,
            Some(Fate::Fails(error)) => return Err(error),
            Some(Fate::Held(until, expires)) => {
                until.notified().await;
                expires
            }
        };
        if !expires {
            return Ok(Outcome { revision: 1, repeats: None, result: Err(Rejection::StaleTerm) });
        }
        self.0.observe(&self.0.keeper(), ids.iter().map(|id| Deadline::Gone { id: *id }));
        let expired = ids.len();
        self.0.expired.lock().push((ids, term));
        Ok(Outcome { revision: 1, repeats: None, result: Ok(Response::Expire { expired }) })
    }

    async fn renew_at(&self, leader: u64, requests: &[RenewRequest]) -> Result<Vec<Duration>, ReadError> {
        let keeper = self.0.leader(leader).await;
        keeper.ok_or(ReadError::LeaderChanged)?.renew_here(requests).await
    }

    async fn remaining_at(&self, leader: u64, id: Id) -> Result<Option<Duration>, ReadError> {
        let keeper = self.0.leader(leader).await;
        keeper.ok_or(ReadError::LeaderChanged)?.remaining_here(id).await
    }
}

impl Test {
    fn keeper(&self) -> Keeper {
        let shared = self.keeper.lock().clone().and_then(|keeper| keeper.upgrade());
        Keeper { shared: shared.expect("the test holds the keeper") }
    }

    /// The other member that is asked.
    async fn leader(&self, id: u64) -> Option<Keeper> {
        assert!([2, 3].contains(&id));
        if *self.hangs.lock() == Some(id) {
            std::future::pending::<()>().await;
        }
        self.leader.lock().clone()
    }

    /// The changes of one entry.
    fn observe(&self, keeper: &Keeper, changes: impl IntoIterator<Item = Deadline<Id>>) {
        let mut index = self.index.lock();
        *index += 1;
        keeper.observe(*index, changes);
    }

    fn leads(&self, term: u64) {
        *self.confirms.lock() = Some(term);
        self.leading.send_replace(LeadershipNow { leader: Some(1), term, is_me: true });
    }

    fn follows(&self, term: u64) {
        *self.confirms.lock() = None;
        self.leading.send_replace(LeadershipNow { leader: Some(2), term, is_me: false });
    }

    fn expired(&self) -> usize {
        self.expired.lock().iter().map(|(ids, _)| ids.len()).sum()
    }
}

fn granted(id: Id, seconds: u64) -> Deadline<Id> {
    Deadline::Armed { id, ms: seconds.saturating_mul(1000) }
}

fn full(id: Id) -> RenewRequest {
    RenewRequest { id, span: None }
}

/// Seconds that it lives on after a renewal.
async fn renewed(keeper: &Keeper, id: Id) -> u64 {
    keeper.renew(full(id)).await.unwrap().span.as_secs()
}

async fn seconds_left(keeper: &Keeper, id: Id) -> Option<u64> {
    keeper.remaining(id).await.unwrap().map(|left| left.as_secs())
}

/// A keeper with leases in its state, running.
fn start(lives: &[(Id, u64)]) -> (Arc<Test>, Keeper) {
    let test = Arc::new(Test {
        clock: ManualClock::default(),
        begun: Instant::now(),
        leading: watch::Sender::new(LeadershipNow::default()),
        lives: Mutex::new(lives.iter().copied().collect()),
        keeper: Mutex::default(),
        fates: Mutex::default(),
        expired: Mutex::default(),
        proposed: Mutex::default(),
        index: Mutex::new(40),
        confirms: Mutex::default(),
        during_confirm: Mutex::default(),
        leader: Mutex::default(),
        hangs: Mutex::default(),
        confirmations: Mutex::default(),
    });
    let keeper = Keeper::new(Arc::new(TestClock(test.clone())), Box::new(Host(test.clone())));
    *test.keeper.lock() = Some(Arc::downgrade(&keeper.shared));
    tokio::spawn(keeper.clone().run());
    (test, keeper)
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_after_its_ttl_not_before_and_soon() {
    let (test, keeper) = start(&[]);
    test.leads(1);
    sleep(SECOND).await;
    test.observe(&keeper, [granted(7, 10)]);
    sleep(10 * SECOND).await;
    assert_eq!(test.expired(), 0);
    assert_eq!(seconds_left(&keeper, 7).await, Some(0));
    sleep(Duration::from_millis(220)).await;
    assert_eq!(test.expired(), 1);
    assert_eq!(test.expired.lock()[0].1, 1);
    assert_eq!(seconds_left(&keeper, 7).await, None);
    assert!(keeper.is_empty());
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_that_lapse_together_go_together() {
    let (test, keeper) = start(&[]);
    test.leads(1);
    sleep(SECOND).await;
    test.observe(&keeper, (0..20_000).map(|id| granted(id, 10)));
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(test.expired(), 20_000);
    assert_eq!(test.expired.lock().len(), 40, "none so large that applying it holds up the heartbeats");
}

#[tokio::test(start_paused = true)]
async fn a_follower_expires_nothing_and_a_new_leader_begins_anew() {
    let (test, _keeper) = start(&[(7, 10)]);
    test.follows(1);
    sleep(60 * SECOND).await;
    test.leads(2);
    sleep(10 * SECOND).await;
    assert_eq!(test.expired(), 0);
    test.follows(3);
    sleep(60 * SECOND).await;
    test.leads(4);
    sleep(10 * SECOND).await;
    assert_eq!(test.expired(), 0);
    sleep(SECOND).await;
    assert_eq!(test.expired.lock()[0], (vec![7], 4));
}

#[tokio::test(start_paused = true)]
async fn renewals_hold_a_lease_and_cost_one_confirmation_a_round() {
    let (test, keeper) = start(&(0..1000).map(|id| (id, 3)).collect::<Vec<_>>());
    test.leads(1);
    for round in 0..20 {
        sleep(SECOND).await;
        let before = *test.confirmations.lock();
        let renewals = (0..1000).map(|id| keeper.renew(full(id)));
        for kept in futures::future::join_all(renewals).await {
            assert_eq!(kept, Ok(Renewed { span: 3 * SECOND, revision: 42 }));
        }
        assert!(*test.confirmations.lock() - before <= 2, "round {round}");
    }
    assert_eq!(test.expired(), 0);
    sleep(4 * SECOND).await;
    assert_eq!(test.expired(), 1000);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_lease_has_ttl_zero() {
    let (test, keeper) = start(&[]);
    test.leads(1);
    assert_eq!(renewed(&keeper, 9).await, 0);
    assert_eq!(seconds_left(&keeper, 9).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_applied_during_the_confirmation_is_there() {
    let (test, keeper) = start(&[]);
    test.leads(1);
    let (applies, applied) = (test.clone(), keeper.clone());
    *test.during_confirm.lock() = Some(Box::new(move || applies.observe(&applied, [granted(9, 5)])));
    assert_eq!(renewed(&keeper, 9).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_lease_revoked_before_the_renewal_was_confirmed_is_not_renewed() {
    let (test, keeper) = start(&[(9, 5)]);
    test.leads(1);
    let (applies, applied) = (test.clone(), keeper.clone());
    *test.during_confirm.lock() = Some(Box::new(move || applies.observe(&applied, [Deadline::Gone { id: 9 }])));
    assert_eq!(renewed(&keeper, 9).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_the_outcome_of_an_expiry() {
    for expires in [true, false] {
        let (test, keeper) = start(&[(7, 2), (8, 60)]);
        test.leads(1);
        let decide = Arc::new(Notify::new());
        test.fates.lock().push_back(Fate::Held(decide.clone(), expires));
        sleep(3 * SECOND).await;
        let waiting = tokio::spawn({
            let keeper = keeper.clone();
            async move { keeper.renew(full(7)).await }
        });
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        assert_eq!(renewed(&keeper, 8).await, 60, "nobody else waits");
        decide.notify_one();
        assert_eq!(waiting.await.unwrap().unwrap().span.as_secs(), if expires { 0 } else { 2 });
        sleep(SECOND).await;
        assert_eq!(test.expired(), usize::from(expires), "a renewed lease lives");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_of_unknown_outcome_is_proposed_until_it_is_known() {
    let (test, keeper) = start(&[(7, 2)]);
    test.leads(1);
    let unknown = [ProposeError::TimedOut, ProposeError::NoLeader, ProposeError::LeaderFailed];
    test.fates.lock().extend(unknown.map(Fate::Fails));
    sleep(Duration::from_millis(2_100)).await;
    assert_eq!(test.expired(), 0);
    // It may be in the log: the renewal waits, and finds the lease gone.
    assert_eq!(renewed(&keeper, 7).await, 0);
    assert_eq!(test.expired(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_proposed_again_speaks_of_the_same_index() {
    let (test, keeper) = start(&[]);
    test.leads(1);
    sleep(SECOND).await;
    test.observe(&keeper, [granted(7, 2), granted(8, 60)]);
    test.fates.lock().extend([Fate::Fails(ProposeError::TimedOut), Fate::Fails(ProposeError::LeaderFailed)]);
    while test.proposed.lock().is_empty() {
        sleep(MILLISECOND).await;
    }
    // What may be in the log was not said of this one.
    test.observe(&keeper, [Deadline::Gone { id: 7 }, granted(7, 60)]);
    sleep(SECOND).await;
    let expected = ExpireRequest { ids: vec![7], term: 1, observed: 41 };
    assert_eq!(*test.proposed.lock(), [expected.clone(), expected.clone(), expected]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_read_counts_as_told() {
    let (test, keeper) = start(&[(7, 2)]);
    test.leads(1);
    sleep(3 * SECOND).await;
    *test.index.lock() = 90;
    *test.lives.lock() = [(8, 2)].into();
    keeper.reset();
    sleep(3 * SECOND).await;
    let ending = |id, observed| ExpireRequest { ids: vec![id], term: 1, observed };
    assert_eq!(*test.proposed.lock(), [ending(7, 40), ending(8, 90)]);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_surely_not_proposed_does_not_stop_a_renewal() {
    let (test, keeper) = start(&[(7, 2)]);
    test.leads(1);
    test.fates.lock().extend((0..1000).map(|_| Fate::Fails(ProposeError::TooManyRequests)));
    sleep(3 * SECOND).await;
    assert_eq!(renewed(&keeper, 7).await, 2);
    sleep(SECOND).await;
    assert_eq!(test.expired(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_deposed_leader_proposed_has_no_effect_and_the_lease_lives_on() {
    let (test, keeper) = start(&[(7, 2)]);
    test.leads(1);
    test.fates.lock().push_back(Fate::StaleTerm);
    sleep(Duration::from_millis(2_050)).await;
    assert_eq!(test.expired(), 0);
    assert_eq!(renewed(&keeper, 7).await, 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_expired_without_a_confirmation() {
    let (test, keeper) = start(&[(7, 2)]);
    test.leads(1);
    *test.confirms.lock() = None;
    sleep(10 * SECOND).await;
    assert_eq!(test.expired(), 0);
    *test.confirms.lock() = Some(1);
    assert_eq!(renewed(&keeper, 7).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_id_granted_anew_while_it_was_due_is_left_alone() {
    let (test, keeper) = start(&[(7, 2), (8, 2)]);
    test.leads(1);
    let (applies, applied) = (test.clone(), keeper.clone());
    let again = [Deadline::Gone { id: 7 }, granted(7, 60)];
    *test.during_confirm.lock() = Some(Box::new(move || applies.observe(&applied, again)));
    sleep(3 * SECOND).await;
    assert_eq!(test.expired.lock().as_slice(), [(vec![8], 1)]);
    assert_eq!(seconds_left(&keeper, 7).await, Some(59));
}

#[tokio::test(start_paused = true)]
async fn standing_still_for_an_hour_expires_nobody_who_renews() {
    let (test, keeper) = start(&[(7, 5)]);
    test.leads(1);
    sleep(SECOND).await;
    test.clock.advance(Duration::from_secs(3600));
    sleep(SECOND).await;
    assert_eq!(test.expired(), 0);
    assert_eq!(renewed(&keeper, 7).await, 5);
    sleep(Duration::from_millis(5_400)).await;
    assert_eq!(test.expired(), 1, "and a lease that is not renewed ends");
}

#[tokio::test(start_paused = true)]
async fn a_follower_asks_the_leader_and_finds_the_next_one() {
    let (far, leader) = start(&[(7, 5)]);
    far.leads(3);
    let (test, keeper) = start(&[(7, 5)]);
    test.follows(2);
    let waiting = tokio::spawn({
        let keeper = keeper.clone();
        async move { keeper.renew(full(7)).await }
    });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    *test.leader.lock() = Some(leader);
    test.follows(3);
    assert_eq!(waiting.await.unwrap(), Ok(Renewed { span: 5 * SECOND, revision: 42 }));
    assert_eq!(seconds_left(&keeper, 7).await, Some(4), "a moment has passed");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_renewal_fails_in_the_end() {
    let (_test, keeper) = start(&[(7, 5)]);
    let begun = Instant::now();
    assert_eq!(keeper.renew(full(7)).await, Err(ReadError::NoLeader));
    assert!(begun.elapsed() <= PATIENCE + SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_installed_snapshot_replaces_all_leases() {
    let (test, keeper) = start(&[(7, 5)]);
    test.leads(1);
    sleep(SECOND).await;
    *test.lives.lock() = [(8, 5)].into();
    keeper.reset();
    assert_eq!(renewed(&keeper, 7).await, 0);
    assert_eq!(renewed(&keeper, 8).await, 5);
    assert_eq!(keeper.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn milliseconds_are_kept_also_when_the_task_meant_to_sleep_longer() {
    let (test, keeper) = start(&[(7, 3600)]);
    test.leads(1);
    sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    test.observe(&keeper, [Deadline::Armed { id: 8, ms: 20 }]);
    while test.expired() == 0 {
        sleep(MILLISECOND).await;
    }
    assert!(begun.elapsed() >= 20 * MILLISECOND && begun.elapsed() < 30 * MILLISECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn many_are_renewed_for_less_than_their_span_by_one_confirmation() {
    let (test, keeper) = start(&(0..10).map(|id| (id, 10)).collect::<Vec<_>>());
    test.leads(1);
    sleep(9 * SECOND).await;
    let before = *test.confirmations.lock();
    let requests = [0, 1, 99].map(|id| RenewRequest { id, span: Some(4 * SECOND) });
    assert_eq!(keeper.renew_all(&requests).await, Ok(vec![4 * SECOND, 4 * SECOND, Duration::ZERO]));
    assert_eq!(*test.confirmations.lock() - before, 1);
    sleep(2 * SECOND).await;
    assert_eq!(test.expired(), 8, "those that nobody asked for");
    sleep(Duration::from_millis(1_990)).await;
    assert_eq!(test.expired(), 8);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(test.expired(), 10);
}

/// A leader that was stopped accepts calls and answers none of them. Its followers have another one
/// long before that is noticed.
#[tokio::test(start_paused = true)]
async fn a_leader_that_hangs_is_given_up_when_there_is_another() {
    let (next, next_leader) = start(&[(7, 60)]);
    next.leads(2);
    let (test, keeper) = start(&[(7, 60)]);
    *test.leader.lock() = Some(next_leader);
    test.follows(1);
    *test.hangs.lock() = Some(2);
    let asking = keeper.clone();
    let renewal = tokio::spawn(async move { renewed(&asking, 7).await });
    let asking = keeper.clone();
    let question = tokio::spawn(async move { seconds_left(&asking, 7).await });
    sleep(SECOND).await;
    test.leading.send_replace(LeadershipNow { leader: None, term: 2, is_me: false });
    sleep(SECOND).await;
    assert!(!renewal.is_finished() && !question.is_finished());
    test.leading.send_replace(LeadershipNow { leader: Some(3), term: 2, is_me: false });
    sleep(20 * MILLISECOND).await;
    assert!(renewal.is_finished() && question.is_finished(), "they wait for a leader that is none any more");
    assert_eq!((renewal.await.unwrap(), question.await.unwrap()), (60, Some(59)));
}

/// The same when this member is the next leader itself.
#[tokio::test(start_paused = true)]
async fn who_becomes_leader_answers_what_was_forwarded_to_the_last_one() {
    let (test, keeper) = start(&[(7, 60)]);
    test.follows(1);
    *test.hangs.lock() = Some(2);
    let asking = keeper.clone();
    let renewal = tokio::spawn(async move { renewed(&asking, 7).await });
    sleep(SECOND).await;
    test.leads(2);
    sleep(20 * MILLISECOND).await;
    assert!(renewal.is_finished());
    assert_eq!(renewal.await.unwrap(), 60);
}
