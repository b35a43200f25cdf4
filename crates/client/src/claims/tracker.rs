//! Following one's own claim: taken whenever it can be had, extended as long as it is, and
//! questions answered from the clock.
//!
//! 1. A ticket that says "leads" is good for the guarantee from that moment on.
//! 2. Who is denied waits for the end of exactly the tenure that denied it, then claims again: no
//!    end is missed.
//! 3. Answers come without a call while enough of the claim is left.

use super::{Claim, Outcome, keeper::Claimer};
use crate::{
    Error, Token,
    clock::{Clock, Moment},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle as Runtime,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

/// Between two attempts when nobody answers.
const PAUSE: Duration = Duration::from_millis(300);

/// Leading, at the moment when it was asked.
///
/// The [example](Tracker#examples) of [`Tracker`] shows it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lead {
    /// The proof of the tenure, for transactions; its fence for others.
    pub token: Token,
    /// Until when it surely lasts, on the client's clock. Extensions will move it on.
    pub valid_until: Moment,
}

/// Claims in the background whenever it can, and knows whether it leads. Made by
/// [`ClaimManager::track`](super::ClaimManager::track).
///
/// Dropping it stops claiming, and gives up what is held in the background. A claim that is being
/// asked for at that very moment may be taken yet; it ends after its duration.
///
/// # Source
/// Juju's `leadership.Tracker`: its tickets `ClaimLeader`, `WaitLeader`, `WaitMinion`.
///
/// # Examples
/// ```no_run
/// # async fn example(manager: conclave_client::claims::ClaimManager) -> Result<(), conclave_client::Error> {
/// let tracker = manager.track();
/// // A hook that only the leader runs: sure of it for the guarantee, mostly without a call.
/// if let Some(lead) = tracker.claim_leader().await {
///     println!("running as the leader, fence {}", lead.token.fence);
/// }
/// tokio::select! {
///     lead = tracker.wait_leader() => println!("leader until {:?}", lead.valid_until),
///     () = tracker.wait_follower() => println!("follower"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Tracker {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    claimer: Arc<dyn Claimer>,
    clock: Arc<dyn Clock>,
    runtime: Runtime,
    guarantee: Duration,
    renewal: Duration,
    role: watch::Sender<Role>,
    /// Somebody wants to know now.
    ask: Notify,
}

/// What the last answer said, and how many there were.
#[derive(Clone, Debug, Default)]
struct Role {
    answers: u64,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
enum Known {
    Leads(Lead),
    Follows,
}

/// Tickets and questions, as in the [example](Tracker#examples).
impl Tracker {
    pub(super) fn start(claimer: Arc<dyn Claimer>, guarantee: Duration, renewal: Duration) -> Self {
        let shared = Arc::new(Shared {
            clock: claimer.clock(),
            claimer,
            runtime: Runtime::current(),
            guarantee,
            renewal,
            role: watch::Sender::default(),
            ask: Notify::new(),
        });
        let own = Arc::clone(&shared);
        let task = shared.runtime.spawn(async move { own.claim_for_ever().await }).abort_handle();
        Self { shared, task }
    }

    /// Whether it leads and will for the [guarantee](super::ClaimManager::guarantee) at least.
    /// Answers at once while that is known, else claims now: Juju's `ClaimLeader`. `None` also if
    /// no member answers within that time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(tracker: conclave_client::claims::Tracker) {
    /// match tracker.claim_leader().await {
    ///     Some(lead) => println!("the leader for {:?} at least, fence {}", tracker.guarantee(), lead.token.fence),
    ///     None => println!("not the leader, or not for sure"),
    /// }
    /// # }
    /// ```
    pub async fn claim_leader(&self) -> Option<Lead> {
        let shared = &self.shared;
        if let Some(lead) = shared.sure() {
            return Some(lead);
        }
        let mut role = shared.role.subscribe();
        let before = role.borrow().answers;
        shared.ask.notify_one();
        let answered = role.wait_for(|role| role.answers > before);
        drop(timeout(shared.guarantee, answered).await);
        shared.sure()
    }

