//! A cluster without a leader: nothing is taken or changed then, and a failure says so.

use super::Link;
use crate::{
    census::{self, Leaderless},
    dial::ask,
    exit::Exit,
    failure::{Failure, Result},
    output::{self, human},
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long the members may take to elect a leader before a caller who does not wait is told that
/// there is none.
const ELECTION: Duration = Duration::from_secs(1);
/// Between two looks at whether there is a leader.
const LOOK: Duration = Duration::from_secs(3);

/// Ends when the cluster is found to have no leader after `patience`, or after the time for an
/// election.
///
/// To find out takes a while if members do not answer, so it begins before. What was seen then
/// counts only if too few members answer to elect anybody.
async fn found_leaderless(patience: Duration, look: impl AsyncFn() -> Option<Leaderless>) -> String {
    let patience = patience.max(ELECTION);
    let sure = Instant::now() + patience;
    sleep(patience.saturating_sub(census::PATIENCE)).await;
    loop {
        let asked = Instant::now();
        let found = look().await;
        let now = Instant::now();
        match found {
            Some(found) if now >= sure && (asked >= sure || found.too_few) => return found.words,
            // An election had its time meanwhile, but not before the look began.
            Some(_) if now >= sure => {}
            _ => sleep_until(if now < sure { sure } else { now + patience }).await,
        }
    }
}

impl Link {
    /// That the cluster has no leader, in words; `None` if it has one, or nobody can tell.
    pub(crate) async fn leaderless(&self) -> Option<String> {
        census::leaderless(&self.settings).await.map(|found| found.words)
    }

    /// Does something that waits no longer than `patience`. If the cluster has no leader then, the
    /// work is dropped, and the failure says so.
    pub(crate) async fn while_led<T>(
        &self,
        patience: Option<Duration>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(patience) = patience else { return work.await };
        tokio::select! {
            biased;
            done = work => done,
            cause = found_leaderless(patience, async || census::leaderless(&self.settings).await) => {
                Err(Failure::leaderless(cause))
            }
        }
    }

    /// Notes that the cluster has lost its leader, and that it has one again; never ends. It runs
    /// beside work that has nothing to show.
    pub(crate) async fn tell_of_leader(&self) -> Infallible {
        let mut told = false;
        loop {
            sleep(LOOK).await;
            let known = match self.node().await {
                Ok(node) => timeout(self.settings.dial_timeout, ask(node.channel)).await.ok().and_then(Result::ok),
                Err(_) => None,
            };
            let led = known.is_some_and(|status| census::known_leader(status.get_ref()) != 0);
            match if led { None } else { self.leaderless().await } {
                Some(cause) if !told => {
                    told = true;
                    output::note(&format!("{cause}; going on when it has one"));
                }
                None if led && told => {
                    told = false;
                    output::note("the cluster has a leader again");
                }
                _ => {}
            }
        }
    }

    /// No member answered in time. If the cause is that the cluster has no leader, the failure says
    /// so.
    pub(crate) async fn explained(&self, failure: Failure) -> Failure {
        if !matches!(failure.exit, Exit::NoConnection | Exit::Unknown | Exit::Lost)
            || census::is_named(failure.message())
        {
            return failure;
        }
        match self.leaderless().await {
            Some(cause) => failure.because(&cause),
            None => failure,
        }
    }

    /// A failure to take what a session holds. It holds nothing, whatever became of the request.
    pub(crate) async fn not_taken(&self, failure: Failure, what: &str, ttl: Duration) -> Failure {
        if failure.exit == Exit::Lost {
            return self.explained(failure).await;
        }
        if !matches!(failure.exit, Exit::NoConnection | Exit::Unknown) {
            return failure;
        }
        let cause = match failure.message() {
            named if census::is_named(named) => Some(named.to_owned()),
            _ => self.leaderless().await,
        };
        let ttl = human::time(ttl);
        let ends = match cause {
            Some(_) => format!("{ttl} after the cluster has a leader again, at the latest"),
            None => format!("after {ttl} at the latest"),
        };
        let cause = cause.unwrap_or_else(|| failure.message().to_owned());
        Failure::new(Exit::NoConnection, format!("{what} was not taken: {cause}"))
            .hint(format!("nothing is held; what was asked for ends with its session, {ends}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many milliseconds it is found, if each look takes so many and finds this.
    async fn of(patience: u64, takes: u64, found: impl Fn(u128) -> Option<bool>) -> u128 {
        let begun = Instant::now();
        let look = async || {
            let asked = begun.elapsed().as_millis();
            sleep(Duration::from_millis(takes)).await;
            found(asked).map(|too_few| Leaderless { words: "none".to_owned(), too_few })
        };
        found_leaderless(Duration::from_millis(patience), look).await;
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_leader_is_found_when_the_patience_ends() {
        // Members that do not answer are waited for within the patience, not after it.
        assert_eq!(of(0, 1000, |_| Some(true)).await, 1000);
        assert_eq!(of(5000, 1000, |_| Some(true)).await, 5000);
        // Those that answer are given the time for an election,
        assert_eq!(of(0, 10, |_| Some(false)).await, 1010);
        assert_eq!(of(0, 10, |_| Some(true)).await, 1010);
        // also if another one does not answer.
        assert_eq!(of(0, 1000, |_| Some(false)).await, 2000);
        assert_eq!(of(0, 10, |asked| (asked >= 3000).then_some(true)).await, 3030);
    }
}
