//! Short forms of the requests that these tests make.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster_tests::{cluster::Cluster, wait::eventually, wait::within};
use conclave_api::conclave::v1::acquire_progress::Now;
use conclave_api::conclave::v1::lock_part::{Mode, Permits};
use conclave_api::conclave::v1::locks_client::LocksClient;
use conclave_api::conclave::v1::sessions_client::SessionsClient;
use conclave_api::conclave::v1::{
    AcquireProgress, AcquireRequest, AcquireResponse, Caller, CloseSessionRequest, GetLockRequest, GetLockResponse,
    LockEvent, LockPart, Name, OpenSessionRequest, ReleaseRequest, Token, WatchLockRequest,
};
use conclave_api::etcdserverpb::kv_client::KvClient;
use conclave_api::etcdserverpb::maintenance_client::MaintenanceClient;
use conclave_api::etcdserverpb::{PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest, request_op};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const L: &str = "l";
/// A session that outlives any test here.
pub(crate) const LASTING: u64 = 300_000;
/// "At once", with room for a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

/// The services of one node.
#[derive(Clone)]
pub(crate) struct Node {
    channel: Channel,
}

pub(crate) type Waiting = JoinHandle<Result<AcquireResponse, Status>>;

pub(crate) fn named(name: &str) -> Option<Name> {
    Some(Name { namespace: String::new(), name: name.into() })
}

pub(crate) fn part(name: &str, mode: Mode) -> LockPart {
    LockPart { lock: named(name), mode: Some(mode) }
}

pub(crate) fn alone(name: &str) -> LockPart {
    part(name, Mode::Exclusive(true))
}

pub(crate) fn shared(name: &str) -> LockPart {
    part(name, Mode::Shared(true))
}

pub(crate) fn permits(name: &str, weight: u32, capacity: u32) -> LockPart {
    part(name, Mode::Permits(Permits { weight, capacity }))
}

pub(crate) fn by(session: i64) -> Option<Caller> {
    Some(Caller { session, ..Default::default() })
}

pub(crate) fn retried(session: i64, id: u8) -> Option<Caller> {
    Some(Caller { session, dedupe_id: vec![id; 16].into(), ..Default::default() })
}

pub(crate) fn asking(session: i64, parts: Vec<LockPart>) -> AcquireRequest {
    AcquireRequest { caller: by(session), parts, owner: format!("owner {session:x}"), ..Default::default() }
}

pub(crate) async fn start(size: usize) -> Result<(Cluster, Vec<Node>)> {
    let cluster = Cluster::start(size).await?;
    let nodes = (0..size).map(|i| Node::new(&cluster, i)).collect::<Result<Vec<_>>>()?;
    // Members make themselves known shortly after the start: entries that are none of these tests' own.
    let rest = async || {
        let before = nodes[0].index().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(nodes[0].index().await? == before, "the log goes on");
        Ok(())
    };
    eventually("a log at rest", cluster_tests::wait::SOON, rest).await?;
    Ok((cluster, nodes))
}

impl Node {
    pub(crate) fn new(cluster: &Cluster, i: usize) -> Result<Node> {
        Ok(Node { channel: Channel::from_shared(cluster.endpoint(i))?.connect_lazy() })
    }

