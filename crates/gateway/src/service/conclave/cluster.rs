//! `conclave.v1.Cluster`: what is known of members beyond etcd's Cluster, and which of them should
//! lead.

use crate::convert::conclave::placement as convert;
use crate::gateway::Gateway;
use crate::service::{admit, response, unexpected};
use crate::status::{fault, not_proposed, not_read, text};
use conclave_api::conclave::v1::cluster_server::Cluster;
use conclave_api::conclave::v1::{
    GetPlacementRequest, GetPlacementResponse, ListMembersRequest, ListMembersResponse, MemberPlacement,
    SetMaintenanceRequest, SetMaintenanceResponse, SetPlacementRequest, SetPlacementResponse,
};
use conclave_node::membership::Members;
use conclave_state::placement::{Labels, Preference};
use conclave_state::{Command, PlacementChange, Response as Answer, View, read};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct ClusterService(pub Arc<Gateway>);

impl ClusterService {
    /// The members as all agree, or as this one knows them.
    async fn members(&self, serializable: bool) -> Result<Members, Status> {
        let node = &self.0.node;
        if serializable {
            return Ok(node.leadership.members());
        }
        node.reader.barrier().await.map_err(not_read)?;
        node.membership.applied().await.map_err(not_read)
    }

    async fn change(&self, change: PlacementChange) -> Result<i64, Status> {
        if !self.0.node.versions.has_placement() {
            return Err(text::PLACEMENT_TOO_NEW.into());
        }
        let command = Command::Placement(Box::new(change));
        let outcome = self.0.propose(command).await.map_err(not_proposed)?.outcome;
        let revision = outcome.revision;
        match response(outcome)? {
            Answer::Placement => Ok(revision),
            other => Err(unexpected(&other)),
        }
    }
}

/// What the state says of these members.
fn described<V: View>(members: Members, view: &V) -> Result<Vec<MemberPlacement>, Status> {
    let names: BTreeMap<u64, String> =
        read::members(view).map_err(fault)?.into_iter().map(|member| (member.id, member.name)).collect();
    let mut labels: BTreeMap<u64, Labels> = read::labels(view).map_err(fault)?.into_iter().collect();
    let maintenance = read::in_maintenance(view).map_err(fault)?;
    let policy = read::placement(view).map_err(fault)?;
    let mut all: Vec<MemberPlacement> = members
        .into_iter()
        .map(|(id, _, voter)| {
            let name = names.get(&id).cloned().unwrap_or_default();
            let labels = labels.remove(&id).unwrap_or_default();
            let (never, weight) = match policy.of(&name, &labels) {
                Preference::Never => (true, 0),
                Preference::Weight(weight) => (false, weight),
            };
            MemberPlacement {
                id,
                name,
                labels: labels.into_iter().collect(),
                maintenance: maintenance.contains(&id),
                never,
                weight,
                is_learner: !voter,
            }
        })
        .collect();
    all.sort_unstable_by_key(|member| member.id);
    Ok(all)
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let members = self.members(admit(&self.0, request)?.serializable).await?;
        let leadership = &self.0.node.leadership;
        let leader = leadership.current().leader.filter(|_| leadership.is_led()).unwrap_or(0);
        let members = described(members, &self.0.node.state.view())?;
        Ok(Response::new(ListMembersResponse { header: Some(self.0.header(0)), members, leader }))
    }

    async fn set_maintenance(
        &self,
        request: Request<SetMaintenanceRequest>,
    ) -> Result<Response<SetMaintenanceResponse>, Status> {
        let SetMaintenanceRequest { member, on } = admit(&self.0, request)?;
        if !self.members(false).await?.iter().any(|(id, ..)| *id == member) {
            return Err(text::MEMBER_NOT_FOUND.into());
        }
        let revision = self.change(PlacementChange::Maintenance { member, on }).await?;
        Ok(Response::new(SetMaintenanceResponse { header: Some(self.0.header(revision)) }))
    }

    async fn get_placement(
        &self,
        request: Request<GetPlacementRequest>,
    ) -> Result<Response<GetPlacementResponse>, Status> {
        if !admit(&self.0, request)?.serializable {
            self.0.node.reader.barrier().await.map_err(not_read)?;
        }
        let view = self.0.node.state.view();
        let placement = Some(convert::message(read::placement(&view).map_err(fault)?));
        Ok(Response::new(GetPlacementResponse { header: Some(self.0.header(view.bounds().current)), placement }))
    }

    async fn set_placement(
        &self,
        request: Request<SetPlacementRequest>,
    ) -> Result<Response<SetPlacementResponse>, Status> {
        let placement = admit(&self.0, request)?.placement.unwrap_or_default();
        let policy = convert::policy(placement).map_err(Status::invalid_argument)?;
        let revision = self.change(PlacementChange::Policy(policy)).await?;
        Ok(Response::new(SetPlacementResponse { header: Some(self.0.header(revision)) }))
    }
}
