//! The node as the pages see it.

use super::{MemberStatus, PlacementOf, Probe};
use crate::gateway::Gateway;
use crate::metrics::{Durations, Live, Metrics, PeerFigures};
use conclave_node::peer::traffic::Figures;
use conclave_state::placement::Preference;
use conclave_state::{AlarmKind, Fault, KeyRange, RangeQuery, read};
use conclave_storage::DurationHistogram;
use conclave_tls::Tls;
use futures::future::BoxFuture;
use std::time::Duration;

/// Long enough for a read-index round over a slow network, short enough for a probe's own deadline.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

impl Probe for Gateway {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn live(&self) -> Live {
        let leadership = self.node.leadership.current();
        let watches = self.watches.stats();
        Live {
            member_id: self.node.identity.member_id,
            versions: self.node.versions.now(),
            in_maintenance: placement_of(self).maintenance,
            leader_moves: self.node.moves.count(),
            has_leader: self.node.leadership.is_led(),
            is_learner: self.node.leadership.is_learner(),
            is_leader: leadership.leader == Some(self.node.identity.member_id),
            peers: self.node.peers.ids().into_iter().map(|id| peer(id, &self.node.peers.traffic().of(id))).collect(),
            proposals_failed: self.node.proposer.failed(),
            auth_revision: self.node.state.auth().revision(),
            leader_changes: self.node.leadership.leaders_seen(),
            committed_index: self.node.leadership.committed_index(),
            applied_index: self.node.state.applied_index(),
            pending: self.node.proposer.waiting().0 as u64,
            revision: self.node.state.revision(),
            compacted_revision: self.node.state.compacted(),
            keys: self.node.state.living_keys(),
            db_bytes: self.node.state.size_bytes(),
            db_in_use_bytes: self.node.state.size_in_use_bytes(),
            quota_bytes: self.node.config.quota_backend_bytes.unwrap_or(0),
            watch_streams: watches.streams as u64,
            watchers: watches.watchers as u64,
            slow_watchers: watches.behind as u64,
            watch_events: watches.delivered,
            leases: self.node.leases.len() as u64,
            queues: self.waiters.queues() as u64,
            log_bytes: self.node.log_size.bytes(),
            client_connections: self.connections.clients.open() as u64,
            peer_connections: self.connections.peers.open() as u64,
            connections_refused: self.connections.clients.refused() + self.connections.peers.refused(),
            disk_free_bytes: self.node.disk_space.free(),
            log_syncs: durations(&self.node.log_syncs),
            commits: durations(self.node.state.commits()),
            tls: self.tls.iter().map(Tls::figures).collect(),
            files: self.files.iter().map(|file| (file.name, (file.reloads)())).collect(),
        }
    }

    fn status(&self) -> MemberStatus {
        let leadership = self.node.leadership.current();
        let (now, digests) = self.node.state.digest_checkpoints();
        MemberStatus {
            name: self.node.identity.name.clone(),
            member_id: self.node.identity.member_id,
            cluster_id: self.node.identity.cluster_id,
            leader_id: leadership.leader.unwrap_or(0),
            term: leadership.term,
            committed_index: self.node.leadership.committed_index(),
            placement: placement_of(self),
            versions: self.node.versions.now(),
            now,
            digests,
        }
    }

    fn alarms(&self) -> Result<Vec<&'static str>, String> {
        let alarms = read::alarms(&self.node.state.view()).map_err(|fault| fault.to_string())?;
        let name = |kind| match kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        Ok(alarms.iter().map(|alarm| name(alarm.kind)).collect())
    }

    fn read(&self, linearizable: bool) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let range = KeyRange { key: "health".into(), end: "".into() };
            let query = RangeQuery { range, ..RangeQuery::default() };
            let read = self.node.reader.range(query, !linearizable);
            match tokio::time::timeout(READ_TIMEOUT, read).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(failure)) => Err(format!("{failure:?}")),
                Err(_) => Err(format!("no answer in {} s", READ_TIMEOUT.as_secs())),
            }
        })
    }
}

/// Of this member, as far as it has applied.
fn placement_of(gateway: &Gateway) -> PlacementOf {
    let node = &gateway.node;
    let (view, me) = (node.state.view(), node.identity.member_id);
    let read = || -> Result<PlacementOf, Fault> {
        let labels = read::labels(&view)?.into_iter().find(|(member, _)| *member == me).map(|(_, labels)| labels);
        let labels = labels.unwrap_or_default();
        let weight = match read::placement(&view)?.of(&node.identity.name, &labels) {
            Preference::Never => None,
            Preference::Weight(weight) => Some(weight),
        };
        Ok(PlacementOf { labels, maintenance: read::in_maintenance(&view)?.contains(&me), weight })
    };
    read().unwrap_or_else(|fault| {
        tracing::error!(%fault, "this member's placement cannot be read");
        PlacementOf::default()
    })
}

fn peer(id: u64, figures: &Figures) -> PeerFigures {
    PeerFigures {
        id,
        sent_bytes: figures.sent_bytes(),
        received_bytes: figures.received_bytes(),
        failures: figures.failures(),
        active: figures.active(),
        round_trips: durations(&figures.round_trips),
    }
}

fn durations(times: &DurationHistogram) -> Durations {
    let seconds = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
    Durations {
        sum_seconds: times.total().as_secs_f64(),
        buckets: times.buckets().map(|(bound, count)| (seconds(bound), count)).collect(),
    }
}
