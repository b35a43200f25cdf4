//! What the node tells in numbers, under etcd's metric names where they mean the same.
//!
//! Counting is one relaxed atomic addition; nothing is formatted, looked up or locked outside a
//! scrape. Only what nobody else knows is counted here. Everything that exists anyway (revision,
//! sizes, leadership, watchers, how long syncs took) is read from its owner at each scrape and
//! handed in as [`Live`].

mod audit;
mod backups;
mod files;
mod grpc;
mod limits;
mod peers;
mod process;
mod text;
mod tls;

pub use audit::AuditMetrics;
pub use backups::BackupMetrics;
pub use limits::LimitMetrics;
pub use peers::PeerFigures;

pub use grpc::{CallMetrics, CountedBody, GrpcMetrics, GrpcMetricsLayer, GrpcMetricsService, MethodMetrics};

use crate::ETCD_VERSION;
use conclave_state::ClusterVersion;
use conclave_tls::{Figures, Reloads};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format, which everybody reads.
    Text,
    OpenMetrics,
}

impl Exposition {
    /// What a client asks for. The default is the text format, as in etcd.
    #[must_use]
    pub fn asked_for(accept: Option<&str>) -> Exposition {
        let takes = |kind: &str| {
            let mut parts = kind.split(';').map(str::trim);
            let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
            parts.next() == Some("application/openmetrics-text") && !parts.any(refused)
        };
        match accept.is_some_and(|accept| accept.split(',').any(takes)) {
            true => Exposition::OpenMetrics,
            false => Exposition::Text,
        }
    }

    /// The content type of [`Metrics::render`].
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Bytes of all connections of clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientBytes {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

/// The counters. Requests count by their kind; the operations inside a transaction are not counted
/// again.
#[derive(Debug)]
pub struct Metrics {
    pub range_total: Counter,
    pub put_total: Counter,
    pub delete_total: Counter,
    pub txn_total: Counter,
    /// Snapshots sent to their end.
    pub snapshots: Counter,
    pub snapshot_bytes: Counter,
    pub audit: AuditMetrics,
    pub limits: LimitMetrics,
    pub backups: BackupMetrics,
    /// Answers of `/health`.
    pub health_success: Counter,
    pub health_failures: Counter,
    /// Asked for by clients of this member.
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub(crate) client_bytes: ClientBytes,
    pub grpc: GrpcMetrics,
    process: process::ProcessMetrics,
    registry: Registry,
}

/// Numbers read from the node for one scrape.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub member_id: u64,
    /// Of Conclave: the cluster's version.
    pub versions: ClusterVersion,
    pub has_leader: bool,
    pub is_leader: bool,
    pub is_learner: bool,
    pub leader_changes: u64,
    pub in_maintenance: bool,
    /// Leadership that this member handed over for the policy of placement or for maintenance.
    pub leader_moves: u64,
    /// The other members.
    pub peers: Vec<PeerFigures>,
    /// Commands of this node's clients that ended without an outcome.
    pub proposals_failed: u64,
    pub auth_revision: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    /// Commands of this node's clients that have no outcome yet.
    pub pending: u64,
    pub revision: i64,
    pub compacted_revision: i64,
    /// Keys that are alive. `None`: they are being counted.
    pub keys: Option<u64>,
    pub db_bytes: u64,
    pub db_in_use_bytes: u64,
    /// 0: no limit.
    pub quota_bytes: u64,
    pub watch_streams: u64,
    pub watchers: u64,
    /// Watchers that are reading history.
    pub slow_watchers: u64,
    pub watch_events: u64,
    pub leases: u64,
    /// Names that somebody waits for on this node.
    pub queues: u64,
    pub log_bytes: u64,
    pub client_connections: u64,
    pub peer_connections: u64,
    /// Closed, or not taken, because file descriptors ran out.
    pub connections_refused: u64,
    /// Of the data directory's disk.
    pub disk_free_bytes: u64,
    pub log_syncs: Durations,
    /// Of what was applied.
    pub commits: Durations,
    /// One for each kind of port that has TLS.
    pub tls: Vec<Figures>,
    /// Other files that are followed, by their names.
    pub files: Vec<(&'static str, Reloads)>,
}

/// A histogram that somebody else counts.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    pub sum_seconds: f64,
    /// Upper bound in seconds (the last is infinite) and number, not accumulated.
    pub buckets: Vec<(f64, u64)>,
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum_seconds, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(false)
    }
}

