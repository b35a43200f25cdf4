//! A request that is asked again because its answer was lost takes effect once.

use anyhow::{Result, ensure};
use bytes::Bytes;
use cluster_tests::client::grant;
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use cluster_tests::wait::{LONG, eventually};
use conclave_api::conclave::v1::{
    AnointRequest, Caller, DeleteElectionRequest, DemoteRequest, EnterRequest, EvictRequest, Expect, LeaveRequest,
    PromoteRequest, TransferRequest,
};
use tonic::Code;

fn once(session: i64, id: u8, candidate: &str) -> PromoteRequest {
    let caller = Caller { session, dedupe_id: Bytes::copy_from_slice(&[id; 16]), expect: None };
    PromoteRequest { caller: Some(caller), ..promoting(candidate) }
}

#[tokio::test]
async fn a_repeated_promote_moves_one_place() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let mut nodes = [elections(&cluster, 0).await?, elections(&cluster, 1).await?, elections(&cluster, 2).await?];
    let session = grant(&client, LASTING).await?;
    for id in ["a", "b", "c", "d"] {
        enter(&mut nodes[0], id, session).await?;
    }
    let first = nodes[0].promote(once(session, 1, "d")).await?.into_inner();
    for i in 0..6 {
        let mut again = nodes[i % 3].promote(once(session, 1, "d")).await?.into_inner();
        again.header.clone_from(&first.header);
        assert_eq!(again, first, "the same answer, from every member");
    }
    assert_eq!(order(&term(&mut nodes[1]).await?), ["a", "b", "d", "c"]);
    // Another operation, though it is the same request; also an operator's.
    nodes[2].promote(once(session, 2, "d")).await?;
    assert_eq!(order(&term(&mut nodes[1]).await?), ["a", "d", "b", "c"]);
    for _ in 0..2 {
        nodes[1].promote(once(0, 1, "c")).await?;
    }
    assert_eq!(order(&term(&mut nodes[1]).await?), ["a", "d", "c", "b"]);
    Ok(())
}

/// After each operation somebody else changes what it did; the repetition leaves that alone, and
/// says what it said the first time.
#[tokio::test]
async fn every_operation_takes_effect_once() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (mut one, mut other) = (elections(&cluster, 0).await?, elections(&cluster, 1).await?);
    let session = grant(&cluster.client(0)?, LASTING).await?;
    let caller = |id: u8| Some(Caller { session, dedupe_id: vec![id; 16].into(), expect: None });
    let candidate = || "b".to_owned();
    for id in ["a", "b", "c"] {
        enter(&mut one, id, session).await?;
    }
    macro_rules! once {
        ($operation:ident, $request:expr, $after:expr, $undo:expr, $stands:expr) => {{
            let request = $request;
            let first = one.$operation(request.clone()).await?.into_inner();
            assert_eq!(order(&term(&mut other).await?), $after, stringify!($operation));
            $undo;
            let mut again = other.$operation(request).await?.into_inner();
            again.header.clone_from(&first.header);
            assert_eq!(again, first, stringify!($operation));
            assert_eq!(order(&term(&mut other).await?), $stands, stringify!($operation));
        }};
    }
    let anointing =
        AnointRequest { caller: caller(1), election: named(E), candidate: candidate(), ignore_missing: false };
    once!(anoint, anointing, ["b", "a", "c"], anoint(&mut one, "a").await?, ["a", "b", "c"]);
    let demoting =
        DemoteRequest { caller: caller(2), election: named(E), candidate: candidate(), ..Default::default() };
    once!(demote, demoting, ["a", "c", "b"], promote(&mut one, "b").await?, ["a", "b", "c"]);
    let leaving = LeaveRequest { caller: caller(3), election: named(E), candidate: candidate(), instance: None };
    once!(leave, leaving, ["a", "c"], enter(&mut one, "b", session).await?, ["a", "c", "b"]);
    let evicting = EvictRequest { caller: caller(4), election: named(E), candidate: candidate(), ..Default::default() };
    once!(evict, evicting, ["a", "c"], enter(&mut one, "b", session).await?, ["a", "c", "b"]);
    let entering = EnterRequest { caller: caller(5), ..entering("d", session) };
    once!(enter, entering, ["a", "c", "b", "d"], leave(&mut one, "d").await?, ["a", "c", "b"]);
    let term_id = term(&mut one).await?.id;
    let to = TransferRequest { caller: caller(6), election: named(E), term_id, to: candidate(), leave: false };
    once!(transfer, to, ["b", "a", "c"], anoint(&mut one, "a").await?, ["a", "b", "c"]);
    let deleting = DeleteElectionRequest { caller: caller(7), election: named(E) };
    one.delete(deleting.clone()).await?;
    enter(&mut one, "a", session).await?;
    other.delete(deleting).await?;
    assert_eq!(order(&term(&mut one).await?), ["a"]);
    Ok(())
}

/// The Raft leader dies with the request under way. Whether it was decided before or is now, the
/// retry elsewhere moves it one place.
#[tokio::test]
async fn a_leader_that_dies_with_the_request_does_not_double_it() -> Result<()> {
    const ROUNDS: u8 = 4;
    let mut cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let session = grant(&client, LASTING).await?;
    let mut at = elections(&cluster, 0).await?;
    let mut expected: Vec<String> = (0..8).map(|i| format!("c{i}")).collect();
    for id in &expected {
        enter(&mut at, id, session).await?;
    }
    drop(at);
    for round in 0..ROUNDS {
        let leader = cluster.leader().await?;
        let mut at = elections(&cluster, leader).await?;
        let request = once(session, 10 + round, "c7");
        let first = tokio::spawn({
            let request = request.clone();
            async move { at.promote(request).await }
        });
        tokio::time::sleep(std::time::Duration::from_micros(300 * u64::from(round))).await;
        cluster.node(leader).kill()?;
        let answered = first.await?.is_ok();
        let other = elections(&cluster, (leader + 1) % 3).await?;
        let retry = async || Ok(other.clone().promote(request.clone()).await?);
        eventually("the retry to be answered", LONG, retry).await?;
        let place = expected.iter().position(|id| id == "c7").unwrap_or_default();
        ensure!(place > 0, "the test runs out of places");
        expected.swap(place, place - 1);
        let term = term(&mut other.clone()).await?;
        assert_eq!(order(&term), expected, "round {round}, the first was answered: {answered}");
        cluster.restart(leader).await?;
    }
    Ok(())
}

#[tokio::test]
async fn expectations_are_met_or_refused_with_where_things_stand() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    enter(&mut at, "a", session).await?;
    enter(&mut at, "b", session).await?;
    let now = term(&mut at).await?;
    let promote = |expect: Expect| PromoteRequest {
        caller: Some(Caller { expect: Some(expect), ..Default::default() }),
        ..promoting("b")
    };
    let wrong = [
        Expect { fence: Some(now.id + 1), ..Default::default() },
        Expect { revision: Some(now.revision - 1), ..Default::default() },
        Expect { holder: Some("b".into()), ..Default::default() },
        Expect { fence: Some(now.id), revision: Some(now.revision), holder: Some(String::new()) },
    ];
    for expect in wrong {
        let refused = at.promote(promote(expect)).await.expect_err("it is not so");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let (fence, revision) = (now.id, now.revision);
        let said = format!("conclave: not as expected (fence {fence}, last changed at revision {revision})");
        assert_eq!(refused.message(), said);
    }
    let right = Expect { fence: Some(now.id), revision: Some(now.revision), holder: Some("a".into()) };
    assert!(at.promote(promote(right)).await?.into_inner().changed);
    Ok(())
}
