//! Waiting in the line of an etcd lock or election: for how long, for whom, and why it
//! fails.

use super::{
    Context,
    lock_admin::line,
    lock_lines::{Line, blocked},
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{self, quote},
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{sleep, timeout};

/// After how long somebody who waits is told for whom.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Why it was not to be had at once.
pub(super) async fn why_not(context: &Context, name: &str, busy: Failure) -> Failure {
    match line(context, name).await {
        Ok(Line { blocked_by: Some(key), .. }) => blocked(name, &key),
        _ => busy,
    }
}

/// Waits in the line of `name` under `lease`, no longer than `wait` if somebody else is before. One
/// who is first has what it asked for, so an answer is awaited in any case.
pub(super) async fn within<T>(
    context: &Context,
    (name, lease): (&str, i64),
    wait: Option<Duration>,
    waiting: impl Future<Output = Result<T>>,
    busy: Failure,
) -> Result<T> {
    let late = async {
        match wait {
            None => std::future::pending().await,
            Some(wait) => sleep(wait).await,
        }
        late(context, name, lease, busy).await
    };
    tokio::select! {
        biased;
        outcome = waiting => outcome,
        failure = late => Err(failure),
        never = tell_waiting(context, name, lease) => match never {},
    }
}

/// Why a wait fails, as soon as that is known: somebody else is before, or the cluster
/// does not answer.
async fn late(context: &Context, name: &str, lease: i64, busy: Failure) -> Failure {
    const PAUSE: Duration = Duration::from_millis(50);
    let looking = async {
        loop {
            match line(context, name).await {
                Ok(Line { blocked_by: Some(key), .. }) => return blocked(name, &key).about("not in time"),
                Ok(line) if line.places.first().is_some_and(|first| first.lease != lease) => {
                    return busy.about("not in time");
                }
                Ok(_) => sleep(PAUSE).await,
                Err(failure) => return failure,
            }
        }
    };
    let silent = || Failure::new(Exit::NoConnection, "no member answered in time");
    timeout(context.link.settings().command_timeout, looking).await.unwrap_or_else(|_| silent())
}

/// Tells somebody who waits, after a moment, for whom; never ends.
async fn tell_waiting(context: &Context, name: &str, lease: i64) -> Infallible {
    sleep(PATIENCE).await;
    // Not worth an error: the wait itself goes on.
    if let Ok(line) = line(context, name).await {
        if let Some(key) = &line.blocked_by {
            output::note(&format!("waiting for {name:?}: {}", blocked(name, key).message()));
        }
        let own = line.places.iter().position(|place| place.lease == lease);
        if let (Some(before @ 1..), Some(holder)) = (own, line.holders().next()) {
            // etcd's own clients leave the value of a lock empty.
            let who = quote::readable(if holder.value.is_empty() { &holder.key } else { &holder.value });
            output::note(&format!("waiting for {name:?}: {before} before; held by {who} with fence {}", holder.fence));
        }
    }
    std::future::pending().await
}
