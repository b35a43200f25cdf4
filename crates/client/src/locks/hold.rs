//! Locks held.

use crate::{
    Error, ErrorKind, Session,
    api::conclave::v1 as pb,
    coord::{Expect, call, caller, token},
    held::{Tenure, held},
    place,
};
use futures::future::BoxFuture;
use std::sync::Arc;

/// Locks of [`Locks`](super::Locks), held. See [`Held`](crate::Held) for what all guards can do.
///
/// Dropping it releases them in the background.
///
/// # Examples
/// ```no_run
/// # async fn example(mut hold: conclave_client::LockHold) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Put};
///
/// println!("held since revision {}, with fence {}", hold.held_since(), hold.fence());
/// hold.txn().then([Put::new("ledger/last", "7 to 9")]).commit().await?;
/// hold.unlock().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LockHold {
    tenure: Tenure,
    since: i64,
}

held!(LockHold);

impl LockHold {
    pub(super) fn new(session: &Session, answer: pb::AcquireResponse) -> Self {
        let proof = token(answer.token);
        let client = session.client().clone();
        // All of a request's locks come and go together: the key of one tells of all.
        let watched = proof.compares.first().map(|first| {
            place::watched(client.clone(), first.key(), answer.held_since, session.lease(), answer.held_since + 1)
        });
        // One operation, however often it is tried.
        let caller = caller(Some(session), &Expect::default());
        let request = pb::ReleaseRequest { caller, fence: answer.fence, ..Default::default() };
        let release = move || -> BoxFuture<'static, Result<(), Error>> {
            let (client, request) = (client.clone(), request.clone());
            Box::pin(async move {
                match client.repeatable(request, call!(locks.release)).await {
                    Ok(_) => Ok(()),
                    // They went with the lease.
                    Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(()),
                    Err(error) => Err(error),
                }
            })
        };
        let mut tenure = Tenure::new(session, proof, ErrorKind::NotHeld, Arc::new(release));
        if let Some(watched) = watched {
            tenure = tenure.watched_by(watched);
        }
        Self { tenure, since: answer.held_since }
    }

    /// The revision of the grant.
    ///
    /// The [example](LockHold#examples) of the type shows it.
    #[must_use]
    pub fn held_since(&self) -> i64 {
        self.since
    }

    /// Gives the locks back. When this returns without error, the next in line has them. Of some
    /// that were lost before, see [`Held::release`](crate::Held::release).
    ///
    /// # Errors
    /// No member confirmed it in time. The guard keeps its state: the call can be repeated, and
    /// dropping the guard goes on trying in the background.
    ///
    /// # Cancel safety
    /// A dropped future leaves the guard as after an error.
    ///
    /// # Examples
    /// That of the [type](LockHold#examples).
    pub async fn unlock(&mut self) -> Result<(), Error> {
        self.tenure.release().await
    }
}