    /// Ends when it leads, and will for the guarantee at least. Juju's `WaitLeader`.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(tracker: conclave_client::claims::Tracker) {
    /// let lead = tracker.wait_leader().await;
    /// println!("the leader until {:?}", lead.valid_until);
    /// # }
    /// ```
    pub async fn wait_leader(&self) -> Lead {
        let mut role = self.shared.role.subscribe();
        loop {
            if let Some(lead) = self.shared.sure() {
                return lead;
            }
            if role.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends when it cannot be sure any more to lead for the guarantee from now on: another leads,
    /// or extensions are not answered. What was under way may still have time, until
    /// [`Tracker::claimed_until`]. Juju's `WaitMinion`.
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(tracker: conclave_client::claims::Tracker) {
    /// tracker.wait_follower().await;
    /// println!("coming to an end; until {:?} nobody else leads", tracker.claimed_until());
    /// # }
    /// ```
    pub async fn wait_follower(&self) {
        let mut role = self.shared.role.subscribe();
        loop {
            let until = match &role.borrow_and_update().known {
                None => None,
                Some(Known::Follows) => return,
                Some(Known::Leads(lead)) => Some(lead.valid_until),
            };
            let too_late = async {
                match until {
                    None => std::future::pending().await,
                    Some(until) => self.shared.unsure(until).await,
                }
            };
            tokio::select! {
                biased;
                changed = role.changed() => if changed.is_err() { return },
                () = too_late => return,
            }
        }
    }

    /// Until when it surely leads; `None` if it does not. Looks at the clock, asks nobody. Juju's
    /// `claimed until`.
    #[must_use]
    pub fn claimed_until(&self) -> Option<Moment> {
        self.shared.leads().map(|lead| lead.valid_until)
    }

    /// So long an answer "leads" is good for.
    #[must_use]
    pub fn guarantee(&self) -> Duration {
        self.shared.guarantee
    }

    /// Stops claiming, and gives up what is held. When this returns without error, the next one may
    /// have it.
    ///
    /// # Errors
    /// No member confirmed it in time; it goes on in the background, and the claim ends after its
    /// duration anyway.
    ///
    /// # Cancel safety
    /// A dropped future has stopped claiming; giving up goes on in the background. For what was
    /// asked for last, see [`Tracker`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(tracker: conclave_client::claims::Tracker) -> Result<(), conclave_client::Error> {
    /// if let Some(until) = tracker.claimed_until() {
    ///     println!("leads until {until:?}; each answer is good for {:?}", tracker.guarantee());
    /// }
    /// tracker.stop().await?;
    /// // The next one has it.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop(self) -> Result<(), Error> {
        self.task.abort();
        match self.shared.leads() {
            None => Ok(()),
            Some(lead) => {
                self.shared.claimer.give_up(lead.token.fence).await?;
                self.shared.set(Known::Follows);
                Ok(())
            }
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(lead) = self.shared.leads() {
            let shared = Arc::clone(&self.shared);
            self.shared.runtime.spawn(async move {
                while shared.claimer.give_up(lead.token.fence).await.is_err_and(|error| !error.is_final())
                    && shared.clock.now() < lead.valid_until
                {
                    sleep(PAUSE).await;
                }
            });
        }
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("role", &*self.shared.role.borrow()).finish_non_exhaustive()
    }
}

impl Shared {
    fn leads(&self) -> Option<Lead> {
        match &self.role.borrow().known {
            Some(Known::Leads(lead)) if self.clock.now() < lead.valid_until => Some(lead.clone()),
            _ => None,
        }
    }

    /// Leading, and for the guarantee from now on.
    fn sure(&self) -> Option<Lead> {
        self.leads().filter(|lead| self.clock.now() + self.guarantee <= lead.valid_until)
    }

    /// Ends when less than the guarantee is left.
    async fn unsure(&self, until: Moment) {
        loop {
            let now = self.clock.now();
            let left = until.since(now);
            match left.checked_sub(self.guarantee) {
                Some(spare) => self.clock.sleep_until(now + spare + Duration::from_nanos(1)).await,
                None => return,
            }
        }
    }

    fn set(&self, known: Known) {
        self.role.send_modify(|role| *role = Role { answers: role.answers + 1, known: Some(known) });
    }

    fn lead(&self, claim: Claim) {
        self.set(Known::Leads(Lead { token: claim.token, valid_until: claim.valid_until }));
    }

    async fn claim_for_ever(&self) {
        loop {
            let asked = self.clock.now();
            match self.claimer.claim(None).await {
                Ok(Outcome::Held(claim)) => {
                    let fence = claim.fence;
                    self.lead(claim);
                    tokio::select! {
                        () = self.clock.sleep_until(asked + self.renewal) => {}
                        () = self.ask.notified() => {}
                        reason = self.claimer.taken_away(fence) => {
                            tracing::debug!(fence, %reason, "leads no longer");
                            self.set(Known::Follows);
                        }
                    }
                }
                Ok(Outcome::Denied(by)) => {
                    self.set(Known::Follows);
                    tokio::select! {
                        ended = self.claimer.ended(by.fence) => if ended.is_err() { sleep(PAUSE).await },
                        () = self.ask.notified() => {}
                    }
                }
                Ok(outcome) => {
                    tracing::warn!(?outcome, "a claim that cannot be had");
                    self.set(Known::Follows);
                    sleep(PAUSE * 10).await;
                }
                // What was known stays as good as the clock says.
                Err(error) => {
                    tracing::debug!(%error, "a claim was not answered");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ClaimHolder;
    use super::*;
    use crate::{Cause, LostReason, clock::fake::FakeClock};
    use futures::{FutureExt, future::BoxFuture};
    use std::sync::{Mutex, PoisonError};

    const DURATION: Duration = Duration::from_secs(30);
    const RENEWAL: Duration = Duration::from_secs(10);
    const GUARANTEE: Duration = Duration::from_secs(10);

    /// A cluster that answers what it is told to, on a clock moved by hand; without an answer it
    /// stays silent.
    pub(in super::super) struct Script {
        pub(in super::super) clock: Arc<FakeClock>,
        answers: Mutex<Vec<Answer>>,
        more: Notify,
        over: watch::Sender<u32>,
        revoked: watch::Sender<u32>,
        given_up: Mutex<Vec<i64>>,
        asked: watch::Sender<u32>,
    }

    enum Answer {
        Held(i64),
        Denied(i64),
        Fails,
    }

    impl Script {
        pub(in super::super) fn new() -> Arc<Self> {
            Arc::new(Self {
                clock: Arc::default(),
                answers: Mutex::default(),
                more: Notify::new(),
                over: watch::Sender::default(),
                revoked: watch::Sender::default(),
                given_up: Mutex::default(),
                asked: watch::Sender::default(),
            })
        }

        pub(in super::super) fn granted(&self, fence: i64, extended: bool) -> Claim {
            let valid_until = self.clock.now() + DURATION;
            Claim { fence, token: Token::new(fence, Vec::new()), extended, guaranteed: DURATION, valid_until }
        }

        fn answer(&self, answer: Answer) {
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            self.more.notify_one();
        }

        pub(in super::super) fn answer_held(&self, fence: i64) {
            self.answer(Answer::Held(fence));
        }

        pub(in super::super) fn answer_denied(&self, by: i64) {
            self.answer(Answer::Denied(by));
        }

        pub(in super::super) fn revoke(&self) {
            self.revoked.send_modify(|times| *times += 1);
        }

        pub(in super::super) fn given_up(&self) -> Vec<i64> {
            self.given_up.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn asked(&self) -> u32 {
            *self.asked.borrow()
        }

        fn pop(&self) -> Option<Answer> {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            (!answers.is_empty()).then(|| answers.remove(0))
        }

        async fn next(&self) -> Answer {
            loop {
                match self.pop() {
                    Some(answer) => return answer,
                    None => self.more.notified().await,
                }
            }
        }
    }

    impl Claimer for Script {
        fn claim(&self, _fence: Option<i64>) -> BoxFuture<'_, Result<Outcome, Error>> {
            self.asked.send_modify(|times| *times += 1);
            let sent = self.clock.now();
            Box::pin(async move {
                match self.next().await {
                    Answer::Held(fence) => {
                        Ok(Outcome::Held(Claim { valid_until: sent + DURATION, ..self.granted(fence, true) }))
                    }
                    Answer::Denied(fence) => {
                        let (holder, instance) = ("other".into(), String::new());
                        Ok(Outcome::Denied(ClaimHolder { holder, instance, fence }))
                    }
                    Answer::Fails => Err(Error::unsent("nobody there")),
                }
            })
        }

        fn ended(&self, _fence: i64) -> BoxFuture<'_, Result<(), Error>> {
            let mut over = self.over.subscribe();
            Box::pin(async move {
                drop(over.changed().await);
                Ok(())
            })
        }

        fn taken_away(&self, _fence: i64) -> BoxFuture<'static, LostReason> {
            let mut revoked = self.revoked.subscribe();
            Box::pin(async move {
                if revoked.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                LostReason::TakenAway(Cause::Revoked)
            })
        }

        fn give_up(&self, fence: i64) -> BoxFuture<'static, Result<(), Error>> {
            self.given_up.lock().unwrap_or_else(PoisonError::into_inner).push(fence);
            Box::pin(async { Ok(()) })
        }

        fn clock(&self) -> Arc<dyn Clock> {
            Arc::clone(&self.clock) as Arc<dyn Clock>
        }
    }

    fn tracker(script: &Arc<Script>) -> Tracker {
        Tracker::start(Arc::clone(script) as Arc<dyn Claimer>, GUARANTEE, RENEWAL)
    }

    async fn settled() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn while_enough_is_left_tickets_cost_no_call() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        let lead = tracker.wait_leader().await;
        assert_eq!((lead.token.fence, lead.valid_until), (7, script.clock.now() + DURATION));
        let asked = script.asked();
        assert!(tracker.claim_leader().await.is_some());
        script.clock.advance(Duration::from_secs(9));
        assert!(tracker.claim_leader().await.is_some());
        assert_eq!(script.asked(), asked);
    }

    #[tokio::test]
    async fn it_extends_in_time_and_counts_from_before_the_call() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        tracker.wait_leader().await;
        settled().await;
        script.clock.advance(RENEWAL);
        settled().await;
        let sent = script.clock.now();
        // The answer takes three seconds.
        script.clock.advance(Duration::from_secs(3));
        script.answer_held(7);
        settled().await;
        assert_eq!(tracker.claimed_until(), Some(sent + DURATION));
    }

    #[tokio::test]
    async fn without_answers_it_is_unsure_in_time_and_lost_at_the_end() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        tracker.wait_leader().await;
        let mut follower = Box::pin(tracker.wait_follower());
        assert!(futures::poll!(&mut follower).is_pending());
        script.clock.advance(DURATION - GUARANTEE);
        assert!(futures::poll!(&mut follower).is_pending(), "exactly the guarantee is left");
        script.clock.advance(Duration::from_millis(1));
        follower.await;
        assert!(tracker.claimed_until().is_some());
        script.clock.advance(GUARANTEE);
        assert_eq!(tracker.claimed_until(), None);
    }

    #[tokio::test]
    async fn who_is_denied_claims_again_when_that_tenure_ends() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_denied(5);
        tracker.wait_follower().await;
        settled().await;
        assert_eq!((tracker.claimed_until(), script.asked()), (None, 1));
        script.answer_held(8);
        script.over.send_modify(|times| *times += 1);
        assert_eq!(tracker.wait_leader().await.token.fence, 8);
    }

