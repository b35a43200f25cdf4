//! The services of one member. Its requests to locks and claims stand in the modules of those
//! names.

use super::LASTING;
use crate::{
    cluster::Cluster,
    wait::{SOON, eventually},
};
use anyhow::{Result, ensure};
use bytes::Bytes;
use conclave_api::conclave::v1::{
    CloseSessionRequest, OpenSessionRequest, claims_client::ClaimsClient, locks_client::LocksClient,
    sessions_client::SessionsClient,
};
use conclave_api::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient, request_op,
};
use std::time::Duration;
use tonic::{Status, transport::Channel};

/// The services of one member.
#[derive(Clone, Debug)]
pub struct Node {
    channel: Channel,
}

/// Members whose log is at rest.
pub async fn start(size: usize) -> Result<(Cluster, Vec<Node>)> {
    let cluster = Cluster::start(size).await?;
    let nodes = (0..size).map(|i| Node::new(&cluster, i)).collect::<Result<Vec<_>>>()?;
    // Members make themselves known shortly after the start, and decide on a version, with entries
    // that no test made.
    cluster.version_is_decided().await?;
    let rest = async || {
        let before = nodes[0].index().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(nodes[0].index().await? == before, "the log goes on");
        Ok(())
    };
    eventually("a log at rest", SOON, rest).await?;
    Ok((cluster, nodes))
}

impl Node {
    pub fn new(cluster: &Cluster, i: usize) -> Result<Self> {
        Ok(Self { channel: Channel::from_shared(cluster.endpoint(i))?.connect_lazy() })
    }

    #[must_use]
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    #[must_use]
    pub fn sessions(&self) -> SessionsClient<Channel> {
        SessionsClient::new(self.channel.clone())
    }

    #[must_use]
    pub fn locks(&self) -> LocksClient<Channel> {
        LocksClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    #[must_use]
    pub fn claims(&self) -> ClaimsClient<Channel> {
        ClaimsClient::new(self.channel.clone())
    }

    pub async fn open(&self, ttl_ms: u64) -> Result<i64, Status> {
        Ok(self.sessions().open(OpenSessionRequest { session: 0, ttl_ms }).await?.into_inner().session)
    }

    /// A session that outlives the test.
    pub async fn lasting(&self) -> Result<i64, Status> {
        self.open(LASTING.unsigned_abs() * 1000).await
    }

    pub async fn close(&self, session: i64) -> Result<(), Status> {
        self.sessions().close(CloseSessionRequest { session }).await.map(drop)
    }

    /// Whether a put under these compares is done.
    pub async fn guarded_put(&self, guards: Vec<Compare>) -> Result<bool, Status> {
        let put = PutRequest { key: Bytes::from_static(b"guarded"), ..Default::default() };
        let put = RequestOp { request: Some(request_op::Request::RequestPut(put)) };
        let request = TxnRequest { compare: guards, success: vec![put], failure: vec![] };
        Ok(self.kv().txn(request).await?.into_inner().succeeded)
    }

    /// The last index of this member's log.
    pub async fn index(&self) -> Result<u64, Status> {
        // After this read, what other members wrote is here too.
        self.kv().range(RangeRequest { key: "nothing".into(), ..Default::default() }).await?;
        let mut maintenance = MaintenanceClient::new(self.channel.clone());
        Ok(maintenance.status(StatusRequest {}).await?.into_inner().raft_index)
    }
}
