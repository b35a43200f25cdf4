//! A lease that a client keeps, and what it may believe because of it.
//!
//! 1. The deadline is the client's own: the last renewal that was acknowledged in time, counted on
//!    its own clock from when it was sent.
//! 2. Each session has a sentinel: a key that only the end of the lease deletes.
//! 3. Renewals are calls of a client of their own.

use super::{
    actor::Actor,
    messages::{put, revision},
};
use crate::history::{Answer, Call, KvAnswer, KvCall, LeaseAnswer, LeaseCall};
use conclave_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, kv_client::KvClient, lease_client::LeaseClient,
};
use futures::{StreamExt, stream};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tonic::{Response, Status, transport::Channel};

pub(crate) struct Session {
    pub(crate) lease: i64,
    ttl_ms: u64,
    deadline: Arc<Mutex<Instant>>,
    keeper: Option<JoinHandle<()>>,
}

/// Grants a lease of an id that nobody else uses.
pub(crate) async fn grant(me: &mut Actor, seconds: u64) -> Option<(i64, u64)> {
    let lease = ((me.unique() as i64) << 8) | 0x11;
    let mut client = LeaseClient::new(me.link.channel());
    let request = client.lease_grant(LeaseGrantRequest { id: lease, ttl: seconds as i64 });
    let answer = |response: &conclave_api::etcdserverpb::LeaseGrantResponse| {
        let revision = revision(response.header.as_ref());
        Some(Answer::Lease(LeaseAnswer::Granted { revision, lease: response.id, ttl_ms: response.ttl as u64 * 1000 }))
    };
    let call = Call::Lease(LeaseCall::Grant { lease, ttl_ms: seconds * 1000 });
    let response = me.call(call, request, answer).await.ok()?;
    Some((response.id, response.ttl.max(0) as u64 * 1000))
}

/// Puts the key that tells when the lease ends.
pub(crate) async fn sentinel(me: &mut Actor, lease: i64) -> bool {
    let (key, value) = (format!("sentinel/{lease:x}"), me.unique_text());
    let mut kv = KvClient::new(me.link.channel());
    let call = Call::Kv(KvCall::Put { key: key.clone(), value: value.clone(), lease, prev: false });
    let answer = |response: &conclave_api::etcdserverpb::PutResponse| {
        Some(Answer::Kv(KvAnswer::Written { revision: revision(response.header.as_ref()), prev: None }))
    };
    me.call(call, kv.put(put(&key, &value, lease)), answer).await.is_ok()
}

/// One renewal. Returns the time to live in milliseconds, 0 if the lease is gone.
pub(crate) async fn keep_alive(me: &mut Actor, lease: i64, bound: Duration) -> Option<u64> {
    let channel = me.link.channel();
    let answer = |response: &conclave_api::etcdserverpb::LeaseKeepAliveResponse| {
        let (revision, ttl_ms) = (revision(response.header.as_ref()), response.ttl.max(0) as u64 * 1000);
        Some(Answer::Lease(LeaseAnswer::Kept { revision, lease, ttl_ms }))
    };
    let call = Call::Lease(LeaseCall::Keepalive { lease });
    let response = me.call_within(bound, call, renew(channel, lease), answer).await.ok()?;
    Some(response.ttl.max(0) as u64 * 1000)
}

async fn renew(
    channel: Channel,
    lease: i64,
) -> Result<Response<conclave_api::etcdserverpb::LeaseKeepAliveResponse>, Status> {
    let asks = stream::iter([LeaseKeepAliveRequest { id: lease }]).chain(stream::pending());
    let mut answers = LeaseClient::new(channel).lease_keep_alive(asks).await?.into_inner();
    let answer = answers.message().await?;
    answer.map(Response::new).ok_or_else(|| Status::unavailable("the stream ended without an answer"))
}

pub(crate) async fn revoke(me: &mut Actor, lease: i64) -> bool {
    let mut client = LeaseClient::new(me.link.channel());
    let request = client.lease_revoke(LeaseRevokeRequest { id: lease });
    let answer = |response: &conclave_api::etcdserverpb::LeaseRevokeResponse| {
        Some(Answer::Lease(LeaseAnswer::Revoked { revision: revision(response.header.as_ref()) }))
    };
    me.call(Call::Lease(LeaseCall::Revoke { lease }), request, answer).await.is_ok()
}

impl Session {
    /// A lease with its sentinel, renewed until it is let go.
    pub(crate) async fn open(me: &mut Actor, seconds: u64) -> Option<Self> {
        let sent = Instant::now();
        let (lease, ttl_ms) = grant(me, seconds).await?;
        let believed = believed(ttl_ms, me.spec().rate_error);
        let deadline = Arc::new(Mutex::new(sent + believed));
        let keeper = tokio::spawn(keep(me.sibling(), lease, ttl_ms, Arc::clone(&deadline)));
        let session = Self { lease, ttl_ms, deadline, keeper: Some(keeper) };
        sentinel(me, lease).await;
        Some(session)
    }

    /// Whether the client may believe that the lease is there.
    pub(crate) fn lives(&self) -> bool {
        Instant::now() < *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops renewing it. It ends by itself.
    pub(crate) async fn abandon(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            // It ends after the renewal that is under way; a keeper that was ended otherwise is as
            // good.
            let _ = keeper.await;
        }
    }

    /// Waits until the lease has surely ended, as far as this client's clock tells.
    pub(crate) async fn outlast(&mut self, me: &Actor) {
        self.abandon().await;
        me.sleep(Duration::from_millis(self.ttl_ms + 300)).await;
    }

    /// Gives it back, unless it was left to its end: what was held by it may be believed in until
    /// then.
    pub(crate) async fn close(mut self, me: &mut Actor) {
        if self.keeper.is_some() {
            self.abandon().await;
            revoke(me, self.lease).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its keeper ends.
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

fn believed(ttl_ms: u64, rate_error: f64) -> Duration {
    Duration::from_millis(ttl_ms).mul_f64(1.0 - rate_error)
}

async fn keep(mut me: Actor, lease: i64, ttl_ms: u64, deadline: Arc<Mutex<Instant>>) {
    let until = || *deadline.lock().unwrap_or_else(PoisonError::into_inner);
    while Instant::now() < until() {
        // Short steps: who lets go of the session is not to wait long.
        let next = Instant::now() + Duration::from_millis(ttl_ms / 3);
        while Instant::now() < next && Instant::now() < until() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if Instant::now() >= until() {
            return;
        }
        let sent = Instant::now();
        match keep_alive(&mut me, lease, Duration::from_millis(ttl_ms / 3)).await {
            Some(0) => {
                *deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                return;
            }
            Some(ttl_ms) => {
                let mut deadline = deadline.lock().unwrap_or_else(PoisonError::into_inner);
                // A renewal that came too late does not bring the belief back.
                if Instant::now() < *deadline {
                    *deadline = (*deadline).max(sent + believed(ttl_ms, me.spec().rate_error));
                }
            }
            None => {}
        }
    }
}
