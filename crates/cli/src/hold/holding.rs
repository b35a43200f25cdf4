//! What a command can be run under: a guard of the client library, or a tenure of conclave.v1.

use crate::failure::{Failure, Result};
use conclave_client::{
    Client, Held, KeyRange, Leadership, LockGuard, LostReason, Session, Watch,
    api::{
        conclave::v1::Token,
        etcdserverpb::{Compare, TxnRequest},
    },
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared},
};
use std::{fmt, time::Duration};
use tokio::time::{sleep, timeout};

/// Something that is held.
pub(crate) trait Holding {
    fn fence(&self) -> i64;
    fn session(&self) -> &Session;
    fn is_lost(&self) -> bool;
    /// Ends when it is held no longer.
    fn lost(&self) -> BoxFuture<'static, LostReason>;
    /// Gives it back; the session stays.
    fn release(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// Guards of the client library that are held by a session.
macro_rules! guards {
    ($($guard:ty),*) => {
        $(impl Holding for $guard {
            fn fence(&self) -> i64 {
                Held::fence(self)
            }

            fn session(&self) -> &Session {
                self.session()
            }

            fn is_lost(&self) -> bool {
                self.why_lost().is_some()
            }

            fn lost(&self) -> BoxFuture<'static, LostReason> {
                Held::lost(self)
            }

            fn release(&mut self) -> BoxFuture<'_, Result<()>> {
                Held::release(self).map(|released| released.map_err(Failure::of_client)).boxed()
            }
        })*
    };
}

guards!(Leadership, LockGuard);

/// How long a loss may stay without its reason.
const NEWS: Duration = Duration::from_millis(300);

type Release = Box<dyn Fn() -> BoxFuture<'static, Result<()>>>;

/// A tenure under a session, proved by the compares of a token.
///
/// It is lost with its session, or as soon as one of the compares is seen not to hold.
pub(crate) struct Tenure {
    fence: i64,
    session: Session,
    lost: Shared<BoxFuture<'static, LostReason>>,
    /// `None`: it is given back by other means.
    release: Option<Release>,
}

impl Tenure {
    /// `told`: ends when the cluster says that the tenure is over, and why.
    pub(crate) fn new(
        client: &Client,
        session: &Session,
        token: Token,
        told: impl Future<Output = LostReason> + Send + 'static,
        release: Option<Release>,
    ) -> Self {
        let broken = token.guards.into_iter().map(|guard| broken(client.clone(), guard).boxed());
        let broken = futures::future::select_all(broken.chain([futures::future::pending().boxed()]));
        let session_lost = session.lost();
        let mut told = Box::pin(told);
        let lost = async move {
            tokio::select! {
                biased;
                reason = session_lost => reason,
                reason = &mut told => reason,
                // It is lost, whatever the reason, which is told in the same moment where members
                // answer.
                _ = broken => timeout(NEWS, told).await.unwrap_or(LostReason::KeyGone),
            }
        };
        Self { fence: token.fence, session: session.clone(), lost: lost.boxed().shared(), release }
    }
}

impl Holding for Tenure {
    fn fence(&self) -> i64 {
        self.fence
    }

    fn session(&self) -> &Session {
        &self.session
    }

    fn is_lost(&self) -> bool {
        self.session.is_lost() || self.lost.peek().is_some()
    }

    fn lost(&self) -> BoxFuture<'static, LostReason> {
        self.lost.clone().boxed()
    }

    fn release(&mut self) -> BoxFuture<'_, Result<()>> {
        match &self.release {
            Some(release) => release(),
            None => futures::future::ready(Ok(())).boxed(),
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// Ends when the compare does not hold. Failures of members are waited out: the session's deadline
/// bounds the whole.
async fn broken(client: Client, guard: Compare) {
    const PAUSE: Duration = Duration::from_millis(300);
    loop {
        // The watch stands before the question, so that no change falls between them.
        let watching = client.watch(Watch::new(KeyRange::key(guard.key.clone()))).await;
        if let Ok(mut changes) = watching {
            loop {
                match holds(&client, &guard).await {
                    Some(false) => return,
                    Some(true) => {}
                    None => break,
                }
                if !matches!(changes.next().await, Some(Ok(_))) {
                    break;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Whether a compare holds; `None` if nobody answers.
async fn holds(client: &Client, guard: &Compare) -> Option<bool> {
    let request = TxnRequest { compare: vec![guard.clone()], ..TxnRequest::default() };
    let answer = timeout(client.timeout(), client.wire().kv().txn(request)).await;
    Some(answer.ok()?.ok()?.succeeded)
}
