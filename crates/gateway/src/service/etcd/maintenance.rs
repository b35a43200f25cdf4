//! `etcdserverpb.Maintenance`: what a node tells about itself, alarms, and the hashes by which
//! members are compared.

use super::snapshot::{self, SnapshotStream};
use crate::ETCD_VERSION;
use crate::audit::{self, Subject};
use crate::convert::etcd as convert;
use crate::gateway::Gateway;
use crate::service::{admit, response, unexpected};
use crate::status::{fault, internal, not_proposed, not_read, rejected, text};
use conclave_api::etcdserverpb::alarm_request::AlarmAction;
use conclave_api::etcdserverpb::downgrade_request::DowngradeAction;
use conclave_api::etcdserverpb::maintenance_server::Maintenance;
use conclave_api::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeInfo, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    ResponseHeader, SnapshotRequest, StatusRequest, StatusResponse,
};
use conclave_state::{Alarm, AlarmChange, AlarmKind, ClusterVersion, Command, Response as Answer, read};
use conclave_storage::StateView;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct MaintenanceService(pub Arc<Gateway>);

/// The store's version as etcd's tools print it: major.minor of the wire that is spoken.
const STORAGE_VERSION: &str = "3.6";

impl MaintenanceService {
    /// Changed through the log, so that all members refuse from the same entry on.
    async fn change_alarm(&self, raise: bool, alarm: Alarm) -> Result<(i64, Vec<Alarm>), Status> {
        let command = Command::Alarm(AlarmChange { raise, alarm });
        let outcome = self.0.propose(command).await.map_err(not_proposed)?.outcome;
        let revision = outcome.revision;
        match response(outcome)? {
            Answer::Alarm { alarms } => Ok((revision, alarms)),
            other => Err(unexpected(&other)),
        }
    }

    async fn alarms(&self, kind: Option<AlarmKind>) -> Result<(i64, Vec<Alarm>), Status> {
        self.0.node.reader.barrier().await.map_err(not_read)?;
        let view = self.0.node.state.view();
        let mut alarms = read::alarms(&view).map_err(fault)?;
        alarms.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
        Ok((view.bounds().current, alarms))
    }

    fn troubles(&self, view: &StateView, led: bool) -> Result<Vec<String>, Status> {
        let mut troubles = vec![];
        if !led {
            troubles.push(text::NO_LEADER.message.to_owned());
        }
        for alarm in read::alarms(view).map_err(fault)? {
            troubles.push(convert::alarm_text(alarm));
        }
        Ok(troubles)
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = admit(&self.0, request)?;
        let (action, kind) = convert::alarm(&request)?;
        let (revision, alarms) = match (action, kind) {
            (AlarmAction::Get, kind) => self.alarms(kind).await?,
            (_, None) => (self.0.node.state.revision(), vec![]),
            (action, Some(kind)) => {
                let raise = action == AlarmAction::Activate;
                // Each one that is raised is kept, and listed with each status: no more of them
                // than members.
                if raise && !self.0.node.leadership.members().iter().any(|(id, ..)| *id == request.member_id) {
                    return Err(text::MEMBER_NOT_FOUND.into());
                }
                self.change_alarm(raise, Alarm { member: request.member_id, kind }).await?
            }
        };
        let alarms = alarms.into_iter().map(convert::alarm_member).collect();
        Ok(Response::new(AlarmResponse { header: Some(self.0.header(revision)), alarms }))
    }

