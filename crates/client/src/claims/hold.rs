//! A claim that is kept extended.
//!
//! 1. One extension is under way at a time, and each counts from before it was sent.
//! 2. Only the tenure that was taken is extended. If it has ended, it is not taken anew behind the
//!    holder's back.

use super::{Claim, Outcome, keeper::Claimer, kept::Kept};
use crate::{Client, Error, ErrorKind, GuardedTxn, Held, LostReason, Ran, Session, Token, Validity, run_as_leader};
use futures::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{runtime::Handle as Runtime, task::AbortHandle};

/// A claim, kept extended in the background. Made by [`ClaimManager`](super::ClaimManager).
///
/// It is lost when no extension was answered in time, or as soon as the cluster says that it was
/// revoked or taken over. See [`Held`] for what all guards can do; this one has no session.
/// Dropping it gives the claim up in the background.
///
/// # Guarantee
/// Until [`Held::valid_until`] nobody else is given the claim, unless it is revoked or taken over
/// by hand. The time goes on while the machine is suspended; after a suspend over it, the claim is
/// lost at once on resume.
///
/// # Examples
/// ```no_run
/// # async fn example(manager: conclave_client::claims::ClaimManager) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Ran, run_as_leader};
///
/// let hold = manager.acquire().await?;
/// println!("held for {:?} at least", hold.remaining());
/// let ran = run_as_leader(hold, async |leading| {
///     println!("working with fence {}", leading.fence());
/// });
/// if let Ran::Stopped(reason) = ran.await {
///     println!("no longer ours: {reason:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct ClaimHold {
    shared: Arc<Shared>,
    client: Client,
    tasks: Vec<AbortHandle>,
    released: bool,
}

struct Shared {
    claimer: Arc<dyn Claimer>,
    runtime: Runtime,
    token: Token,
    renewal: Duration,
    kept: Kept,
}

impl ClaimHold {
    /// Keeps `claim`, which was asked for not before `valid_until` less its duration. Needs a
    /// runtime around it.
    pub(super) fn keep(claimer: Arc<dyn Claimer>, client: &Client, claim: &Claim, renewal: Duration) -> Self {
        let shared = Arc::new(Shared {
            kept: Kept::new(claimer.clock(), claim.promise()),
            claimer,
            runtime: Runtime::current(),
            token: claim.token.clone(),
            renewal,
        });
        let spawn = |work: BoxFuture<'static, ()>| shared.runtime.spawn(work).abort_handle();
        let (clock, keeper, watcher) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&shared));
        let tasks = vec![
            spawn(Box::pin(async move { clock.kept.follow_clock().await })),
            spawn(Box::pin(async move { keeper.extend().await })),
            spawn(Box::pin(async move {
                let reason = watcher.claimer.taken_away(watcher.token.fence).await;
                watcher.kept.end(reason);
            })),
        ];
        Self { shared, client: client.clone(), tasks, released: false }
    }

    /// Does `work` while the claim is held, and gives the claim up when the work has ended, never
    /// the other way round: [`run_as_leader`], with the token alone.
    ///
    /// # Cancel safety
    /// A dropped future drops the work first, then the claim, which is given up in the background.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(hold: conclave_client::claims::ClaimHold) {
    /// let ran = hold.run(async |token| println!("primary with fence {}", token.fence)).await;
    /// # drop(ran);
    /// # }
    /// ```
    pub async fn run<T>(self, work: impl AsyncFnOnce(Token) -> T) -> Ran<T> {
        run_as_leader(self, async |leading| work(leading.token().clone()).await).await
    }

    async fn give_up(&mut self) -> Result<(), Error> {
        if !self.released && self.why_lost().is_none() {
            self.shared.kept.leave();
            self.shared.claimer.give_up(self.fence()).await?;
        }
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        self.released = true;
        self.shared.kept.end(LostReason::Released);
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Held for ClaimHold {
    fn fence(&self) -> i64 {
        self.shared.token.fence
    }

    fn token(&self) -> Token {
        self.shared.token.clone()
    }

    fn session(&self) -> Option<&Session> {
        None
    }

    fn validity(&self) -> Validity {
        self.shared.kept.clone().into()
    }

    fn why_lost(&self) -> Option<LostReason> {
        self.shared.kept.refresh()
    }

    fn lost(&self) -> BoxFuture<'static, LostReason> {
        self.shared.kept.lost()
    }

    fn txn(&self) -> GuardedTxn {
        self.client.guarded(self.token())
    }

    fn release(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.give_up())
    }
}

impl Drop for ClaimHold {
    fn drop(&mut self) {
        let held = !self.released && self.why_lost().is_none();
        self.end();
        if held {
            let (shared, fence) = (Arc::clone(&self.shared), self.fence());
            self.shared.runtime.spawn(async move { shared.give_up(fence).await });
        }
    }
}

