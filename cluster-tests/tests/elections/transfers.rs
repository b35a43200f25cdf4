//! Planned hand-over, as a stock etcd client sees it in the projected keys.

use anyhow::{Context, Result, ensure};
use cluster_tests::client::grant;
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use cluster_tests::wait::within;
use conclave_api::conclave::v1::{Cause, RequestTransferRequest, TransferRequest, WatchElectionRequest};
use etcd_client::{EventType, WatchOptions};
use std::collections::BTreeMap;
use tonic::Code;

fn requesting(to: &str) -> RequestTransferRequest {
    RequestTransferRequest { caller: by(0), election: named(E), to: to.into(), ..Default::default() }
}

fn transferring(term_id: i64, to: &str) -> TransferRequest {
    TransferRequest { caller: by(0), election: named(E), term_id, to: to.into(), leave: false }
}

#[tokio::test]
async fn at_no_instant_two_leaders_or_none() -> Result<()> {
    const ROUNDS: usize = 20;
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client_of_all()?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let mut term = enter(&mut at, "a", session).await?.term.context("no term")?;
    enter(&mut at, "b", session).await?;
    let from = term.revision;
    for i in 0..ROUNDS {
        let to = if i % 2 == 0 { "b" } else { "a" };
        let pending = at.request_transfer(requesting(to)).await?.into_inner().term.context("no term")?;
        assert_eq!((pending.transfer_to.as_str(), pending.id), (to, term.id), "the leader is asked, and leads on");
        // Whom the request names.
        let after = at.transfer(transferring(term.id, "")).await?.into_inner().term.context("no term")?;
        assert_eq!((after.leader.as_str(), after.seq, after.transfer_to.as_str()), (to, term.seq + 1, ""));
        term = after;
    }

    let mut etcd = etcd_client::Client::connect(cluster.endpoints(), None).await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let mut watch = etcd.watch("/_conclave/e/default/e/leader/", Some(options)).await?;
    // The leader's keys after each revision.
    let mut leaders: BTreeMap<i64, i32> = BTreeMap::new();
    let (mut now, mut installed) = (0, 0);
    while installed <= ROUNDS {
        let message = within("an event", AT_ONCE, watch.message()).await??.context("the watch ended")?;
        for event in message.events() {
            let kv = event.kv().context("an event without a key")?;
            match event.event_type() {
                EventType::Put => (now, installed) = (now + 1, installed + 1),
                EventType::Delete => now -= 1,
            }
            leaders.insert(kv.mod_revision(), now);
        }
    }
    ensure!(leaders.len() == ROUNDS + 1, "a hand-over is one revision: {leaders:?}");
    ensure!(leaders.values().all(|leaders| *leaders == 1), "always one leader: {leaders:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_transfer_needs() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let nobody = at.request_transfer(requesting("b")).await.expect_err("no such candidate");
    assert_eq!(nobody.code(), Code::FailedPrecondition);
    let term_id = enter(&mut at, "a", session).await?.term.unwrap_or_default().id;
    enter(&mut at, "b", session).await?;
    for (term_id, to) in [(term_id - 1, "b"), (term_id, ""), (term_id, "c")] {
        let refused = at.transfer(transferring(term_id, to)).await.expect_err("another term, nobody named, nobody");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    // The request ends with whom it names.
    at.request_transfer(requesting("b")).await?;
    leave(&mut at, "b").await?;
    assert_eq!(term(&mut at).await?.transfer_to, "");
    enter(&mut at, "c", session).await?;
    let left = at.transfer(TransferRequest { leave: true, ..transferring(term_id, "c") }).await?.into_inner();
    assert_eq!(left.term.unwrap_or_default().waiting, 0);
    assert_eq!(order(&term(&mut at).await?), ["c"]);
    Ok(())
}

/// Deadlines: the request lapses, or the transfer is made.
#[tokio::test]
async fn deadlines_of_a_request() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    enter(&mut at, "a", session).await?;
    enter(&mut at, "b", session).await?;
    let mut watching = watch(&mut at, WatchElectionRequest { no_snapshot: true, ..Default::default() }).await?;
    for (force, cause, leader) in [(false, Cause::TransferLapsed, "a"), (true, Cause::Transferred, "b")] {
        at.request_transfer(RequestTransferRequest { deadline_ms: 300, force, ..requesting("b") }).await?;
        assert_eq!(event(&mut watching).await?.cause(), Cause::TransferRequested);
        let over = event(&mut watching).await?;
        assert_eq!((over.cause(), over.term.unwrap_or_default().leader.as_str()), (cause, leader));
    }
    Ok(())
}
