//! `etcdserverpb.Cluster`: who the members are. Changing them is not possible yet, and said so.

use crate::gateway::Gateway;
use crate::service::admit;
use crate::status::{fault, not_read, text};
use conclave_api::etcdserverpb::cluster_server::Cluster;
use conclave_api::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};
use conclave_state::read;
use conclave_storage::types::MemberNode;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ClusterService(pub Arc<Gateway>);

/// The members of the configuration, with what those that have run tell about themselves.
///
/// A member that never ran has neither name nor client URLs: that is how etcd's tools know it as not started.
pub(super) fn join(configured: Vec<(u64, MemberNode, bool)>, announced: &[conclave_state::Member]) -> Vec<Member> {
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

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let gateway = &self.0;
        if admit(gateway, request)?.linearizable {
            gateway.node.reader.barrier().await.map_err(not_read)?;
        }
        let view = gateway.node.state.view();
        let announced = read::members(&view).map_err(fault)?;
        let members = join(gateway.node.leadership.members(), &announced);
        Ok(Response::new(MemberListResponse { header: Some(gateway.header(view.bounds().current)), members }))
    }

    async fn member_add(&self, _: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        Err(text::NO_MEMBERSHIP_CHANGE.into())
    }

    async fn member_remove(&self, _: Request<MemberRemoveRequest>) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(text::NO_MEMBERSHIP_CHANGE.into())
    }

    async fn member_update(&self, _: Request<MemberUpdateRequest>) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(text::NO_MEMBERSHIP_CHANGE.into())
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(text::NO_MEMBERSHIP_CHANGE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
