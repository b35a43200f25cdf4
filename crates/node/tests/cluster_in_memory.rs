//! Three whole nodes in one process, with real storage and a network of function calls.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod cluster;

use cluster::{Cluster, PATIENCE, eventually, get, put};
use conclave_node::membership::Change;
use conclave_node::peer::pb;
use conclave_node::peer::transport::{PeerError, Transport};
use conclave_storage::types::MemberNode;
use futures::StreamExt;
use std::time::{Duration, Instant};

/// One that could speak for others could keep them out for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_registers_itself_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let ids: Vec<u64> = (0..3).map(|n| cluster.node(n).identity.member_id).collect();
    let link = cluster.network.transport(ids[0]).link(ids[1], &MemberNode::default());
    for member in [ids[1], ids[2], 77] {
        let answer = link.register(pb::RegisterRequest { member, incarnation: 5 }).await;
        assert!(matches!(answer, Err(PeerError::Refused(_))), "{answer:?}");
    }
    let own = pb::RegisterRequest { member: ids[0], incarnation: cluster.node(0).identity.incarnation };
    assert!(link.register(own).await.unwrap().accepted);
    cluster.stop().await;
}

#[tokio::test]
async fn a_quiet_request_is_answered_only_if_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let (leader, follower) = (cluster.node(leader), cluster.node((leader + 1) % 3));
    let (me, to) = (leader.identity.member_id, follower.identity.member_id);
    let link = cluster.network.transport(me).link(to, &MemberNode::default());
    let term = leader.leadership.current().term;
    let request = |quiet, index: Option<u64>| pb::AppendRequest {
        vote: Some(pb::BallotVote { term, node: me, committed: true }),
        previous: index.map(|index| pb::LogId { term, index }),
        quiet,
        ..Default::default()
    };
    let accepted = pb::AppendReply::default();
    // The last names an entry that is not there.
    let requests = [request(false, None), request(true, None), request(false, None), request(true, Some(1 << 40))];
    let replies = link.append(futures::stream::iter(requests).boxed()).await.unwrap();
    let replies: Vec<_> = tokio::time::timeout(PATIENCE, replies.take(3).collect()).await.unwrap();
    assert_eq!(replies[..2], [Ok(accepted.clone()), Ok(accepted)]);
    assert!(replies[2].as_ref().is_ok_and(|reply| reply.conflict.is_some()), "{replies:?}");
    cluster.stop().await;
}

/// It may be lost with its leader: a process that learned its id from it would be nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addition_that_is_not_committed_is_no_member_yet() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let node = cluster.node(leader);
    assert_eq!(node.membership.applied().await.unwrap().len(), 3);
    for other in (0..3).filter(|other| *other != leader) {
        cluster.network.unlisten(cluster.node(other).identity.member_id);
    }
    let change = Change::Add { peer_urls: vec!["http://member9:2380".into()], learner: true };
    let changing = node.clone();
    let asked = tokio::spawn(async move { changing.membership.change(change).await });
    eventually(|| (node.membership.members().len() == 4).then_some(())).await;
    let told = tokio::time::timeout(Duration::from_millis(200), node.membership.applied()).await;
    assert!(!matches!(&told, Ok(Ok(members)) if members.len() == 4), "{told:?}");
    asked.abort();
    cluster.stop().await;
}

