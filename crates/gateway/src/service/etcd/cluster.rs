//! `etcdserverpb.Cluster`: who the members are, and changes of them.

use crate::audit::{self, Subject};
use crate::gateway::Gateway;
use crate::service::{admit, response};
use crate::status::{fault, not_changed, not_proposed, not_read, text};
use conclave_api::etcdserverpb::cluster_server::Cluster;
use conclave_api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
    ResponseHeader,
};
use conclave_node::membership::{Change, Members};
use conclave_state::{Command, PromoteWhenReady, read};
use std::sync::Arc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

/// Sent with MemberPromote: promote the learner once it is in sync, and answer now.
const WHEN_READY: &str = "conclave-when-ready";
/// Sent with the answer that there is no such member: there was one.
const WAS_REMOVED: &str = "conclave-was-removed";

pub struct ClusterService(pub Arc<Gateway>);

/// The members of the configuration, with what those that have run tell about themselves.
///
/// A member that never ran has neither name nor client URLs: that is how etcd's tools know it as
/// not started.
pub(super) fn join(configured: Members, announced: &[conclave_state::Member]) -> Vec<Member> {
    let mut members: Vec<Member> = configured
        .into_iter()
        .map(|(id, gateway, voter)| {
            let told = announced.iter().find(|member| member.id == id);
            Member {
                id,
                name: told.map(|member| member.name.clone()).unwrap_or_default(),
                peer_ur_ls: gateway.peer_urls,
                client_ur_ls: told.map(|member| member.client_urls.clone()).unwrap_or_default(),
                is_learner: !voter,
            }
        })
        .collect();
    members.sort_unstable_by_key(|member| member.id);
    members
}

impl ClusterService {
    /// As of this membership, with what this member knows of its members.
    fn list(&self, members: Members) -> Result<Vec<Member>, Status> {
        let announced = read::members(&self.0.node.state.view()).map_err(fault)?;
        Ok(join(members, &announced))
    }

    /// Answers without a revision, as etcd: members are none of the store's.
    fn header(&self) -> ResponseHeader {
        self.0.header(0)
    }

    /// Has the leader promote a learner once it is in sync. Returns all members.
    async fn promote_when_ready(&self, member: u64) -> Result<Vec<Member>, Status> {
        let gateway = &self.0;
        audit::about(|| Subject::target(format!("{member:x}")).with_detail("when ready"));
        gateway.node.reader.barrier().await.map_err(not_read)?;
        let members = gateway.node.membership.applied().await.map_err(not_read)?;
        match members.iter().find(|(id, ..)| *id == member) {
            None => return Err(text::MEMBER_NOT_FOUND.into()),
            Some((.., true)) => return Err(text::MEMBER_NOT_LEARNER.into()),
            Some(_) => {}
        }
        let wish = PromoteWhenReady { member, wanted: true };
        let proposed = gateway.propose(Command::PromoteWhenReady(wish)).await.map_err(not_proposed)?;
        response(proposed.outcome)?;
        self.list(members)
    }

    /// Tells one that was a member from one that never was, beside etcd's words.
    async fn say_if_removed(&self, id: u64, mut status: Status) -> Result<Status, Status> {
        self.0.node.reader.barrier().await.map_err(not_read)?;
        if read::was_removed(&self.0.node.state.view(), id).map_err(fault)? {
            status.metadata_mut().insert(WAS_REMOVED, MetadataValue::from_static("true"));
        }
        Ok(status)
    }

    /// Makes a change. Returns the member that it was about, if it is still one, and all members
    /// after it.
    async fn change(&self, change: Change) -> Result<(Option<Member>, Vec<Member>), Status> {
        audit::about(|| subject(&change));
        let changed = self.0.node.membership.change(change).await.map_err(not_changed)?;
        let members = self.list(changed.members())?;
        Ok((members.iter().find(|member| member.id == changed.id).cloned(), members))
    }
}

/// What the audit log says of a change.
fn subject(change: &Change) -> Subject {
    let member = |id: &u64| Subject::target(format!("{id:x}"));
    match change {
        Change::Add { peer_urls, learner } => {
            Subject::target(peer_urls.join(",")).with_detail(if *learner { "learner" } else { "" })
        }
        Change::Remove { id } | Change::Promote { id } => member(id),
        Change::Update { id, peer_urls } => member(id).with_detail(peer_urls.join(",")),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let gateway = &self.0;
        let members = if admit(gateway, request)?.linearizable {
            gateway.node.reader.barrier().await.map_err(not_read)?;
            gateway.node.membership.applied().await.map_err(not_read)?
        } else {
            gateway.node.leadership.members()
        };
        let members = self.list(members)?;
        Ok(Response::new(MemberListResponse { header: Some(self.header()), members }))
    }

    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls: peer_urls, is_learner: learner, .. } = admit(&self.0, request)?;
        let (member, members) = self.change(Change::Add { peer_urls, learner }).await?;
        Ok(Response::new(MemberAddResponse { header: Some(self.header()), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let id = admit(&self.0, request)?.id;
        let removed = self.change(Change::Remove { id }).await;
        let (_, members) = match removed {
            Ok(removed) => removed,
            Err(status) if status.code() == Code::NotFound => return Err(self.say_if_removed(id, status).await?),
            Err(status) => return Err(status),
        };
        Ok(Response::new(MemberRemoveResponse { header: Some(self.header()), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls: peer_urls } = admit(&self.0, request)?;
        let (_, members) = self.change(Change::Update { id, peer_urls }).await?;
        Ok(Response::new(MemberUpdateResponse { header: Some(self.header()), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let when_ready = request.metadata().contains_key(WHEN_READY);
        let id = admit(&self.0, request)?.id;
        let members = match when_ready {
            true => self.promote_when_ready(id).await?,
            false => self.change(Change::Promote { id }).await?.1,
        };
        Ok(Response::new(MemberPromoteResponse { header: Some(self.header()), members }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_storage::types::MemberNode;

    #[test]
    fn a_member_that_never_ran_has_no_name_and_no_client_urls() {
        let peer = |name: &str| MemberNode { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] };
        let configured = vec![(9, peer("b"), true), (3, peer("a"), false)];
        let announced = [conclave_state::Member { id: 9, name: "b".into(), client_urls: vec!["http://b:2379".into()] }];
        let members = join(configured, &announced);
        assert_eq!(members.iter().map(|m| (m.id, m.is_learner)).collect::<Vec<_>>(), [(3, true), (9, false)]);
        assert_eq!((&*members[0].name, members[0].client_ur_ls.len()), ("", 0));
        assert_eq!(members[0].peer_ur_ls, ["http://a:2380"]);
        assert_eq!((&*members[1].name, &members[1].client_ur_ls[..]), ("b", &["http://b:2379".to_string()][..]));
    }
}
