//! Projected keys and tokens in the hands of stock etcd clients.

use anyhow::{Context, Result, ensure};
use cluster_tests::client::{get, grant};
use cluster_tests::cluster::Cluster;
use cluster_tests::etcdctl::Etcdctl;
use cluster_tests::kit::{elections::*, *};
use conclave_api::conclave::v1::Token;
use conclave_api::etcdserverpb::compare::{CompareTarget, TargetUnion};
use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};

/// A token's guards, written with another client's types.
fn guards(token: &Token) -> Result<Vec<Compare>> {
    let guard = |compare: &conclave_api::etcdserverpb::Compare| {
        ensure!(compare.target() == CompareTarget::Create, "{compare:?}");
        let Some(TargetUnion::CreateRevision(revision)) = compare.target_union else {
            anyhow::bail!("{compare:?}");
        };
        Ok(Compare::create_revision(compare.key.to_vec(), CompareOp::Equal, revision))
    };
    token.guards.iter().map(guard).collect()
}

#[tokio::test]
async fn a_deposed_leader_writes_nothing_that_is_guarded() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut at = elections(&cluster, 0).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let mut etcd = Client::connect(cluster.endpoints(), None).await?;
    let first = won(&mut campaign(&mut at, "a", session).await?).await?.token.context("no token")?;
    enter(&mut at, "b", session).await?;
    let mut write = async |token: &Token, value: &str| -> Result<bool> {
        let guarded = Txn::new().when(guards(token)?).and_then([TxnOp::put("data", value, None)]);
        Ok(etcd.txn(guarded).await?.succeeded())
    };
    ensure!(write(&first, "1").await?, "who leads writes");
    // Whatever is proclaimed or changes in line, the tenure is the same.
    promote(&mut at, "b").await.context("b leads now")?;
    ensure!(!write(&first, "2").await?, "a was deposed");
    let second = anoint(&mut at, "a").await?.token.context("no token")?;
    ensure!(!write(&first, "3").await?, "to lead again is another tenure");
    ensure!(second.fence > first.fence, "fences rise: {} after {}", second.fence, first.fence);
    ensure!(write(&second, "4").await?, "who leads writes");
    let value = get(&cluster.client(1)?, "data").await?.context("nothing was written")?.value;
    assert_eq!(value, "4");
    Ok(())
}

/// In one round: which failed, leadership or one's own condition.
#[tokio::test]
async fn a_nested_transaction_tells_which_failed() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut at = elections(&cluster, 0).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let token = enter(&mut at, "a", session).await?.token.context("no token")?;
    let mut etcd = Client::connect(cluster.endpoints(), None).await?;
    let nested = |version| -> Result<Txn> {
        let own = Txn::new()
            .when([Compare::version("data", CompareOp::Equal, version)])
            .and_then([TxnOp::put("data", "x", None)]);
        let term = TxnOp::get("/_conclave/e/default/e/term", None);
        Ok(Txn::new().when(guards(&token)?).and_then([TxnOp::txn(own)]).or_else([term]))
    };
    assert!(etcd.txn(nested(0)?).await?.succeeded());
    let own_failed = etcd.txn(nested(0)?).await?;
    assert!(own_failed.succeeded(), "leadership held");
    leave(&mut at, "a").await?;
    let lost = etcd.txn(nested(1)?).await?;
    assert!(!lost.succeeded(), "leadership was lost");
    Ok(())
}

#[tokio::test]
async fn etcdctl_reads_watches_and_compares_and_may_not_write() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let mut at = elections(&cluster, 0).await?;
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let etcdctl = Etcdctl::new(&cluster.endpoints());
    let mut watching = etcdctl.start(&["watch", "--prefix", "/_conclave/e/default/e/leader/"])?;
    // The watch is there once an unrelated key of its range... is answered by the server: the first
    // event shows.
    tokio::time::sleep(A_WHILE).await;
    let entered = enter(&mut at, "a", session).await?;
    let token = entered.token.context("no token")?;
    let key = String::from_utf8(token.guards[0].key.to_vec())?;
    assert_eq!(key, format!("/_conclave/e/default/e/leader/{:016x}", token.fence));
    assert_eq!([watching.line().await?, watching.line().await?, watching.line().await?], ["PUT", &key, "value of a"]);
    assert_eq!(etcdctl.ok(&["get", "--print-value-only", &key]).await?, "value of a");
    let term = etcdctl.ok(&["get", "--print-value-only", "/_conclave/e/default/e/term"]).await?;
    let term: serde_json::Value = serde_json::from_str(&term)?;
    assert_eq!((term["leader"].as_str(), term["term"].as_i64()), (Some("a"), Some(token.fence)));
    assert_eq!(term["cause"], "entered");
    let guarded = format!("create(\"{key}\") = \"{}\"\n\nput data 1\n\n\n\n", token.fence);
    assert!(etcdctl.ok_with(&["txn"], &guarded).await?.starts_with("SUCCESS"));
    leave(&mut at, "a").await?;
    assert!(etcdctl.ok_with(&["txn"], &guarded).await?.starts_with("FAILURE"));
    assert_eq!([watching.line().await?, watching.line().await?], ["DELETE", &key]);
    drop(watching);

    enter(&mut at, "a", session).await?;
    let mine = "/_conclave/e/default/e/term";
    for write in
        [vec!["put", mine, "x"], vec!["put", "/_conclave/x", "x"], vec!["del", mine], vec!["del", "--prefix", "/"]]
    {
        let said = etcdctl.fails(&write).await?;
        ensure!(said.contains("keys under /_conclave/ are written by elections, locks and claims alone"), "{said}");
    }
    let in_txn = format!("\nput {mine} x\n\n\n\n");
    ensure!(!etcdctl.run_with(&["txn"], &in_txn, AT_ONCE).await?.success, "neither in a transaction");
    let mut etcd = Client::connect(cluster.endpoints(), None).await?;
    let found = etcd.get("/_conclave/", Some(GetOptions::new().with_prefix())).await?;
    let keys: Vec<_> = found.kvs().iter().map(|kv| kv.key_str().unwrap_or("?")).collect();
    assert_eq!(keys.len(), 3, "leader, candidate, term: {keys:?}");
    Ok(())
}