#[tokio::test]
async fn a_member_that_is_gone_is_not_called_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    let node = cluster.node(leader);
    cluster.network.unlisten(cluster.node((leader + 1) % 3).identity.member_id);
    let (before, start) = (cluster.network.sessions(), Instant::now());
    for n in 0..20 {
        node.proposer.propose(put("k", &n.to_string())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Twenty a second for one that is gone.
    let allowed = 5 + 25 * usize::try_from(start.elapsed().as_secs() + 1).unwrap();
    let tried = cluster.network.sessions() - before;
    assert!((5..allowed).contains(&tried), "{tried} sessions, {allowed} allowed");
    cluster.stop().await;
}

#[tokio::test]
async fn every_node_writes_and_reads_what_any_other_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    cluster.leader(&[0, 1, 2]).await;
    for writer in 0..3 {
        let value = format!("by {writer}");
        let applied = cluster.node(writer).proposer.propose(put("k", &value)).await.unwrap();
        assert!(applied.outcome.result.is_ok());
        for reader in 0..3 {
            assert_eq!(get(&cluster.node(reader), "k").await.as_deref(), Some(value.as_str()), "{writer} to {reader}");
        }
    }
    // Many at once, through all nodes: each is answered once and has a revision of its own.
    let before = cluster.node(0).state.revision();
    let writes = (0..300).map(|i| {
        let proposer = cluster.node(i % 3).proposer.clone();
        async move { proposer.propose(put(&format!("many/{i}"), "x")).await.unwrap().outcome.revision }
    });
    let mut revisions = futures::future::join_all(writes).await;
    revisions.sort_unstable();
    let expected: Vec<i64> = (1..=300).map(|i| before + i).collect();
    assert_eq!(revisions.len(), expected.len());
    assert_eq!(revisions, expected);
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_deposed_leader_answers_nothing_from_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let old = cluster.leader(&[0, 1, 2]).await;
    let others: Vec<usize> = (0..3).filter(|n| *n != old).collect();
    cluster.node(old).proposer.propose(put("x", "1")).await.unwrap();

    cluster.network.isolate(cluster.node(old).identity.member_id);
    let isolated = cluster.node(old);
    let read = tokio::spawn(async move { get(&isolated, "x").await });
    let isolated = cluster.node(old);
    let write = tokio::spawn(async move { isolated.proposer.propose(put("y", "of the old leader")).await });

    // Writes go on with the others, without the client doing anything.
    let begun = Instant::now();
    cluster.node(others[0]).proposer.propose(put("x", "2")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "took {:?}", begun.elapsed());
    let new = cluster.leader(&others).await;
    assert_ne!(new, old);
    assert_eq!(get(&cluster.node(others[1]), "x").await.as_deref(), Some("2"));
    assert!(!read.is_finished(), "a leader that cannot reach a quorum must not answer");

    cluster.network.heal();
    assert_eq!(read.await.unwrap().as_deref(), Some("2"), "the read waited for the new leader");
    // What the old leader had taken in was lost with its term, which it knows, and is decided in
    // the new one.
    assert!(write.await.unwrap().unwrap().outcome.result.is_ok());
    for n in 0..3 {
        assert_eq!(get(&cluster.node(n), "y").await.as_deref(), Some("of the old leader"));
    }
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn without_a_quorum_it_is_said_whether_a_write_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    for n in 0..3 {
        cluster.network.isolate(cluster.node(n).identity.member_id);
    }
    let (followers, node) = ((0..3).filter(|n| *n != leader), cluster.node(leader));
    let sent = tokio::spawn(async move { node.proposer.propose(put("a", "1")).await });
    for n in followers {
        let error = cluster.node(n).proposer.propose(put("b", "1")).await.unwrap_err();
        assert!(!error.outcome_unknown(), "{error}");
    }
    assert!(sent.await.unwrap().is_err());
    cluster.network.heal();
    cluster.leader(&[0, 1, 2]).await;
    assert_eq!(get(&cluster.node(leader), "b").await, None, "surely not proposed means never applied");
    cluster.digests_agree().await;
    cluster.stop().await;
}

#[tokio::test]
async fn leadership_is_handed_over_and_all_restart_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    cluster.node(leader).proposer.propose(put("k", "v")).await.unwrap();
    let to = (leader + 1) % 3;
    cluster.node(leader).transfer_leader(cluster.node(to).identity.member_id).await.unwrap();
    assert_eq!(cluster.leader(&[0, 1, 2]).await, to);
    cluster.stop().await;

    let cluster = Cluster::start(dir.path(), 3).await;
    for n in 0..3 {
        assert_eq!(get(&cluster.node(n), "k").await.as_deref(), Some("v"));
    }
    cluster.digests_agree().await;
    cluster.stop().await;
}
