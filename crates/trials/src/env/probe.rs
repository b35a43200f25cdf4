//! Requests of the harness itself, from its own host, which faults never touch.
//!
//! 1. The runtime's threads are born in that host's namespace, so every socket they make is in it.

use super::netns::inside;
use anyhow::{Context, Result, anyhow, bail};
use conclave_api::etcdserverpb::{
    CompactionRequest, Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    RangeRequest, StatusRequest, cluster_client::ClusterClient, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::mpsc, time::Duration};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub member_id: u64,
    /// 0 if it knows none.
    pub leader_id: u64,
    pub term: u64,
    pub revision: i64,
    pub raft_index: u64,
    pub applied: u64,
    pub db_size: i64,
    pub errors: Vec<String>,
}

/// A change of the members.
#[derive(Clone, Debug)]
pub(crate) enum AskMember {
    Add { peer: String, learner: bool },
    Promote { id: u64 },
    Remove { id: u64 },
}

#[derive(Debug)]
pub(crate) struct Probe {
    runtime: Option<Runtime>,
    channels: Vec<Channel>,
}

impl Probe {
    pub(crate) fn start(netns: Option<&Path>, endpoints: Vec<String>) -> Result<Self> {
        let build = move || -> Result<(Runtime, Vec<Channel>)> {
            let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("probe").enable_all().build()?;
            let connect = |url: String| Ok(Endpoint::try_from(url)?.connect_timeout(PATIENCE).connect_lazy());
            let inner = runtime.enter();
            let channels = endpoints.into_iter().map(connect).collect::<Result<_>>()?;
            drop(inner);
            Ok((runtime, channels))
        };
        let (runtime, channels) = inside(netns, build)?.join().map_err(|_| anyhow!("the probe did not start"))??;
        Ok(Self { runtime: Some(runtime), channels })
    }

    /// What each node says; none for those that do not answer in time.
    pub(crate) fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let asked = self.channels.iter().map(|channel| {
            let mut client = MaintenanceClient::new(channel.clone());
            self.ask(PATIENCE, async move {
                let status = client.status(StatusRequest::default()).await?.into_inner();
                let header = status.header.context("a status without header")?;
                Ok(NodeStatus {
                    member_id: header.member_id,
                    leader_id: status.leader,
                    term: status.raft_term,
                    revision: header.revision,
                    raft_index: status.raft_index,
                    applied: status.raft_applied_index,
                    db_size: status.db_size,
                    errors: status.errors,
                })
            })
        });
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|answer| answer.recv().ok()?.ok()).collect()
    }

    /// A linearizable read of nothing; returns the revision.
    pub(crate) fn read(&self, node: usize, bound: Duration) -> Result<i64> {
        let mut client = KvClient::new(self.channels.get(node).context("no such node")?.clone());
        let answer = self.ask(bound, async move {
            let request = RangeRequest { key: "nothing".into(), ..Default::default() };
            let response = client.range(request).await?.into_inner();
            Ok(response.header.context("a response without header")?.revision)
        });
        answer.recv()?
    }

    pub(crate) fn compact(&self, node: usize, revision: i64) -> Result<()> {
        let mut client = KvClient::new(self.channels.get(node).context("no such node")?.clone());
        let answer = self.ask(PATIENCE, async move {
            client.compact(CompactionRequest { revision, ..Default::default() }).await?;
            Ok(())
        });
        answer.recv()?
    }

    /// A linearizable read of nothing; returns the id of the member that answered it.
    pub(crate) fn who_answers(&self, node: usize, bound: Duration) -> Result<u64> {
        let mut client = KvClient::new(self.channels.get(node).context("no such node")?.clone());
        let answer = self.ask(bound, async move {
            let request = RangeRequest { key: "nothing".into(), ..Default::default() };
            let response = client.range(request).await?.into_inner();
            Ok(response.header.context("a response without header")?.member_id)
        });
        answer.recv()?
    }

    /// The members by a linearizable read through a node.
    pub(crate) fn members(&self, node: usize, bound: Duration) -> Result<Vec<Member>> {
        let mut client = ClusterClient::new(self.channels.get(node).context("no such node")?.clone());
        let answer = self.ask(bound, async move {
            let response = client.member_list(MemberListRequest { linearizable: true }).await?;
            Ok(response.into_inner().members)
        });
        answer.recv()?
    }

    /// Asks a node for a change of the members, once; returns the id of the member that it is
    /// about.
    pub(crate) fn change(&self, node: usize, ask: &AskMember, bound: Duration) -> Result<u64> {
        let mut client = ClusterClient::new(self.channels.get(node).context("no such node")?.clone());
        let ask = ask.clone();
        let answer = self.ask(bound, async move {
            match ask {
                AskMember::Add { peer, learner } => {
                    let request = MemberAddRequest { peer_ur_ls: vec![peer], is_learner: learner };
                    let response = client.member_add(request).await?.into_inner();
                    Ok(response.member.context("an addition without a member")?.id)
                }
                AskMember::Promote { id } => {
                    client.member_promote(MemberPromoteRequest { id }).await?;
                    Ok(id)
                }
                AskMember::Remove { id } => {
                    client.member_remove(MemberRemoveRequest { id }).await?;
                    Ok(id)
                }
            }
        });
        answer.recv()?
    }

    fn ask<T: Send + 'static>(
        &self,
        bound: Duration,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> mpsc::Receiver<Result<T>> {
        let (answer, receiver) = mpsc::channel();
        let Some(runtime) = &self.runtime else { return receiver };
        runtime.spawn(async move {
            let result = match tokio::time::timeout(bound, request).await {
                Ok(result) => result,
                Err(_) => (|| bail!("no answer within {bound:?}"))(),
            };
            // The caller may have gone.
            let _ = answer.send(result);
        });
        receiver
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The owner may be in a context that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
