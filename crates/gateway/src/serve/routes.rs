//! The client services, and tonic's router with all of them.

use crate::gateway::Gateway;
use crate::service::conclave::{claims, cluster as placement, elections, locks, sessions};
use crate::service::etcd::{auth, cluster, election, kv, lease, lock, maintenance, watch};
use conclave_api::conclave::v1::claims_server::ClaimsServer;
use conclave_api::conclave::v1::cluster_server::ClusterServer as PlacementServer;
use conclave_api::conclave::v1::elections_server::ElectionsServer;
use conclave_api::conclave::v1::locks_server::LocksServer;
use conclave_api::conclave::v1::sessions_server::SessionsServer;
use conclave_api::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
    maintenance_server::MaintenanceServer,
};
use conclave_api::v3electionpb::election_server::ElectionServer;
use conclave_api::v3lockpb::lock_server::LockServer;
use std::sync::Arc;
use tonic::service::Routes;

/// The services that have methods which are called without the router.
pub(super) struct Services {
    pub(super) kv: Arc<kv::KvService>,
    pub(super) lease: Arc<lease::LeaseService>,
    pub(super) lock: Arc<lock::LockService>,
    pub(super) election: Arc<election::ElectionService>,
    pub(super) elections: Arc<elections::ElectionsService>,
    pub(super) locks: Arc<locks::LocksService>,
    /// The largest message of theirs.
    pub(super) max_message: usize,
}

impl Services {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Services {
        Services {
            kv: Arc::new(kv::KvService::new(gateway.clone())),
            lease: Arc::new(lease::LeaseService::new(gateway.clone())),
            lock: Arc::new(lock::LockService::new(gateway.clone())),
            election: Arc::new(election::ElectionService::new(gateway.clone())),
            elections: Arc::new(elections::ElectionsService::new(gateway.clone())),
            locks: Arc::new(locks::LocksService::new(gateway.clone())),
            max_message: gateway.node.config.max_message(),
        }
    }

    /// Every service of the client addresses.
    pub(super) fn routes(&self, gateway: &Arc<Gateway>) -> Routes {
        let max = self.max_message;
        let (health, health_server) = tonic_health::server::health_reporter();
        let mut routes = Routes::builder();
        routes
            .add_service(KvServer::from_arc(self.kv.clone()).max_decoding_message_size(max))
            .add_service(watch::WatchServer::new(gateway.clone()))
            .add_service(LeaseServer::from_arc(self.lease.clone()))
            .add_service(LockServer::from_arc(self.lock.clone()).max_decoding_message_size(max))
            .add_service(ElectionServer::from_arc(self.election.clone()).max_decoding_message_size(max))
            .add_service(ElectionsServer::from_arc(self.elections.clone()).max_decoding_message_size(max))
            .add_service(ClusterServer::new(cluster::ClusterService(gateway.clone())))
            .add_service(MaintenanceServer::new(maintenance::MaintenanceService(gateway.clone())))
            .add_service(AuthServer::new(auth::AuthService(gateway.clone())))
            .add_service(SessionsServer::new(sessions::SessionsService::new(gateway.clone())))
            .add_service(ClaimsServer::new(claims::ClaimsService::new(gateway.clone())).max_decoding_message_size(max))
            .add_service(LocksServer::from_arc(self.locks.clone()).max_decoding_message_size(max))
            .add_service(PlacementServer::new(placement::ClusterService(gateway.clone())))
            .add_service(health_server);
        // Older tools know the alpha version alone; both are the same service.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => drop(routes.add_service(v1).add_service(v1alpha)),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "no reflection: the descriptors cannot be read");
            }
        }
        tokio::spawn(report_health(health, gateway.clone()));
        routes.routes().prepare()
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(conclave_api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Healthy while a leader is known and the node is not stopping.
async fn report_health(health: tonic_health::server::HealthReporter, gateway: Arc<Gateway>) {
    use tonic_health::ServingStatus;
    let mut contact = gateway.node.leadership.contact();
    loop {
        let led = *contact.borrow_and_update() && !gateway.node.stopping.is_cancelled();
        let status = if led { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if gateway.node.stopping.is_cancelled() {
            return;
        }
        tokio::select! {
            changed = contact.changed() => if changed.is_err() { return },
            () = gateway.node.stopping.cancelled() => {}
        }
    }
}
