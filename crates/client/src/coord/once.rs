//! Operations that leave something in the cluster (a candidacy), in a task of their own: the caller
//! may be gone before the answer comes.
//!
//! 1. The task learns what became of the request as long as it may have had an effect. What it is
//!    answered, and nobody takes, is dropped there, which undoes it.
//! 2. A request that surely had no effect is not sent again for a caller that is gone.
//! 3. All of it ends with the session.

use crate::Channel;
use crate::{Client, Error, Session};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::oneshot, time::sleep};
use tonic::{Request, Response, Status};

const PAUSE: Duration = Duration::from_millis(200);

/// Whether the caller still waits.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(Weak<()>);

impl Wanted {
    fn still(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Does `work` in a task of its own and gives what it comes to.
pub(crate) async fn attended<T, F>(session: &Session, work: impl FnOnce(Wanted) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let here = Arc::new(());
    let work = work(Wanted(Arc::downgrade(&here)));
    let (tell, told) = oneshot::channel();
    let own = session.clone();
    session.in_background(async move { drop(tell.send(own.during(work).await)) });
    let result = async { told.await.unwrap_or_else(|_| Err(Error::unsent("the runtime is going down"))) };
    let result = session.during(result).await;
    drop(here);
    result
}

/// Asks until the outcome is known. The request has an id, so it takes effect once.
pub(crate) async fn insist<Q, A, F>(
    client: &Client,
    request: Q,
    wanted: &Wanted,
    call: impl Fn(Channel, Request<Q>) -> F,
) -> Result<A, Error>
where
    Q: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut doubt = false;
    loop {
        match client.repeatable(request.clone(), &call).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                doubt |= error.outcome_unknown();
                if !doubt && !wanted.still() {
                    return Err(error);
                }
                tracing::debug!(%error, "an operation goes on");
            }
        }
        sleep(PAUSE).await;
    }
}
