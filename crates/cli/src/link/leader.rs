//! A cluster without a leader: nothing is taken or changed then, and a failure says so.

use super::Link;
use crate::{
    census,
    dial::ask,
    exit::Exit,
    failure::{Failure, Result},
    output::{self, human},
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{sleep, timeout};

/// How long the members may take to elect a leader before a caller who does not wait is told that
/// there is none.
const ELECTION: Duration = Duration::from_secs(1);
/// Between two looks at whether there is a leader.
const LOOK: Duration = Duration::from_secs(3);

impl Link {
    /// That the cluster has no leader, in words; `None` if it has one, or nobody can tell.
    pub(crate) async fn leaderless(&self) -> Option<String> {
        census::leaderless(&self.settings).await
    }

    /// Does something that waits no longer than `patience`. If the cluster has no leader then, the
    /// work is dropped, and the failure says so.
    pub(crate) async fn while_led<T>(
        &self,
        patience: Option<Duration>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(patience) = patience else { return work.await };
        let leaderless = async {
            loop {
                sleep(patience.max(ELECTION)).await;
                if let Some(cause) = self.leaderless().await {
                    return cause;
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            cause = leaderless => Err(Failure::leaderless(cause)),
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
