//! A peer that sends what no honest member sends. No member stops because of it, nothing of it
//! stays, and the cluster goes on.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod cluster;

use bytes::Bytes;
use cluster::{Cluster, PATIENCE, eventually, get, put};
use conclave_node::peer::pb;
use conclave_node::peer::transport::{Link, PeerError, Transport};
use conclave_state::{Command, read};
use conclave_storage::SegmentWriter;
use conclave_storage::types::MemberNode;
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;

/// Three members, and the knowledge of an attacker of one of them.
struct Attack {
    cluster: Cluster,
    /// Positions of the leader and of its victim.
    leader: usize,
    victim: usize,
    term: u64,
}

impl Attack {
    async fn begin(dir: &Path) -> Attack {
        let cluster = Cluster::start(dir, 3).await;
        let leader = cluster.leader(&[0, 1, 2]).await;
        cluster.node(leader).proposer.propose(put("before", "1")).await.unwrap();
        let term = cluster.node(leader).leadership.current().term;
        // All members have published themselves, so from here on only the test writes.
        for n in 0..3 {
            let node = cluster.node(n);
            let all = || read::members(&node.state.view()).is_ok_and(|members| members.len() == 3);
            eventually(|| all().then_some(())).await;
        }
        cluster.digests_agree().await;
        Attack { leader, victim: (leader + 1) % 3, term, cluster }
    }

    fn id(&self, n: usize) -> u64 {
        self.cluster.node(n).identity.member_id
    }

    /// Calls to `to` in the name of `from`.
    fn link(&self, from: usize, to: usize) -> Arc<dyn Link> {
        self.cluster.network.transport(self.id(from)).link(self.id(to), &MemberNode::default())
    }

    fn last_index(&self) -> u64 {
        self.cluster.node(self.victim).leadership.last_log_index()
    }

    /// In the name of the leader, behind the last entry of its victim.
    fn append(&self, entries: Vec<pb::Entry>) -> pb::AppendRequest {
        let index = self.last_index();
        pb::AppendRequest {
            vote: Some(pb::BallotVote { term: self.term, node: self.id(self.leader), committed: true }),
            previous: Some(pb::LogId { term: self.term, index }),
            commit: entries.last().map(|entry| pb::LogId { term: entry.term, index: entry.index }),
            entries,
            quiet: false,
            version: 0,
        }
    }

    async fn send(&self, request: pb::AppendRequest) -> Vec<Result<pb::AppendReply, PeerError>> {
        let requests = futures::stream::iter([request]).boxed();
        let replies = self.link(self.leader, self.victim).append(requests).await.unwrap();
        tokio::time::timeout(PATIENCE, replies.take(1).collect()).await.unwrap()
    }

    /// All members answer and agree, now and after a restart of all of them.
    async fn everything_works(self, dir: &Path) {
        let mut cluster = self.cluster;
        for round in ["after", "after a restart"] {
            cluster.leader(&[0, 1, 2]).await;
            for n in 0..3 {
                let value = format!("{round} by {n}");
                assert!(cluster.node(n).proposer.propose(put("after", &value)).await.unwrap().outcome.result.is_ok());
                assert_eq!(get(&cluster.node(n), "after").await, Some(value));
                assert_eq!(get(&cluster.node(n), "before").await.as_deref(), Some("1"));
            }
            cluster.digests_agree().await;
            cluster.stop().await;
            cluster = Cluster::start(dir, 3).await;
        }
        cluster.stop().await;
    }
}

fn refused<T: std::fmt::Debug>(reply: &Result<T, PeerError>) {
    assert!(matches!(reply, Err(PeerError::Refused(_))), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_of_the_last_term_takes_no_election_from_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let attack = Attack::begin(dir.path()).await;
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (link, node) = (attack.link(from, to), attack.id(from));
        for term in [u64::MAX, u64::MAX - 1, 1 << 62] {
            let ballot = |committed| Some(pb::BallotVote { term, node, committed });
            let last = Some(pb::LogId { term: term - 1, index: 1 << 40 });
            let vote = pb::VoteRequest { vote: ballot(false), last, leadership_transfer: true, pre_vote: false };
            refused(&link.vote(vote).await);
            let heartbeat = pb::AppendRequest { vote: ballot(true), ..Default::default() };
            refused(&link.heartbeat(heartbeat).await);
            let transfer = pb::TransferRequest { from: ballot(true), to: attack.id(to), last: None };
            refused(&link.transfer_leader(transfer).await);
        }
    }
    attack.everything_works(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_log_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let attack = Attack::begin(dir.path()).await;
    let blank = |ahead| pb::Entry { term: attack.term, index: attack.last_index() + ahead, payload: None };
    for entries in [vec![blank(2)], vec![blank(1), blank(3)], vec![blank(1), blank(1)], vec![blank(0)]] {
        refused(&attack.send(attack.append(entries)).await[0]);
    }
    attack.everything_works(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_decoded_is_not_appended() {
    let dir = tempfile::tempdir().unwrap();
    let attack = Attack::begin(dir.path()).await;
    let mut sound = SegmentWriter::new();
    sound.push(&put("k", "v"));
    let mut broken = sound.finish(1, 1).to_vec();
    broken[24] = 0xff;
    for pack in [broken, vec![7], vec![0xff; 100]] {
        let payload = Some(pb::entry::Payload::Pack(Bytes::from(pack)));
        let before = attack.last_index();
        let entry = pb::Entry { term: attack.term, index: before + 1, payload };
        refused(&attack.send(attack.append(vec![entry])).await[0]);
        assert_eq!(attack.last_index(), before);
    }
    attack.everything_works(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_cannot_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let attack = Attack::begin(dir.path()).await;
    let last = attack.last_index();
    let committed = || attack.cluster.node(attack.victim).leadership.committed_index();
    eventually(|| (committed() == last).then_some(())).await;
    // A leader of a later term, with other entries where this member's are committed.
    let term = attack.term + 1;
    let vote = Some(pb::BallotVote { term, node: attack.id(attack.leader), committed: true });
    let entry = pb::Entry { term, index: last, payload: None };
    let previous = Some(pb::LogId { term: attack.term, index: last - 1 });
    let request = pb::AppendRequest { vote, previous, entries: vec![entry], ..Default::default() };
    refused(&attack.send(request).await[0]);
    let vote = Some(pb::BallotVote { term, node: attack.id(attack.leader), committed: true });
    let previous = Some(pb::LogId { term, index: last });
    refused(&attack.send(pb::AppendRequest { vote, previous, ..Default::default() }).await[0]);
    attack.everything_works(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_segment_is_sound_or_nothing_of_its_batch_is_proposed() {
    let dir = tempfile::tempdir().unwrap();
    let attack = Attack::begin(dir.path()).await;
    let link = attack.link(attack.victim, attack.leader);
    let segment = |origin, commands: &[Command]| {
        let mut writer = SegmentWriter::new();
        commands.iter().for_each(|command| {
            writer.push(command);
        });
        writer.finish(origin, 1)
    };
    let sound = segment(1, &[put("forged", "1")]);
    for second in [sound.slice(1..), sound.slice(..30), Bytes::new(), segment(2, &[put("forged", "1")])] {
        let request = pb::ForwardRequest { term: attack.term, segments: vec![sound.clone(), second] };
        refused(&link.forward(request).await);
    }
    assert_eq!(get(&attack.cluster.node(0), "forged").await, None);
    attack.everything_works(dir.path()).await;
}
