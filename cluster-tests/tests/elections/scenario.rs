//! The scenario that Atomix's own tests walk, step by step, and what its versions got wrong.

use anyhow::{Context, Result, ensure};
use cluster_tests::client::{grant, revoke};
use cluster_tests::cluster::Cluster;
use cluster_tests::kit::{elections::*, *};
use conclave_api::conclave::v1::election_event::Type;
use conclave_api::conclave::v1::election_response::Standing;
use conclave_api::conclave::v1::{CampaignRequest, Cause, EnterRequest, LeaveRequest, WatchElectionRequest};
use conclave_api::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};
use tonic::Code;

/// Where the scenario stands: ids rise with each step of the sequence and stay otherwise.
struct Steps {
    nodes: Vec<Elections>,
    at: usize,
    seq: u64,
    id: i64,
}

impl Steps {
    /// A client of the next node: the steps are taken through all of them in turn.
    fn node(&mut self) -> &mut Elections {
        self.at = (self.at + 1) % self.nodes.len();
        &mut self.nodes[self.at]
    }

    /// After a step, every node says the same.
    async fn stand(&mut self, seq: u64, expected: &[&str]) -> Result<()> {
        for node in &mut self.nodes {
            let term = term(node).await?;
            assert_eq!((order(&term), term.seq), (expected.to_vec(), seq), "{term:?}");
            assert_eq!(term.leader, expected.first().copied().unwrap_or_default());
            assert_eq!(term.waiting as usize, expected.len().saturating_sub(1));
            let stepped = self.seq != seq;
            ensure!(if stepped { term.id > self.id } else { term.id == self.id }, "id {} after {}", term.id, self.id);
        }
        self.id = term(&mut self.nodes[0]).await?.id;
        self.seq = seq;
        Ok(())
    }
}

#[tokio::test]
async fn atomix_step_by_step() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let nodes = vec![elections(&cluster, 0).await?, elections(&cluster, 1).await?, elections(&cluster, 2).await?];
    let mut steps = Steps { nodes, at: 0, seq: 0, id: 0 };
    steps.stand(0, &[]).await?;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(grant(&client, LASTING).await?);
    }
    let first = enter(steps.node(), "1", sessions[0]).await?;
    assert_eq!((first.changed, first.standing()), (true, Standing::Leads));
    steps.stand(1, &["1"]).await?;
    let second = enter(steps.node(), "2", sessions[1]).await?;
    assert_eq!((second.changed, second.standing(), second.token), (true, Standing::Waiting, None));
    steps.stand(1, &["1", "2"]).await?;
    enter(steps.node(), "3", sessions[2]).await?;
    steps.stand(1, &["1", "2", "3"]).await?;
    promote(steps.node(), "3").await?;
    steps.stand(1, &["1", "3", "2"]).await?;
    promote(steps.node(), "3").await?;
    steps.stand(2, &["3", "1", "2"]).await?;
    anoint(steps.node(), "2").await?;
    steps.stand(3, &["2", "3", "1"]).await?;
    leave(steps.node(), "2").await?;
    steps.stand(4, &["3", "1"]).await?;
    evict(steps.node(), "3", "").await?;
    steps.stand(5, &["1"]).await?;
    enter(steps.node(), "2", sessions[1]).await?;
    steps.stand(5, &["1", "2"]).await?;
    anoint(steps.node(), "2").await?;
    steps.stand(6, &["2", "1"]).await?;
    revoke(&client, sessions[1]).await?;
    steps.stand(7, &["1"]).await?;
    for session in [sessions[0], sessions[2]] {
        revoke(&client, session).await?;
    }
    steps.stand(7, &[]).await?;

    delete(steps.node()).await?;
    assert_eq!(delete(steps.node()).await.expect_err("it is deleted").code(), Code::NotFound);
    for node in &mut steps.nodes {
        assert_eq!(term(node).await?, Default::default(), "nothing is left of it");
    }
    // It counts from one again; the ids go on rising.
    steps.seq = 0;
    let session = grant(&client, LASTING).await?;
    enter(steps.node(), "1", session).await?;
    steps.stand(1, &["1"]).await
}