    pub(crate) fn locks(&self) -> LocksClient<Channel> {
        LocksClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub(crate) async fn open(&self, ttl_ms: u64) -> Result<i64, Status> {
        let mut sessions = SessionsClient::new(self.channel.clone());
        Ok(sessions.open(OpenSessionRequest { session: 0, ttl_ms }).await?.into_inner().session)
    }

    pub(crate) async fn lasting(&self) -> Result<i64, Status> {
        self.open(LASTING).await
    }

    pub(crate) async fn close(&self, session: i64) -> Result<(), Status> {
        SessionsClient::new(self.channel.clone()).close(CloseSessionRequest { session }).await.map(drop)
    }

    pub(crate) async fn acquire(&self, request: AcquireRequest) -> Result<AcquireResponse, Status> {
        Ok(self.locks().acquire(request).await?.into_inner())
    }

    /// Asks, and must be given it at once.
    pub(crate) async fn take(&self, session: i64, parts: Vec<LockPart>) -> Result<AcquireResponse> {
        Ok(within("a lock that is free", AT_ONCE, self.acquire(asking(session, parts))).await??)
    }

    /// The fence if it was free; 0 if not.
    pub(crate) async fn attempt(&self, session: i64, parts: Vec<LockPart>) -> Result<i64, Status> {
        Ok(self.acquire(AcquireRequest { try_only: true, ..asking(session, parts) }).await?.fence)
    }

    /// Asks in a task of its own, and returns when it stands in the line of its first lock.
    pub(crate) async fn queue(&self, request: AcquireRequest) -> Result<Waiting> {
        let first = request.parts[0].lock.clone().unwrap_or_default().name;
        let before = self.look(&first).await?.waiting_count;
        let node = self.clone();
        let waiting = tokio::spawn(async move { node.acquire(request).await });
        self.until(&first, "one more waits", |lock| lock.waiting_count > before).await?;
        Ok(waiting)
    }

    pub(crate) async fn wait_for(&self, session: i64) -> Result<Waiting> {
        self.queue(asking(session, vec![alone(L)])).await
    }

    pub(crate) async fn release(&self, session: i64, fence: i64) -> Result<bool, Status> {
        let request = ReleaseRequest { caller: by(session), fence, ..Default::default() };
        Ok(self.locks().release(request).await?.into_inner().released)
    }

    pub(crate) async fn evict(&self, fence: i64, cooldown_ms: u64) -> Result<bool, Status> {
        let request = ReleaseRequest { caller: None, fence, evict: true, cooldown_ms };
        Ok(self.locks().release(request).await?.into_inner().released)
    }

    pub(crate) async fn look(&self, lock: &str) -> Result<GetLockResponse, Status> {
        let request = GetLockRequest { lock: named(lock), limit: 10_000, ..Default::default() };
        Ok(self.locks().get(request).await?.into_inner())
    }

    /// Looks until it is so.
    pub(crate) async fn until(
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

    pub(crate) async fn watch(&self, request: WatchLockRequest) -> Result<Streaming<LockEvent>, Status> {
        Ok(self.locks().watch(WatchLockRequest { lock: named(L), ..request }).await?.into_inner())
    }

    pub(crate) async fn stream(&self, request: AcquireRequest) -> Result<Streaming<AcquireProgress>, Status> {
        Ok(self.locks().acquire_stream(request).await?.into_inner())
    }

    /// A put that counts only while the token does.
    pub(crate) async fn guarded(&self, token: &Option<Token>) -> Result<bool> {
        let guards = token.as_ref().context("no token")?.guards.clone();
        ensure!(!guards.is_empty(), "a token without guards");
        let put = PutRequest { key: Bytes::from_static(b"guarded"), ..Default::default() };
        let put = RequestOp { request: Some(request_op::Request::RequestPut(put)) };
        let request = TxnRequest { compare: guards, success: vec![put], failure: vec![] };
        Ok(KvClient::new(self.channel.clone()).txn(request).await?.into_inner().succeeded)
    }

    pub(crate) async fn index(&self) -> Result<u64, Status> {
        // What was written by way of another member is here too from now on.
        self.kv().range(RangeRequest { key: "nothing".into(), ..Default::default() }).await?;
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        Ok(maintenance.status(StatusRequest {}).await?.into_inner().raft_index)
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }
}

pub(crate) async fn granted(waiting: Waiting) -> Result<AcquireResponse> {
    Ok(within("a grant", AT_ONCE, waiting).await???)
}

/// The error that a call ends with.
pub(crate) async fn refused(waiting: Waiting) -> Result<Status> {
    match within("the end of a call", AT_ONCE, waiting).await?? {
        Ok(got) => anyhow::bail!("it was granted: {got:?}"),
        Err(status) => Ok(status),
    }
}

pub(crate) async fn still_waits(waiting: &mut Waiting) -> Result<()> {
    match tokio::time::timeout(A_WHILE, waiting).await {
        Err(_) => Ok(()),
        Ok(ended) => anyhow::bail!("it was to wait on, but: {ended:?}"),
    }
}

pub(crate) async fn next<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Result<T> {
    within("news", AT_ONCE, stream.message()).await??.context("the stream ended")
}

pub(crate) async fn ending<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Result<Status> {
    loop {
        match within("the end of a stream", AT_ONCE, stream.message()).await? {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the stream ended without an error"),
            Err(status) => return Ok(status),
        }
    }
}

pub(crate) async fn before(stream: &mut Streaming<AcquireProgress>) -> Result<(i64, u64)> {
    let AcquireProgress { fence, now, .. } = next(stream).await?;
    match now.context("progress without news")? {
        Now::Before(before) => Ok((fence, before)),
        Now::Held(held) => anyhow::bail!("held too early: {held:?}"),
    }
}

/// The grant, after any number of places.
pub(crate) async fn held(stream: &mut Streaming<AcquireProgress>) -> Result<AcquireResponse> {
    loop {
        if let Now::Held(held) = next(stream).await?.now.context("progress without news")? {
            let end = within("the end of a stream", AT_ONCE, stream.message()).await??;
            ensure!(end.is_none(), "after the grant comes nothing: {end:?}");
            return Ok(held);
        }
    }
}
