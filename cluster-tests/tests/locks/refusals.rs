//! Bad requests: a clear error with the right code each, and nothing done.

use anyhow::{Result, ensure};
use cluster_tests::kit::{locks::*, *};
use conclave_api::conclave::v1::lock_part::Mode;
use conclave_api::conclave::v1::{
    AcquireRequest, Caller, Expect, GetLockRequest, ListRequest, Name, ReleaseRequest, WatchLockRequest,
};
use tonic::Code;

#[tokio::test]
async fn every_bad_field_is_named() -> Result<()> {
    let (cluster, nodes) = start(1).await?;
    cluster.version_is_decided().await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let fine = || asking(session, vec![alone(L)]);
    let index = node.index().await?;
    let with = |parts| AcquireRequest { parts, ..fine() };
    let caller = |caller| AcquireRequest { caller: Some(caller), ..fine() };
    let long = "x".repeat(257);
    let cases = [
        ("caller.session", AcquireRequest { caller: None, ..fine() }),
        ("caller.dedupe_id", caller(Caller { session, dedupe_id: vec![1; 15].into(), expect: None })),
        ("caller.expect", caller(Caller { session, expect: Some(Expect::default()), ..Default::default() })),
        ("parts", with(vec![])),
        ("parts", with((0..65).map(|at| alone(&format!("l{at}"))).collect())),
        ("parts[1].lock", with(vec![alone(L), shared(L)])),
        ("parts[0].lock", with(vec![Default::default()])),
        ("parts[0].lock.name", with(vec![alone("")])),
        ("parts[0].lock.name", with(vec![alone(&long)])),
        ("parts[0].lock.name", with(vec![alone("a\0b")])),
        ("parts[0].permits.weight", with(vec![permits(L, 0, 1)])),
        ("parts[0].permits.weight", with(vec![permits(L, 2, 1)])),
        ("parts[0].permits.weight", with(vec![permits(L, 1, 0)])),
        ("parts[0].shared", with(vec![part(L, Mode::Shared(false))])),
        ("owner", AcquireRequest { owner: String::new(), ..fine() }),
        ("owner", AcquireRequest { owner: long.clone(), ..fine() }),
        ("wait_ms", AcquireRequest { wait_ms: u64::MAX, ..fine() }),
        ("wait_ms", AcquireRequest { wait_ms: 5, try_only: true, ..fine() }),
        ("lock_delay_ms", AcquireRequest { lock_delay_ms: u64::MAX, ..fine() }),
        ("max_hold_ms", AcquireRequest { max_hold_ms: (1 << 53) + 1, ..fine() }),
    ];
    for (field, request) in cases {
        let status = node.acquire(request.clone()).await.expect_err(field);
        ensure!(status.code() == Code::InvalidArgument, "{field}: {status}");
        ensure!(status.message().starts_with(&format!("conclave: {field} ")), "{field}: {status}");
        let streamed = node.stream(request).await.expect_err(field);
        ensure!(streamed.message() == status.message(), "{streamed}");
    }
    let releases = [
        ("fence", ReleaseRequest::default()),
        ("fence", ReleaseRequest { fence: -5, ..Default::default() }),
        ("cooldown_ms", ReleaseRequest { fence: 5, cooldown_ms: 5, ..Default::default() }),
        ("cooldown_ms", ReleaseRequest { fence: 5, evict: true, cooldown_ms: u64::MAX, ..Default::default() }),
    ];
    for (field, request) in releases {
        let status = node.locks().release(request).await.expect_err(field);
        ensure!(status.code() == Code::InvalidArgument && status.message().contains(field), "{field}: {status}");
    }
    let mut locks = node.locks();
    let looks = [
        locks.get(GetLockRequest::default()).await.map(drop),
        locks.get(GetLockRequest { lock: named(L), limit: 10_001, ..Default::default() }).await.map(drop),
        locks.get(GetLockRequest { lock: named(L), after: -1, ..Default::default() }).await.map(drop),
        locks.watch(WatchLockRequest::default()).await.map(drop),
        locks.watch(WatchLockRequest { lock: named(L), start_revision: -1, ..Default::default() }).await.map(drop),
        locks.list(ListRequest { limit: 10_001, ..Default::default() }).await.map(drop),
    ];
    for look in looks {
        ensure!(look.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument), "{look:?}");
    }
    ensure!(node.index().await? == index, "a refused request was proposed");
    Ok(())
}

#[tokio::test]
async fn the_largest_requests_are_served() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let session = node.lasting().await?;
    let long = |at: usize| Name { namespace: "\u{e4}/%".repeat(64), name: format!("{at:0256}") };
    let parts: Vec<_> = (0..64)
        .map(|at| conclave_api::conclave::v1::LockPart { lock: Some(long(at)), ..permits("", u32::MAX, u32::MAX) })
        .collect();
    let most = 1 << 53;
    let owner = "o".repeat(256);
    let request = AcquireRequest {
        parts,
        owner: owner.clone(),
        wait_ms: most,
        lock_delay_ms: most,
        max_hold_ms: most,
        ..asking(session, vec![])
    };
    let got = node.acquire(request).await?;
    ensure!(got.token.as_ref().is_some_and(|token| token.guards.len() == 64));
    ensure!(node.guarded(&got.token).await?);
    let look = GetLockRequest { lock: Some(long(63)), limit: 1, ..Default::default() };
    let look = node.locks().get(look).await?.into_inner();
    ensure!(look.holders[0].owner == owner && look.holders[0].parts.len() == 64 && look.used == u64::from(u32::MAX));
    ensure!(node.release(session, got.fence).await?);
    Ok(())
}

#[tokio::test]
async fn unknown_locks_are_empty_and_names_are_listed_in_pages() -> Result<()> {
    let (_cluster, nodes) = start(1).await?;
    let node = &nodes[0];
    let look = node.look("nobody").await?;
    ensure!((look.holder_count, look.waiting_count, look.capacity, look.delayed) == (0, 0, 0, false), "{look:?}");
    let session = node.lasting().await?;
    let names = ["a", "b/c", "d", "e"];
    let got = node.take(session, names.iter().map(|name| shared(name)).collect()).await?;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = node.locks().list(ListRequest { limit: 3, after, ..Default::default() }).await?.into_inner();
        ensure!(page.names.iter().all(|name| name.namespace == "default"), "{page:?}");
        found.extend(page.names.iter().map(|name| name.name.clone()));
        after = page.names.last().cloned();
        if !page.more {
            break;
        }
    }
    ensure!(found == names, "{found:?}");
    node.release(session, got.fence).await?;
    ensure!(node.locks().list(ListRequest::default()).await?.into_inner().names.is_empty());
    Ok(())
}