#[tokio::test]
async fn what_changes_nothing_says_so() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let absent = leave(&mut at, "a").await?;
    assert_eq!((absent.changed, absent.standing()), (false, Standing::Absent));
    enter(&mut at, "a", session).await?;
    enter(&mut at, "b", session).await?;
    let before = term(&mut at).await?;
    for again in [enter(&mut at, "a", session).await?, anoint(&mut at, "a").await?, promote(&mut at, "a").await?] {
        assert_eq!((again.changed, again.standing()), (false, Standing::Leads));
    }
    assert!(!demote(&mut at, "b", 1).await?.changed);
    assert_eq!(term(&mut at).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_waiting_candidate_is_anointed_through_any_member() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    for id in ["a", "b", "c", "d"] {
        enter(&mut at, id, session).await?;
    }
    anoint(&mut at, "b").await?;
    assert_eq!(order(&term(&mut at).await?), ["b", "a", "c", "d"]);
    anoint(&mut at, "c").await?;
    assert_eq!(order(&term(&mut at).await?), ["c", "b", "a", "d"]);
    anoint(&mut at, "d").await?;
    assert_eq!(order(&term(&mut at).await?), ["d", "c", "b", "a"]);
    demote(&mut at, "d", 1).await?;
    assert_eq!(order(&term(&mut at).await?), ["c", "d", "b", "a"]);
    demote(&mut at, "c", u32::MAX).await?;
    assert_eq!(order(&term(&mut at).await?), ["d", "b", "a", "c"]);
    leave(&mut at, "b").await?;
    assert_eq!(order(&term(&mut at).await?), ["d", "a", "c"]);
    Ok(())
}