impl fmt::Debug for ClaimHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimHold").field("kept", &self.shared.kept).finish_non_exhaustive()
    }
}

/// Between two attempts to extend.
const PAUSE: Duration = Duration::from_millis(300);

impl Shared {
    /// Extends in time, until it is over.
    async fn extend(&self) {
        let fence = self.token.fence;
        while self.kept.refresh().is_none() {
            self.kept.sleep(self.renewal).await;
            loop {
                match self.claimer.claim(Some(fence)).await {
                    Ok(Outcome::Held(claim)) => {
                        self.kept.extended(claim.promise());
                        break;
                    }
                    Ok(outcome) => {
                        tracing::debug!(fence, ?outcome, "a claim is held no longer");
                        return self.kept.end(LostReason::KeyGone);
                    }
                    Err(error) if error.kind() == ErrorKind::NotAsExpected => {
                        return self.kept.end(LostReason::KeyGone);
                    }
                    Err(error) => tracing::debug!(fence, %error, "a claim was not extended"),
                }
                if self.kept.refresh().is_some() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Tries until it is done, refused, or needless.
    async fn give_up(&self, fence: i64) {
        loop {
            match self.claimer.give_up(fence).await {
                Ok(()) => return,
                Err(error) if error.is_final() => return,
                Err(error) => tracing::debug!(fence, %error, "giving up a claim goes on"),
            }
            if self.kept.is_over_by_time() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tracker::tests::Script;
    use super::*;
    use crate::Clock;
    use std::task::Poll;
    use tokio::sync::watch;

    const RENEWAL: Duration = Duration::from_secs(10);

    async fn settled() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn hold(script: &Arc<Script>) -> ClaimHold {
        let client = Client::new(["127.0.0.1:9"]).expect("an address");
        let claim = script.granted(7, false);
        ClaimHold::keep(Arc::clone(script) as Arc<dyn Claimer>, &client, &claim, RENEWAL)
    }

    #[tokio::test]
    async fn extensions_move_the_end_and_without_them_it_is_lost_at_the_deadline() {
        let script = Script::new();
        let hold = hold(&script);
        let first = hold.valid_until();
        settled().await;
        script.answer_held(7);
        script.clock.advance(RENEWAL);
        settled().await;
        assert_eq!(hold.valid_until().since(first), RENEWAL);
        // From here on nobody answers.
        let mut lost = hold.lost();
        script.clock.advance(Duration::from_millis(29_900));
        settled().await;
        assert_eq!(futures::poll!(&mut lost), Poll::Pending, "not before the deadline");
        script.clock.advance(Duration::from_millis(100));
        assert_eq!(lost.await, LostReason::Expired);
        assert_eq!(hold.remaining(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_suspend_over_the_deadline_is_a_loss_at_once() {
        let script = Script::new();
        let hold = hold(&script);
        script.clock.advance(Duration::from_secs(3600));
        assert_eq!(hold.why_lost(), Some(LostReason::Expired));
        assert_eq!(hold.lost().await, LostReason::Expired);
    }

    #[tokio::test]
    async fn a_denied_extension_and_a_revocation_are_losses() {
        let script = Script::new();
        let denied = hold(&script);
        settled().await;
        script.answer_denied(9);
        script.clock.advance(RENEWAL);
        assert_eq!(denied.lost().await, LostReason::KeyGone);
        let revoked = hold(&script);
        settled().await;
        script.revoke();
        assert_eq!(revoked.lost().await, LostReason::TakenAway(crate::Cause::Revoked));
    }

    #[tokio::test]
    async fn work_is_told_and_then_stopped_while_the_claim_still_holds_and_then_given_up() {
        let script = Script::new();
        let hold = hold(&script);
        let until = hold.valid_until();
        let (tell, mut told) = watch::channel(false);
        let work = tokio::spawn(run_as_leader(hold, async move |leading| {
            assert!(leading.session().is_none() && leading.fence() == 7);
            leading.stopping().await;
            tell.send_replace(true);
            std::future::pending::<()>().await;
        }));
        settled().await;
        script.clock.advance(Duration::from_millis(19_900));
        settled().await;
        assert!(!*told.borrow_and_update(), "a third is left, and more");
        script.clock.advance(Duration::from_millis(100));
        settled().await;
        assert!(*told.borrow_and_update() && !work.is_finished());
        script.clock.advance(Duration::from_secs(5));
        assert_eq!(work.await.expect("no panic"), Ran::Stopped(None));
        assert!(script.clock.now() < until);
        assert_eq!(script.given_up(), [7]);
    }

    #[tokio::test]
    async fn dropping_gives_up_once() {
        let script = Script::new();
        let mut released = hold(&script);
        released.release().await.expect("it is scripted to succeed");
        drop(released);
        drop(hold(&script));
        settled().await;
        assert_eq!(script.given_up(), [7, 7]);
    }
}
