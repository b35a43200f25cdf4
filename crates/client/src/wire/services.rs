//! Keys and values, members, maintenance: unary calls, one method each.

use super::Client;
use crate::Channel;
use crate::{
    Error,
    api::etcdserverpb::{
        AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
        HashKvRequest, HashKvResponse, HashRequest, HashResponse, MemberListRequest, MemberListResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
        cluster_client::ClusterClient, kv_client::KvClient, maintenance_client::MaintenanceClient,
    },
};

/// Keys and values.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
///
/// let kv = wire.kv();
/// let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
/// let revision = kv.put(put).await?.header.unwrap_or_default().revision;
/// kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await?;
/// kv.delete_range(DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() }).await?;
/// kv.txn(TxnRequest::default()).await?;
/// kv.compact(CompactionRequest { revision, physical: false }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Kv(pub(crate) Client);

/// One attempt a call, as in the [example](Kv#examples). Dropping the future of one that may write
/// leaves the outcome unknown.
impl Kv {
    /// Reads a key or a range; linearizable unless the request says serializable.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.0.unary(request, async |channel, request| kv(channel).range(request).await).await
    }

    /// Writes one key.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        self.0.unary(request, async |channel, request| kv(channel).put(request).await).await
    }

    /// Deletes a key or a range.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        self.0.unary(request, async |channel, request| kv(channel).delete_range(request).await).await
    }

    /// Compares, then runs one of two lists of operations, atomically.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.0.unary(request, async |channel, request| kv(channel).txn(request).await).await
    }

    /// Forgets history before a revision.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Error> {
        self.0.unary(request, async |channel, request| kv(channel).compact(request).await).await
    }
}

/// Members of the cluster.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::MemberListRequest;
///
/// println!("{} members", wire.cluster().member_list(MemberListRequest::default()).await?.members.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cluster(pub(crate) Client);

/// One attempt a call, as in the [example](Cluster#examples). Dropping the future of one that may
/// write leaves the outcome unknown.
impl Cluster {
    /// Who belongs to the cluster.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn member_list(&self, request: MemberListRequest) -> Result<MemberListResponse, Error> {
        let call = async |channel, request| ClusterClient::new(channel).member_list(request).await;
        self.0.unary(request, call).await
    }
}

/// The state of the member in use.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::{AlarmRequest, HashKvRequest, HashRequest, StatusRequest};
///
/// let maintenance = wire.maintenance();
/// println!("leader: {:x}", maintenance.status(StatusRequest {}).await?.leader);
/// maintenance.hash(HashRequest {}).await?;
/// maintenance.hash_kv(HashKvRequest::default()).await?;
/// maintenance.alarm(AlarmRequest::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Maintenance(pub(crate) Client);

/// One attempt a call, as in the [example](Maintenance#examples). Dropping the future of one that
/// may write leaves the outcome unknown.
impl Maintenance {
    /// Version, size, leader, term and index of this member.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn status(&self, request: StatusRequest) -> Result<StatusResponse, Error> {
        self.0.unary(request, async |channel, request| maintenance(channel).status(request).await).await
    }

    /// Hash of everything this member stores.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn hash(&self, request: HashRequest) -> Result<HashResponse, Error> {
        self.0.unary(request, async |channel, request| maintenance(channel).hash(request).await).await
    }

    /// Hash of the keys up to a revision, equal on all members.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn hash_kv(&self, request: HashKvRequest) -> Result<HashKvResponse, Error> {
        self.0.unary(request, async |channel, request| maintenance(channel).hash_kv(request).await).await
    }

    /// Lists or changes alarms.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        self.0.unary(request, async |channel, request| maintenance(channel).alarm(request).await).await
    }
}

/// Answers may be as large as the member likes; the member bounds what it takes.
fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

fn maintenance(channel: Channel) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(channel)
}