    /// About this node alone, and answered in any condition: that is what it is for. Revision,
    /// applied index and alarms are of one view, leader and term of one look. A leader that this
    /// node has lost contact with is none, as etcd has it; so is this node itself when no quorum
    /// answers it any more.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let gateway = &self.0;
        let view = gateway.node.state.view();
        let (now, led) = (gateway.node.leadership.current(), gateway.node.leadership.is_led());
        let me = gateway.node.identity.member_id;
        let is_learner = gateway.node.leadership.members().into_iter().any(|(id, _, voter)| id == me && !voter);
        let header = ResponseHeader { raft_term: now.term, ..gateway.header(view.bounds().current) };
        let applied = view.applied_index();
        Ok(Response::new(StatusResponse {
            header: Some(header),
            version: ETCD_VERSION.to_owned(),
            db_size: size(gateway.node.state.size_bytes()),
            leader: now.leader.filter(|_| led).unwrap_or(0),
            // What is known of the commit is a little behind at times; what was applied was
            // committed.
            raft_index: gateway.node.leadership.committed_index().max(applied),
            raft_term: now.term,
            raft_applied_index: applied,
            errors: self.troubles(&view, led)?,
            db_size_in_use: size(gateway.node.state.size_in_use_bytes()),
            is_learner,
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: gateway.node.config.quota_backend_bytes.map_or(0, size),
            downgrade_info: Some(downgrade_info(gateway.node.versions.now())),
        }))
    }

    /// RocksDB gives back by itself, and without a stop, what compaction frees, so nobody needs
    /// this. Who asks all the same, because the store is over its quota or because maintenance jobs
    /// were written for etcd, has it done now; the node goes on serving.
    async fn defragment(&self, request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        admit(&self.0, request)?;
        let state = self.0.node.state.clone();
        self.0.node.defragment.run(move || state.compact_now()).await.map_err(internal)?;
        Ok(Response::new(DefragmentResponse { header: Some(self.0.header(self.0.node.state.revision())) }))
    }

    /// Of everything applied so far: equal on members that have applied as much.
    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        admit(&self.0, request)?;
        let meta = read::meta(&self.0.node.state.view()).map_err(fault)?;
        let hash = (meta.digest ^ (meta.digest >> 32)) as u32;
        Ok(Response::new(HashResponse { header: Some(self.0.header(meta.revision)), hash }))
    }

    /// Reads the whole history, so it leaves the event loop.
    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let revision = admit(&self.0, request)?.revision;
        let view = self.0.node.state.view();
        let bounds = view.bounds();
        let hashing = self.0.node.reader.long(move || read::hash_kv(&view, revision, bounds));
        let hashed = hashing.await.map_err(internal)?.map_err(fault)?.map_err(rejected)?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.0.header(bounds.current)),
            hash: hashed.hash,
            compact_revision: hashed.compacted,
            hash_revision: hashed.revision,
        }))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        let gateway = &self.0;
        let target = admit(gateway, request)?.target_id;
        audit::about(|| Subject::target(format!("{target:x}")));
        let me = gateway.node.identity.member_id;
        if gateway.node.leadership.current().leader != Some(me) {
            return Err(text::NOT_LEADER.into());
        }
        if !gateway.node.leadership.members().into_iter().any(|(id, _, voter)| id == target && voter) {
            return Err(text::BAD_LEADER_TRANSFEREE.into());
        }
        let in_maintenance = read::in_maintenance(&gateway.node.state.view()).map_err(fault)?;
        if in_maintenance.contains(&target) {
            return Err(text::IN_MAINTENANCE.into());
        }
        if target != me {
            gateway.node.transfer_leader(target).await.map_err(not_proposed)?;
        }
        Ok(Response::new(MoveLeaderResponse { header: Some(gateway.header(gateway.node.state.revision())) }))
    }

    type SnapshotStream = SnapshotStream;

    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        admit(&self.0, request)?;
        Ok(Response::new(snapshot::open(self.0.clone())))
    }

    /// About versions of Conclave: those of etcd that its tools name are no targets.
    async fn downgrade(&self, request: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        let request = admit(&self.0, request)?;
        audit::about(|| Subject::target(&request.version).with_detail(request.action().as_str_name()));
        let version = match request.action() {
            DowngradeAction::Validate => self.0.judge_downgrade(&request.version).await?,
            DowngradeAction::Enable => self.0.begin_downgrade(&request.version).await?,
            DowngradeAction::Cancel => self.0.cancel_downgrade().await?,
        };
        let header = Some(self.0.header(self.0.node.state.revision()));
        Ok(Response::new(DowngradeResponse { header, version: version.to_string() }))
    }
}

fn downgrade_info(now: ClusterVersion) -> DowngradeInfo {
    let target_version = now.downgrade.map(|target| target.to_string()).unwrap_or_default();
    DowngradeInfo { enabled: now.downgrade.is_some(), target_version }
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