    #[tokio::test]
    async fn a_follower_that_asks_claims_now() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_denied(5);
        tracker.wait_follower().await;
        settled().await;
        script.answer_denied(5);
        assert_eq!(tracker.claim_leader().await, None);
        settled().await;
        script.answer_held(9);
        assert!(tracker.claim_leader().await.is_some());
    }

    #[tokio::test]
    async fn a_revocation_is_noticed_and_dropping_gives_up() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        tracker.wait_leader().await;
        settled().await;
        script.revoke();
        tracker.wait_follower().await;
        script.answer(Answer::Fails);
        tokio::time::sleep(PAUSE * 2).await;
        script.answer_held(11);
        tracker.wait_leader().await;
        drop(tracker);
        settled().await;
        assert_eq!(script.given_up(), [11]);
    }

    #[tokio::test]
    async fn stopping_gives_up_before_it_returns() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        tracker.wait_leader().await;
        tracker.stop().now_or_never().expect("at once").expect("it is scripted to succeed");
        assert_eq!(script.given_up()[0], 7);
    }

    #[tokio::test]
    async fn a_dropped_stop_gives_up_in_the_background() {
        let script = Script::new();
        let tracker = tracker(&script);
        script.answer_held(7);
        tracker.wait_leader().await;
        settled().await;
        let asked = script.asked();
        drop(tracker.stop());
        settled().await;
        script.clock.advance(RENEWAL);
        settled().await;
        assert_eq!((script.given_up(), script.asked()), (vec![7], asked), "given up, and not asked for again");
    }
}