impl Metrics {
    /// With the histograms of `--metrics extensive` if `extensive`.
    pub fn new(extensive: bool) -> Metrics {
        let mut metrics = Metrics {
            range_total: Counter::default(),
            put_total: Counter::default(),
            delete_total: Counter::default(),
            txn_total: Counter::default(),
            snapshots: Counter::default(),
            snapshot_bytes: Counter::default(),
            audit: AuditMetrics::default(),
            limits: LimitMetrics::default(),
            backups: BackupMetrics::default(),
            grpc: GrpcMetrics::new(extensive),
            health_success: Counter::default(),
            health_failures: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            client_bytes: ClientBytes::default(),
            process: process::ProcessMetrics::default(),
            registry: Registry::default(),
        };
        let mut registry = Registry::default();
        let mut counter = |name: &str, help: &str, metric: &Counter| registry.register(name, help, metric.clone());
        counter("etcd_mvcc_range", "Range requests received", &metrics.range_total);
        counter("etcd_mvcc_put", "Put requests received", &metrics.put_total);
        counter("etcd_mvcc_delete", "DeleteRange requests received", &metrics.delete_total);
        counter("etcd_mvcc_txn", "Txn requests received", &metrics.txn_total);
        counter("conclave_snapshots", "Snapshots sent to their end", &metrics.snapshots);
        counter("conclave_snapshot_sent_bytes", "Bytes of snapshots sent", &metrics.snapshot_bytes);
        let bytes = &metrics.client_bytes;
        counter("etcd_network_client_grpc_received_bytes", "Bytes from clients, HTTP among them", &bytes.received);
        counter("etcd_network_client_grpc_sent_bytes", "Bytes to clients, HTTP among them", &bytes.sent);
        counter("etcd_server_health_success", "Answers of /health that all is well", &metrics.health_success);
        counter("etcd_server_health_failures", "Answers of /health that something is wrong", &metrics.health_failures);
        counter("etcd_debugging_lease_granted", "Leases granted to clients of this member", &metrics.leases_granted);
        counter("etcd_debugging_lease_revoked", "Leases revoked by clients of this member", &metrics.leases_revoked);
        metrics.audit.register(&mut registry);
        metrics.limits.register(&mut registry);
        metrics.backups.register(&mut registry);
        metrics.grpc.register(&mut registry);
        register_versions(&mut registry);
        metrics.process.register(&mut registry);
        metrics.registry = registry;
        metrics
    }

    /// The whole page.
    pub fn render(&self, live: Live, exposition: Exposition) -> String {
        self.process.refresh();
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)
            .and_then(|()| encode_registry(&mut page, &live.registry()))
            .and_then(|()| encode_eof(&mut page))
            .expect("writing to a String does not fail");
        match exposition {
            Exposition::OpenMetrics => page,
            Exposition::Text => text::of_openmetrics(&page),
        }
    }
}

/// What dashboards tell versions by.
fn register_versions(registry: &mut Registry) {
    let mut version = |name: &str, help: &str, label: &'static str, value: &str| {
        let family = Family::<Vec<(&str, String)>, Gauge>::default();
        family.get_or_create(&vec![(label, value.to_owned())]).set(1);
        registry.register(name, help, family);
    };
    let minor = ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(minor, _)| minor);
    version("etcd_server_version", "The version of etcd whose API is served", "server_version", ETCD_VERSION);
    version("etcd_cluster_version", "The version of etcd that the cluster is", "cluster_version", minor);
    version("conclave_build_info", "The version of Conclave", "version", env!("CARGO_PKG_VERSION"));
}

