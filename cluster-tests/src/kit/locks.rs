//! Requests to locks, most of them to the one named [`L`].

use super::{A_WHILE, AT_ONCE, Node, by, named, next};
use crate::wait::{eventually, within};
use anyhow::{Context, Result, ensure};
use conclave_api::conclave::v1::acquire_progress::Now;
use conclave_api::conclave::v1::lock_part::{Mode, Permits};
use conclave_api::conclave::v1::{
    AcquireProgress, AcquireRequest, AcquireResponse, Caller, GetLockRequest, GetLockResponse, LockEvent, LockPart,
    ReleaseRequest, Token, WatchLockRequest,
};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

pub const L: &str = "l";
pub type Waiting = JoinHandle<Result<AcquireResponse, Status>>;

pub fn part(name: &str, mode: Mode) -> LockPart {
    LockPart { lock: named(name), mode: Some(mode) }
}

pub fn alone(name: &str) -> LockPart {
    part(name, Mode::Exclusive(true))
}

pub fn shared(name: &str) -> LockPart {
    part(name, Mode::Shared(true))
}

pub fn permits(name: &str, weight: u32, capacity: u32) -> LockPart {
    part(name, Mode::Permits(Permits { weight, capacity }))
}

pub fn retried(session: i64, id: u8) -> Option<Caller> {
    Some(Caller { session, dedupe_id: vec![id; 16].into(), ..Default::default() })
}

pub fn asking(session: i64, parts: Vec<LockPart>) -> AcquireRequest {
    AcquireRequest { caller: by(session), parts, owner: format!("owner {session:x}"), ..Default::default() }
}

impl Node {
    pub async fn acquire(&self, request: AcquireRequest) -> Result<AcquireResponse, Status> {
        Ok(self.locks().acquire(request).await?.into_inner())
    }

    /// Asks, and must be given it at once.
    pub async fn take(&self, session: i64, parts: Vec<LockPart>) -> Result<AcquireResponse> {
        Ok(within("a lock that is free", AT_ONCE, self.acquire(asking(session, parts))).await??)
    }

    /// The fence if it was free; 0 if not.
    pub async fn attempt(&self, session: i64, parts: Vec<LockPart>) -> Result<i64, Status> {
        Ok(self.acquire(AcquireRequest { try_only: true, ..asking(session, parts) }).await?.fence)
    }

    /// Requests in a task of its own, and returns when the request is in the line of its first
    /// lock.
    pub async fn queue(&self, request: AcquireRequest) -> Result<Waiting> {
        let first = request.parts[0].lock.clone().unwrap_or_default().name;
        let before = self.look(&first).await?.waiting_count;
        let node = self.clone();
        let waiting = tokio::spawn(async move { node.acquire(request).await });
        self.until(&first, "one more waits", |lock| lock.waiting_count > before).await?;
        Ok(waiting)
    }

    pub async fn wait_for(&self, session: i64) -> Result<Waiting> {
        self.queue(asking(session, vec![alone(L)])).await
    }

    pub async fn release(&self, session: i64, fence: i64) -> Result<bool, Status> {
        let request = ReleaseRequest { caller: by(session), fence, ..Default::default() };
        Ok(self.locks().release(request).await?.into_inner().released)
    }

    pub async fn evict(&self, fence: i64, cooldown_ms: u64) -> Result<bool, Status> {
        let request = ReleaseRequest { caller: None, fence, evict: true, cooldown_ms };
        Ok(self.locks().release(request).await?.into_inner().released)
    }

    pub async fn look(&self, lock: &str) -> Result<GetLockResponse, Status> {
        let request = GetLockRequest { lock: named(lock), limit: 10_000, ..Default::default() };
        Ok(self.locks().get(request).await?.into_inner())
    }

    /// Looks until it is so.
    pub async fn until(
        &self,
        lock: &str,
        what: &str,
        so: impl Fn(&GetLockResponse) -> bool,
    ) -> Result<GetLockResponse> {
        let look = async || {
            let found = self.look(lock).await?;
            ensure!(so(&found), "{lock} stands so: {found:?}");
            Ok(found)
        };
        eventually(what, AT_ONCE, look).await
    }

    pub async fn watch(&self, request: WatchLockRequest) -> Result<Streaming<LockEvent>, Status> {
        Ok(self.locks().watch(WatchLockRequest { lock: named(L), ..request }).await?.into_inner())
    }

    pub async fn stream(&self, request: AcquireRequest) -> Result<Streaming<AcquireProgress>, Status> {
        Ok(self.locks().acquire_stream(request).await?.into_inner())
    }

    /// A put that counts only while the token does.
    pub async fn guarded(&self, token: &Option<Token>) -> Result<bool> {
        let guards = token.as_ref().context("no token")?.guards.clone();
        ensure!(!guards.is_empty(), "a token without guards");
        Ok(self.guarded_put(guards).await?)
    }
}

pub async fn granted(waiting: Waiting) -> Result<AcquireResponse> {
    Ok(within("a grant", AT_ONCE, waiting).await???)
}

/// The error that a call ends with.
pub async fn refused(waiting: Waiting) -> Result<Status> {
    match within("the end of a call", AT_ONCE, waiting).await?? {
        Ok(got) => anyhow::bail!("it was granted: {got:?}"),
        Err(status) => Ok(status),
    }
}

pub async fn still_waits(waiting: &mut Waiting) -> Result<()> {
    match tokio::time::timeout(A_WHILE, waiting).await {
        Err(_) => Ok(()),
        Ok(ended) => anyhow::bail!("it was to wait on, but: {ended:?}"),
    }
}

pub async fn before(stream: &mut Streaming<AcquireProgress>) -> Result<(i64, u64)> {
    let AcquireProgress { fence, now, .. } = next(stream).await?;
    match now.context("progress without news")? {
        Now::Before(before) => Ok((fence, before)),
        Now::Held(held) => anyhow::bail!("held too early: {held:?}"),
    }
}

/// The grant, after any number of places.
pub async fn held(stream: &mut Streaming<AcquireProgress>) -> Result<AcquireResponse> {
    loop {
        if let Now::Held(held) = next(stream).await?.now.context("progress without news")? {
            let end = within("the end of a stream", AT_ONCE, stream.message()).await??;
            ensure!(end.is_none(), "after the grant comes nothing: {end:?}");
            return Ok(held);
        }
    }
}
