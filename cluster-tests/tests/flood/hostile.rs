//! Clients that mean harm, one of each kind. Each goes on until it is dropped; what the server does
//! to it is no error.

use crate::raw::{PREFACE, RANGE, Raw, range};
use anyhow::Result;
use cluster_tests::client::{bytes, lock, prefix_end};
use conclave_client::{
    api::{
        etcdserverpb::{
            Compare, HashKvRequest, LeaseLeasesRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare,
            request_op,
        },
        v3electionpb::LeaderRequest,
    },
    wire::Client,
};
use futures::future::{BoxFuture, FutureExt, join_all};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Where they strike.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) client: Client,
}

pub(crate) type Hostile = fn(Target) -> BoxFuture<'static, ()>;

pub(crate) const KINDS: [(&str, Hostile); 9] = [
    ("silent connections", |target| again(target, |target| silent(target, b"").boxed())),
    ("half prefaces", |target| again(target, |target| silent(target, &PREFACE[..20]).boxed())),
    ("resets", |target| again(target, |target| resets(target).boxed())),
    ("offended streams", |target| again(target, |target| offences(target).boxed())),
    ("unread responses", |target| again(target, |target| unread(target).boxed())),
    ("pipelines", |target| again(target, |target| pipelines(target).boxed())),
    ("short names", |target| again(target, |target| short_names(target).boxed())),
    ("hashes", |target| again(target, |target| hashes(target).boxed())),
    ("deep compares", |target| again(target, |target| deep_compares(target).boxed())),
];

fn again(target: Target, attack: fn(Target) -> BoxFuture<'static, Result<()>>) -> BoxFuture<'static, ()> {
    async move {
        loop {
            if attack(target.clone()).await.is_err() {
                // It was let go.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    .boxed()
}

async fn silent(target: Target, words: &'static [u8]) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&target.address).await?;
        stream.write_all(words).await?;
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn resets(target: Target) -> Result<()> {
    let mut raw = Raw::open(&target.address).await?;
    loop {
        for _ in 0..500 {
            let stream = raw.call(RANGE, &range("big/", "big0"));
            raw.reset(stream);
        }
        raw.send().await?;
    }
}

/// The server has to reset each, and nobody reads that.
async fn offences(target: Target) -> Result<()> {
    let mut raw = Raw::open(&target.address).await?;
    loop {
        for _ in 0..500 {
            let stream = raw.head(RANGE);
            raw.offend(stream);
        }
        raw.send().await?;
    }
}

/// Ranges of just under a mebibyte, as many as may be sent.
async fn unread(target: Target) -> Result<()> {
    let mut raw = Raw::open(&target.address).await?;
    for _ in 0..2_000 {
        raw.call(RANGE, &range("big/", "big0"));
    }
    raw.send().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn pipelines(target: Target) -> Result<()> {
    let mut raw = Raw::open(&target.address).await?;
    loop {
        for _ in 0..4_000 {
            raw.call(RANGE, &range("fill/00001", "fill/00002"));
        }
        raw.send().await?;
        raw.drain(4_000).await?;
    }
}

async fn short_names(target: Target) -> Result<()> {
    let names = ["f", "fi", "fil", "fill", "b", "bi", "big"];
    let leaders = names.map(|name| {
        let election = target.client.election();
        async move { election.leader(LeaderRequest { name: bytes(name) }).await }
    });
    join_all(leaders).await;
    let _ = tokio::time::timeout(Duration::from_millis(50), lock(&target.client, "fill", 0)).await;
    Ok(())
}

async fn hashes(target: Target) -> Result<()> {
    let maintenance = || target.client.maintenance();
    let hash = |_| {
        let maintenance = maintenance();
        async move { maintenance.hash_kv(HashKvRequest::default()).await }
    };
    join_all((0..8).map(hash)).await;
    Ok(())
}

fn every_key(prefix: &str) -> Compare {
    Compare {
        key: bytes(prefix),
        range_end: prefix_end(prefix),
        result: compare::CompareResult::Greater.into(),
        target: compare::CompareTarget::Version.into(),
        target_union: Some(compare::TargetUnion::Version(0)),
    }
}

/// Compares of all keys, nested as deeply as may be, in a transaction that writes.
fn deep() -> TxnRequest {
    let put = request_op::Request::RequestPut(PutRequest { key: bytes("deep"), ..Default::default() });
    let mut txn = TxnRequest { success: vec![RequestOp { request: Some(put) }], ..Default::default() };
    for _ in 0..30 {
        let nested = request_op::Request::RequestTxn(txn);
        let compare = vec![every_key("fill/"); 4];
        txn = TxnRequest { compare, success: vec![RequestOp { request: Some(nested) }], ..Default::default() };
    }
    txn
}

async fn deep_compares(target: Target) -> Result<()> {
    let txn = |_| {
        let kv = target.client.kv();
        async move { kv.txn(deep()).await }
    };
    join_all((0..4).map(txn)).await;
    Ok(())
}

/// Requests of which a few occupy a core.
pub(crate) const BURNERS: [(&str, Hostile); 5] = [
    ("ranges of everything", |target| again(target, |target| everything(target, false).boxed())),
    ("counts of everything", |target| again(target, |target| everything(target, true).boxed())),
    ("hashes", |target| again(target, |target| hashes(target).boxed())),
    ("deep compares", |target| again(target, |target| deep_compares(target).boxed())),
    ("leases and small reads", |target| again(target, |target| small(target).boxed())),
];

async fn everything(target: Target, count_only: bool) -> Result<()> {
    let range = |_| {
        let kv = target.client.kv();
        let request = RangeRequest { key: bytes("\0"), range_end: bytes("\0"), count_only, ..Default::default() };
        async move { kv.range(request).await }
    };
    join_all((0..8).map(range)).await;
    Ok(())
}

async fn small(target: Target) -> Result<()> {
    let read = |_| {
        let (kv, lease) = (target.client.kv(), target.client.lease());
        async move {
            let _ = kv.range(RangeRequest { key: bytes("fill/00001"), ..Default::default() }).await;
            lease.leases(LeaseLeasesRequest {}).await
        }
    };
    join_all((0..256).map(read)).await;
    Ok(())
}