impl Live {
    /// The encoder ends a counter's name with `_total`; some of etcd's gauges are called so too.
    fn registry(self) -> Registry {
        let mut registry = Registry::default();
        let mut counter = |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
        counter("etcd_server_leader_changes_seen", "Leaders of the cluster seen by this member", self.leader_changes);
        counter("conclave_leader_moves", "Leadership handed over for placement or maintenance", self.leader_moves);
        counter("etcd_server_proposals_failed", "Commands that ended without an outcome", self.proposals_failed);
        let refused = "Connections closed or not taken because there were too many";
        counter("conclave_connections_refused", refused, self.connections_refused);
        counter("etcd_debugging_mvcc_events", "Events handed to watchers", self.watch_events);

        let mut gauge = |name: &str, help: &str, value: u64| registry.register(name, help, ConstGauge::new(value));
        gauge("etcd_server_has_leader", "Whether a leader is known", u64::from(self.has_leader));
        gauge("etcd_server_is_leader", "Whether this member leads", u64::from(self.is_leader));
        gauge("etcd_server_is_learner", "Whether this member has no vote", u64::from(self.is_learner));
        gauge("etcd_server_proposals_committed_total", "Raft index of the last committed entry", self.committed_index);
        gauge("etcd_server_proposals_applied_total", "Raft index of the last applied entry", self.applied_index);
        gauge("etcd_server_proposals_pending", "Commands without an outcome yet", self.pending);
        gauge("etcd_server_quota_backend_bytes", "Limit of the state on disk, 0 for none", self.quota_bytes);
        gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state on disk", self.db_bytes);
        gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of live data in it", self.db_in_use_bytes);
        gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams", self.watch_streams);
        gauge("etcd_debugging_mvcc_watcher_total", "Watchers", self.watchers);
        gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that read history", self.slow_watchers);
        gauge("etcd_debugging_auth_revision", "Revision of users and roles", self.auth_revision);
        let maintenance = "Whether this member is in maintenance: it gives leadership away";
        gauge("conclave_member_in_maintenance", maintenance, u64::from(self.in_maintenance));
        gauge("conclave_leases", "Leases", self.leases);
        gauge("conclave_log_bytes", "Bytes of the entries in the log, about", self.log_bytes);
        gauge("conclave_client_connections", "Open connections of clients", self.client_connections);
        gauge("conclave_peer_connections", "Open connections of other members", self.peer_connections);
        gauge("conclave_disk_free_bytes", "Bytes left on the disk of the data directory", self.disk_free_bytes);
        gauge("conclave_queues_waited_in", "Elections and locks that somebody waits for here", self.queues);

        if let Some(keys) = self.keys {
            gauge("etcd_debugging_mvcc_keys_total", "Keys that are alive", keys);
        }

        let mut signed = |name: &str, help: &str, value: i64| registry.register(name, help, ConstGauge::new(value));
        signed("etcd_debugging_mvcc_current_revision", "Revision of the store", self.revision);
        signed("etcd_debugging_mvcc_compact_revision", "Compacted revision", self.compacted_revision);

        let member = Family::<Vec<(&str, String)>, Gauge>::default();
        member.get_or_create(&vec![("server_id", format!("{:x}", self.member_id))]).set(1);
        registry.register("etcd_server_id", "This member", member);
        let versions = Family::<Vec<(&str, String)>, Gauge>::default();
        versions.get_or_create(&vec![("cluster_version", self.versions.version().to_string())]).set(1);
        registry.register("conclave_cluster_version", "The version of Conclave that the cluster is", versions);
        let downgrading = ConstGauge::new(u64::from(self.versions.downgrade.is_some()));
        registry.register("conclave_downgrade_under_way", "Whether the cluster goes back to a version", downgrading);
        peers::register(&mut registry, self.member_id, self.peers);
        let commits = "Seconds that one write of the state took";
        registry.register("etcd_disk_backend_commit_duration_seconds", commits, self.commits);
        let syncs = "Seconds that one sync of the log took";
        registry.register("etcd_disk_wal_fsync_duration_seconds", syncs, self.log_syncs);
        tls::register(&mut registry, &self.tls);
        files::register(&mut registry, &self.files);
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_names() {
        let metrics = Metrics::default();
        metrics.put_total.inc();
        let log_syncs = Durations { sum_seconds: 0.5, buckets: vec![(0.001, 2), (f64::INFINITY, 1)] };
        let round_trips = log_syncs.clone();
        let peer = PeerFigures { id: 0xcd, sent_bytes: 5, round_trips, active: Some(true), ..PeerFigures::default() };
        let live = Live {
            member_id: 0xab,
            has_leader: true,
            applied_index: 7,
            keys: Some(3),
            log_syncs,
            peers: vec![peer],
            ..Live::default()
        };
        let page = metrics.render(live.clone(), Exposition::OpenMetrics);
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 0",
            "etcd_server_is_learner 0",
            "etcd_mvcc_put_total 1",
            "etcd_mvcc_txn_total 0",
            "etcd_server_leader_changes_seen_total 0",
            "etcd_server_proposals_applied_total 7",
            "etcd_debugging_mvcc_keys_total 3",
            "etcd_server_id{server_id=\"ab\"} 1",
            "etcd_network_known_peers{Local=\"ab\",Remote=\"cd\"} 1",
            "etcd_network_active_peers{Local=\"ab\",Remote=\"cd\"} 1",
            "etcd_network_peer_sent_bytes_total{To=\"cd\"} 5",
            "etcd_network_peer_received_bytes_total{From=\"cd\"} 0",
            "etcd_network_peer_sent_failures_total{To=\"cd\"} 0",
            "etcd_network_peer_round_trip_time_seconds_bucket{le=\"0.001\",To=\"cd\"} 2",
            "etcd_network_peer_round_trip_time_seconds_count{To=\"cd\"} 3",
            "etcd_disk_backend_commit_duration_seconds_count 0",
            "etcd_server_version{server_version=\"3.6.0\"} 1",
            "etcd_cluster_version{cluster_version=\"3.6\"} 1",
            "conclave_cluster_version{cluster_version=\"0.1\"} 1",
            "conclave_downgrade_under_way 0",
            "conclave_member_in_maintenance 0",
            "conclave_leader_moves_total 0",
            "etcd_server_health_failures_total 0",
            "etcd_server_proposals_failed_total 0",
            "etcd_disk_wal_fsync_duration_seconds_count 3",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 2",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 3",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is missing in\n{page}");
        }
        assert_eq!(page.matches("# EOF").count(), 1);
        let text = metrics.render(live, Exposition::Text);
        for line in [
            "# TYPE etcd_mvcc_put_total counter",
            "# TYPE etcd_server_has_leader gauge",
            "# TYPE etcd_server_proposals_applied_total gauge",
            "# TYPE etcd_disk_wal_fsync_duration_seconds histogram",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 3",
            "etcd_server_health_failures 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn the_form_is_what_was_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, form) in [
            (None, Exposition::Text),
            (Some("*/*"), Exposition::Text),
            (Some("text/plain"), Exposition::Text),
            (Some("application/openmetrics-text; q=0, text/plain"), Exposition::Text),
            (Some("application/openmetrics-text"), Exposition::OpenMetrics),
            (Some(prometheus), Exposition::OpenMetrics),
        ] {
            assert_eq!(Exposition::asked_for(accept), form, "{accept:?}");
        }
    }
}
