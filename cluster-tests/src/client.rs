//! Short forms of the requests that tests make all the time.

use crate::wait::LONG;
use anyhow::{Context, Result};
use bytes::Bytes;
use conclave_client::{
    Error,
    api::{
        etcdserverpb::{
            CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
            RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, compare, request_op,
        },
        mvccpb::KeyValue,
        v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest},
        v3lockpb::{LockRequest, UnlockRequest},
    },
    wire::Client,
};

/// A client of these endpoints. Its streams outlast a member that is paused on purpose; other calls
/// have bounds of their own.
///
/// # Errors
/// An endpoint is no URL.
pub fn connect(endpoints: &[String]) -> Result<Client> {
    Ok(conclave_client::Client::builder().endpoints(endpoints).probe(LONG, LONG).build()?.wire())
}

/// Bytes of a text.
#[must_use]
pub fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

/// A text of bytes.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of the range of all keys that begin with `prefix` (which is not all 0xff).
#[must_use]
pub fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// The revision in a response's header.
///
/// # Errors
/// There is no header.
pub fn revision(header: Option<&ResponseHeader>) -> Result<i64> {
    Ok(header.context("a response without header")?.revision)
}

/// A put without a lease.
#[must_use]
pub fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

/// A read of one key.
#[must_use]
pub fn get_request(key: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), ..Default::default() }
}

/// A read of all keys that begin with `prefix`, oldest first.
#[must_use]
pub fn prefix_request(prefix: &str) -> RangeRequest {
    use conclave_client::api::etcdserverpb::range_request::{SortOrder, SortTarget};
    RangeRequest {
        key: bytes(prefix),
        range_end: prefix_end(prefix),
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..Default::default()
    }
}

/// Puts, and returns the revision.
///
/// # Errors
/// As the call's.
pub async fn put(client: &Client, key: &str, value: &str) -> Result<i64> {
    let response = client.kv().put(put_request(key, value)).await?;
    revision(response.header.as_ref())
}

/// Puts with a lease, and returns the revision.
///
/// # Errors
/// As the call's.
pub async fn put_leased(client: &Client, key: &str, value: &str, lease: i64) -> Result<i64> {
    let response = client.kv().put(PutRequest { lease, ..put_request(key, value) }).await?;
    revision(response.header.as_ref())
}

/// Reads one key, linearizably.
///
/// # Errors
/// As the call's.
pub async fn get(client: &Client, key: &str) -> Result<Option<KeyValue>, Error> {
    Ok(client.kv().range(get_request(key)).await?.kvs.into_iter().next())
}

/// All keys that begin with `prefix`, oldest first.
///
/// # Errors
/// As the call's.
pub async fn list(client: &Client, prefix: &str) -> Result<Vec<KeyValue>, Error> {
    Ok(client.kv().range(prefix_request(prefix)).await?.kvs)
}

/// How many keys begin with `prefix`.
///
/// # Errors
/// As the call's.
pub async fn count(client: &Client, prefix: &str) -> Result<i64, Error> {
    let request = RangeRequest { count_only: true, ..prefix_request(prefix) };
    Ok(client.kv().range(request).await?.count)
}

/// All keys at a revision, in their order.
///
/// # Errors
/// The call fails.
pub async fn all(client: &Client, revision: i64) -> Result<Vec<KeyValue>> {
    let request = RangeRequest { key: bytes("\0"), range_end: bytes("\0"), revision, ..Default::default() };
    Ok(client.kv().range(request).await?.kvs)
}

/// The store's present revision.
///
/// # Errors
/// As the call's.
pub async fn present(client: &Client) -> Result<i64> {
    let response: RangeResponse = client.kv().range(get_request("no such key")).await?;
    revision(response.header.as_ref())
}

/// Deletes one key; returns how many were there.
///
/// # Errors
/// As the call's.
pub async fn delete(client: &Client, key: &[u8]) -> Result<i64, Error> {
    let request = DeleteRangeRequest { key: bytes(key), ..Default::default() };
    Ok(client.kv().delete_range(request).await?.deleted)
}

/// Compacts at a revision.
///
/// # Errors
/// As the call's.
pub async fn compact(client: &Client, revision: i64) -> Result<(), Error> {
    client.kv().compact(CompactionRequest { revision, ..Default::default() }).await.map(drop)
}

/// Grants a lease; the member chooses the id.
///
/// # Errors
/// As the call's.
pub async fn grant(client: &Client, ttl: i64) -> Result<i64, Error> {
    Ok(client.lease().grant(LeaseGrantRequest { ttl, id: 0 }).await?.id)
}

/// Revokes a lease.
///
/// # Errors
/// As the call's.
pub async fn revoke(client: &Client, id: i64) -> Result<(), Error> {
    client.lease().revoke(LeaseRevokeRequest { id }).await.map(drop)
}

/// The key of a lease's place in a queue, as etcd's clients and servers make it.
#[must_use]
pub fn queue_key(name: &str, lease: i64) -> String {
    format!("{name}/{lease:x}")
}

/// Waits for a lock; returns the key.
///
/// # Errors
/// As the call's.
pub async fn lock(client: &Client, name: &str, lease: i64) -> Result<Bytes, Error> {
    Ok(client.lock().lock(LockRequest { name: bytes(name), lease }).await?.key)
}

/// Releases a lock.
///
/// # Errors
/// As the call's.
pub async fn unlock(client: &Client, key: &[u8]) -> Result<(), Error> {
    client.lock().unlock(UnlockRequest { key: bytes(key) }).await.map(drop)
}

/// Waits until elected; returns the leader key.
///
/// # Errors
/// As the call's.
pub async fn campaign(client: &Client, name: &str, lease: i64, value: &str) -> Result<LeaderKey, Error> {
    let request = CampaignRequest { name: bytes(name), lease, value: bytes(value) };
    let response = client.election().campaign(request).await?;
    response.leader.ok_or_else(|| tonic::Status::internal("campaign without leader key").into())
}

/// Proclaims another value.
///
/// # Errors
/// As the call's.
pub async fn proclaim(client: &Client, leader: &LeaderKey, value: &str) -> Result<(), Error> {
    let request = ProclaimRequest { leader: Some(leader.clone()), value: bytes(value) };
    client.election().proclaim(request).await.map(drop)
}

/// Resigns.
///
/// # Errors
/// As the call's.
pub async fn resign(client: &Client, leader: &LeaderKey) -> Result<(), Error> {
    client.election().resign(ResignRequest { leader: Some(leader.clone()) }).await.map(drop)
}

/// Who leads.
///
/// # Errors
/// As the call's.
pub async fn leader(client: &Client, name: &str) -> Result<LeaderResponse, Error> {
    client.election().leader(LeaderRequest { name: bytes(name) }).await
}

/// What etcd's own recipe does first: put its key if it is not there, attached to its lease.
/// Returns the revision.
///
/// # Errors
/// As the call's.
pub async fn enqueue_by_recipe(client: &Client, name: &str, lease: i64, value: &str) -> Result<i64> {
    let key = queue_key(name, lease);
    let absent = Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key: bytes(&key),
        target_union: Some(compare::TargetUnion::CreateRevision(0)),
        ..Default::default()
    };
    let put = request_op::Request::RequestPut(PutRequest { lease, ..put_request(&key, value) });
    let get = request_op::Request::RequestRange(get_request(&key));
    let request = TxnRequest {
        compare: vec![absent],
        success: vec![RequestOp { request: Some(put) }],
        failure: vec![RequestOp { request: Some(get) }],
    };
    revision(client.kv().txn(request).await?.header.as_ref())
}
