//! Watching elections: what is told, and that nothing is lost or told twice.

use anyhow::{Result, bail};
use cluster_tests::client::{compact, grant};
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use cluster_tests::wait::{SOON, eventually};
use conclave_api::conclave::v1::election_event::Type;
use conclave_api::conclave::v1::{
    Cause, ElectionEvent, EnterRequest, ProclaimRequest, RequestTransferRequest, WatchElectionRequest,
};
use tonic::Code;

fn all() -> WatchElectionRequest {
    WatchElectionRequest::default()
}

fn from(start_revision: i64) -> WatchElectionRequest {
    WatchElectionRequest { start_revision, ..all() }
}

fn told(event: &ElectionEvent) -> (Type, Cause, &str, &str, &str) {
    let leader = event.term.as_ref().map_or("", |term| term.leader.as_str());
    (event.r#type(), event.cause(), event.subject.as_str(), leader, event.previous_leader.as_str())
}

#[tokio::test]
async fn every_change_is_told_with_its_cause() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at, mut there) =
        (cluster.client(0)?, elections(&cluster, 0).await?, elections(&cluster, 1).await?);
    let session = grant(&client, LASTING).await?;
    let mut seen = watch(&mut there, all()).await?;
    let first = event(&mut seen).await?;
    assert_eq!((first.r#type(), first.term.clone()), (Type::Snapshot, Some(Default::default())));
    let mut changes = watch(&mut there, WatchElectionRequest { no_snapshot: true, ..all() }).await?;
    let mut leaders = watch(&mut there, WatchElectionRequest { leaders_only: true, ..all() }).await?;
    assert_eq!(event(&mut leaders).await?.r#type(), Type::Snapshot);

    enter(&mut at, "a", session).await?;
    enter(&mut at, "b", session).await?;
    enter(&mut at, "c", session).await?;
    promote(&mut at, "c").await?;
    anoint(&mut at, "b").await?;
    demote(&mut at, "b", 1).await?;
    let transfer = RequestTransferRequest { election: named(E), to: "c".into(), ..Default::default() };
    at.request_transfer(transfer).await?;
    evict(&mut at, "a", "why not").await?;
    leave(&mut at, "b").await?;
    leave(&mut at, "c").await?;
    delete(&mut at).await?;

    let expected = [
        (Type::Changed, Cause::Entered, "a", "a", ""),
        (Type::Changed, Cause::Entered, "b", "a", ""),
        (Type::Changed, Cause::Entered, "c", "a", ""),
        (Type::Changed, Cause::Promoted, "c", "a", ""),
        (Type::Changed, Cause::Anointed, "b", "b", "a"),
        (Type::Changed, Cause::Demoted, "b", "a", "b"),
        (Type::Changed, Cause::TransferRequested, "c", "a", ""),
        (Type::Changed, Cause::Evicted, "a", "b", "a"),
        (Type::Changed, Cause::Left, "b", "c", "b"),
        (Type::Vacant, Cause::Left, "c", "", "c"),
        (Type::Deleted, Cause::Unspecified, "", "", ""),
    ];
    let mut last = 0;
    for expected in expected {
        let (one, other) = (event(&mut seen).await?, event(&mut changes).await?);
        assert_eq!(told(&one), expected);
        assert_eq!((one.term.clone(), revision(&one)), (other.term.clone(), revision(&other)));
        assert!(revision(&one) > last, "one revision is one event");
        last = revision(&one);
        if expected.0 != Type::Deleted {
            assert_eq!(one.term.as_ref().map(|term| term.revision), Some(last));
        }
        assert_eq!(one.reason, if expected.1 == Cause::Evicted { "why not" } else { "" });
        let transfer_to = if expected.1 == Cause::TransferRequested { "c" } else { "" };
        assert_eq!(one.term.unwrap_or_default().transfer_to, transfer_to);
        // Changes of the line alone are left out.
        if !matches!(expected.2, "b" | "c") || !matches!(expected.1, Cause::Entered | Cause::Promoted) {
            assert_eq!(told(&event(&mut leaders).await?), expected);
        }
    }
    for stream in [&mut seen, &mut changes, &mut leaders] {
        silent(stream).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_snapshot_says_how_things_stand() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let (one, two) = (grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    let labels = [("zone".to_owned(), "x/y".to_owned())].into();
    at.enter(EnterRequest { instance: "i".into(), labels, ..entering("a/%", one) }).await?;
    enter(&mut at, "b", two).await?;
    let expected = term(&mut at).await?;
    let mut there = elections(&cluster, 2).await?;
    let mut seen = watch(&mut there, WatchElectionRequest { candidates: true, ..all() }).await?;
    let snapshot = event(&mut seen).await?;
    assert_eq!((snapshot.r#type(), snapshot.cause(), snapshot.subject.as_str()), (Type::Snapshot, Cause::Entered, "b"));
    let mut shown = snapshot.term.clone().unwrap_or_default();
    // The values of those who wait are not shown to watchers.
    assert_eq!(shown.candidates[1].value, "");
    shown.candidates[1].value = expected.candidates[1].value.clone();
    assert_eq!(shown, expected);
    anoint(&mut at, "b").await?;
    let changed = event(&mut seen).await?.term.unwrap_or_default();
    assert_eq!(order(&changed), ["b", "a/%"]);
    assert_eq!((changed.candidates[0].session, &changed.candidates[0].value[..]), (two, &b"value of b"[..]));
    Ok(())
}

#[tokio::test]
async fn a_proclaimed_value_is_the_leaders() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let entered = enter(&mut at, "a", session).await?.term.unwrap_or_default();
    let of = |term_id| ProclaimRequest { election: named(E), term_id, value: "new".into(), ..Default::default() };
    assert!(at.proclaim(of(entered.id)).await?.into_inner().changed);
    assert!(!at.proclaim(of(entered.id)).await?.into_inner().changed);
    assert_eq!(term(&mut at).await?.candidates[0].value, "new");
    let refused = at.proclaim(of(entered.id - 1)).await.expect_err("another term");
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "election: not leader"));
    Ok(())
}

#[tokio::test]
async fn a_watch_resumes_where_it_was_unless_history_is_gone() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let mut entered = Vec::new();
    for id in ["a", "b", "c"] {
        entered.push(enter(&mut at, id, session).await?.term.unwrap_or_default().revision);
    }
    let mut there = elections(&cluster, 1).await?;
    let mut seen = watch(&mut there, from(entered[1])).await?;
    for (id, at) in [("b", entered[1]), ("c", entered[2])] {
        let event = event(&mut seen).await?;
        assert_eq!((event.subject.as_str(), revision(&event)), (id, at));
    }
    silent(&mut seen).await?;
    // From a revision to come: nothing before it.
    let mut later = watch(&mut there, from(entered[2] + 2)).await?;
    // A resumed watch of leaders knows who led before.
    let mut leaders = watch(&mut there, WatchElectionRequest { leaders_only: true, ..from(entered[1]) }).await?;
    promote(&mut at, "c").await?;
    leave(&mut at, "a").await?;
    assert_eq!(told(&event(&mut later).await?), (Type::Changed, Cause::Left, "a", "c", "a"));
    assert_eq!(told(&event(&mut leaders).await?), (Type::Changed, Cause::Left, "a", "c", "a"));
    compact(&client, entered[2]).await?;
    let compacted = async || {
        let mut gone = watch(&mut there.clone(), from(entered[1])).await?;
        match gone.message().await {
            Err(status) if status.code() == Code::OutOfRange => Ok(()),
            other => bail!("{other:?}"),
        }
    };
    eventually("a compaction known everywhere", SOON, compacted).await?;
    // The compacted revision itself is still there.
    let mut seen = watch(&mut there, from(entered[2])).await?;
    assert_eq!(event(&mut seen).await?.subject, "c");
    Ok(())
}

/// The member that a watcher is connected to dies, again and again; resumed elsewhere, it sees each
/// change once.
#[tokio::test]
async fn a_watch_goes_on_at_another_member() -> Result<()> {
    const ROUNDS: usize = 6;
    let mut cluster = Cluster::start(3).await?;
    let session = grant(&cluster.client_of_all()?, LASTING).await?;
    let mut expected = Vec::new();
    let mut seen: Vec<(i64, String)> = Vec::new();
    let mut next = 0;
    for round in 0..ROUNDS {
        let (watched, changed) = (round % 3, (round + 1) % 3);
        let (mut there, at) = (elections(&cluster, watched).await?, elections(&cluster, changed).await?);
        let mut watching = watch(&mut there, WatchElectionRequest { no_snapshot: true, ..from(next) }).await?;
        for i in 0..10 {
            if i == 5 {
                cluster.node(watched).kill()?;
            }
            let id = format!("{round}-{i}");
            let entered = async || Ok(enter(&mut at.clone(), &id, session).await?);
            let entered = eventually("a candidate to enter", SOON, entered).await?;
            expected.push((entered.term.unwrap_or_default().revision, id));
        }
        // Whatever came before the connection broke.
        while let Ok(Ok(Some(event))) = tokio::time::timeout(A_WHILE, watching.message()).await {
            seen.push((revision(&event), event.subject));
        }
        next = seen.last().map_or(expected[0].0, |(revision, _)| revision + 1);
        cluster.restart(watched).await?;
    }
    let mut there = elections(&cluster, 0).await?;
    let mut watching = watch(&mut there, from(next)).await?;
    while seen.len() < expected.len() {
        let event = event(&mut watching).await?;
        seen.push((revision(&event), event.subject));
    }
    assert_eq!(seen, expected);
    Ok(())
}