/// A session that ends takes all its candidates, the leader and the next among them, in one step of
/// term; and the last leader's death is told.
#[tokio::test]
async fn sessions_end_in_one_step() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 1).await?);
    let (two, one) = (grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    enter(&mut at, "a", two).await?;
    enter(&mut at, "b", two).await?;
    enter(&mut at, "c", one).await?;
    let mut watching = watch(&mut at, WatchElectionRequest { no_snapshot: true, ..Default::default() }).await?;
    revoke(&client, two).await?;
    let told = event(&mut watching).await?;
    let after = told.term.clone().unwrap_or_default();
    assert_eq!((after.seq, after.leader.as_str(), after.waiting), (2, "c", 0));
    assert_eq!((told.r#type(), told.cause()), (Type::Changed, Cause::SessionClosed));
    assert_eq!((told.subject.as_str(), told.previous_leader.as_str()), ("a", "a"));
    revoke(&client, one).await?;
    let told = event(&mut watching).await?;
    let after = told.term.clone().unwrap_or_default();
    assert_eq!((after.seq, after.leader.as_str(), told.r#type()), (2, "", Type::Vacant));
    assert_eq!((told.cause(), told.previous_leader.as_str()), (Cause::SessionClosed, "c"));
    Ok(())
}

/// A candidate that came back with another session has a term of its own, and does not go with its
/// first one. All survives a restart of everything.
#[tokio::test]
async fn sessions_are_exchanged_and_all_survives_a_restart() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let (client, mut at) = (cluster.client_of_all()?, elections(&cluster, 0).await?);
    let (old, new) = (grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    let entered = enter(&mut at, "a", old).await?;
    enter(&mut at, "b", new).await?;
    let before = term(&mut at).await?;
    drop(at);
    cluster.kill_all()?;
    cluster.spawn_all()?;
    cluster.ready_all().await?;
    let mut at = elections(&cluster, 1).await?;
    assert_eq!(term(&mut at).await?, before);
    let again = at.enter(EnterRequest { takeover: true, ..entering("a", new) }).await?.into_inner();
    assert_eq!((again.changed, again.standing()), (true, Standing::Leads));
    let (old_fence, fence) = (entered.token.unwrap_or_default().fence, again.token.unwrap_or_default().fence);
    ensure!(fence > old_fence, "{fence} after {old_fence}");
    revoke(&client, old).await?;
    let after = term(&mut at).await?;
    assert_eq!((order(&after), after.id), (vec!["a", "b"], fence));
    revoke(&client, new).await?;
    assert_eq!(order(&term(&mut at).await?), [""; 0]);
    Ok(())
}

/// Issue: two processes campaigned as `host-7`, each with a session of its own and nothing else
/// said, and led under one fence.
#[tokio::test]
async fn two_sessions_of_one_candidate_never_share_a_fence() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let client = cluster.client_of_all()?;
    let (mut at, mut there) = (elections(&cluster, 0).await?, elections(&cluster, 1).await?);
    let (one, other) = (grant(&client, LASTING).await?, grant(&client, LASTING).await?);
    for instance in ["", "i"] {
        let of = |session| EnterRequest { instance: instance.into(), ..entering("host-7", session) };
        let run = |session, takeover| CampaignRequest {
            enter: Some(EnterRequest { takeover, ..of(session) }),
            ..CampaignRequest::default()
        };
        let first = won(&mut campaign_for(&mut at, run(one, false)).await?).await?.token.context("no token")?;
        let mut watching = watch(&mut there, WatchElectionRequest { no_snapshot: true, ..Default::default() }).await?;
        for refused in [
            campaign_for(&mut there, run(other, false)).await.err().context("the first one leads")?,
            there.enter(of(other)).await.err().context("the first one leads")?,
            there.enter(EnterRequest { try_only: true, ..of(other) }).await.err().context("the first one leads")?,
        ] {
            assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
            ensure!(refused.message().contains(&format!("session {one:x}")), "it does not say whose it is: {refused}");
        }
        // It is explicit, it is another term, those who watch are told; and only the new token
        // passes.
        let second = won(&mut campaign_for(&mut there, run(other, true)).await?).await?.token.context("no token")?;
        ensure!(second.fence > first.fence && second.guards != first.guards, "{second:?} after {first:?}");
        let told = event(&mut watching).await?;
        assert_eq!((told.cause(), told.previous_leader.as_str()), (Cause::TakenOver, "host-7"));
        for (token, passes) in [(&first, false), (&second, true)] {
            let put = PutRequest { key: "data".into(), value: "x".into(), ..Default::default() };
            let success = vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }];
            let txn = TxnRequest { compare: token.guards.clone(), success, ..Default::default() };
            assert_eq!(client.kv().txn(txn).await?.succeeded, passes, "fence {}", token.fence);
        }
        // What the first one gives back late is not the second one's; nor does it find its place
        // again.
        let late = LeaveRequest { caller: by(one), election: named(E), candidate: "host-7".into(), instance: None };
        ensure!(!at.leave(late.clone()).await?.into_inner().changed);
        assert_eq!(at.enter(of(one)).await.err().context("it was taken over")?.code(), Code::AlreadyExists);
        ensure!(at.leave(LeaveRequest { caller: by(other), ..late }).await?.into_inner().changed);
    }
    // In line too: the call of who is replaced ends, and says why.
    enter(&mut at, "a", one).await?;
    let mut waiting = campaign(&mut at, "host-7", one).await?;
    assert_eq!(before(&mut waiting).await?, 1);
    let refused = campaign(&mut there, "host-7", other).await.err().context("the first one waits")?;
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let enter = Some(EnterRequest { takeover: true, ..entering("host-7", other) });
    let mut replacing = campaign_for(&mut there, CampaignRequest { enter, ..Default::default() }).await?;
    assert_eq!(before(&mut replacing).await?, 1);
    let replaced = ending(&mut waiting).await?;
    assert_eq!(replaced.code(), Code::NotFound);
    assert_eq!(replaced.message(), "conclave: no longer a candidate (taken over)");
    silent(&mut replacing).await
}

#[tokio::test]
async fn a_second_instance_is_refused_or_takes_over() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let (client, mut at) = (cluster.client(0)?, elections(&cluster, 0).await?);
    let session = grant(&client, LASTING).await?;
    let of = |instance: &str| EnterRequest { instance: instance.into(), ..entering("a", session) };
    let first = at.enter(of("1")).await?.into_inner();
    enter(&mut at, "b", session).await?;
    let refused = at.enter(of("2")).await.expect_err("the first one lives");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let second = at.enter(EnterRequest { takeover: true, ..of("2") }).await?.into_inner();
    let (before, after) = (first.term.unwrap_or_default(), second.term.clone().unwrap_or_default());
    assert_eq!((second.standing(), after.seq), (Standing::Leads, before.seq + 1));
    assert!(after.id > before.id, "the first one is fenced out");
    assert_eq!(order(&term(&mut at).await?), ["a", "b"]);
    let tried = at.enter(EnterRequest { try_only: true, ..entering("c", session) }).await?.into_inner();
    assert_eq!((tried.standing(), tried.changed), (Standing::Absent, false));
    assert_eq!(order(&term(&mut at).await?), ["a", "b"]);
    Ok(())
}
