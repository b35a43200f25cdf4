//! What the node tells in numbers, under etcd's metric names where they mean the same.
//!
//! Counting is one relaxed atomic addition; nothing is formatted, looked up or locked outside a scrape. Only what nobody else knows
//! is counted here. Everything that exists anyway (revision, sizes, leadership, watchers, how long syncs took) is read from its
//! owner at each scrape and handed in as [`Live`].

mod grpc;
mod process;
mod tls;

pub use grpc::{CallMetrics, CountedBody, GrpcMetrics, GrpcMetricsLayer, GrpcMetricsService, MethodMetrics};

use conclave_tls::Figures;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters. Requests count by their kind; the operations inside a transaction are not counted again.
#[derive(Debug)]
pub struct Metrics {
    pub range_total: Counter,
    pub put_total: Counter,
    pub delete_total: Counter,
    pub txn_total: Counter,
    /// Snapshots sent to their end.
    pub snapshots: Counter,
    pub snapshot_bytes: Counter,
    pub grpc: GrpcMetrics,
    process: process::ProcessMetrics,
    registry: Registry,
}

/// Numbers read from the node for one scrape.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub member_id: u64,
    pub has_leader: bool,
    pub is_leader: bool,
    pub is_learner: bool,
    pub leader_changes: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    /// Commands of this node's clients that have no outcome yet.
    pub pending: u64,
    pub revision: i64,
    pub compacted_revision: i64,
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
    /// One for each kind of port that has TLS.
    pub tls: Vec<Figures>,
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
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            range_total: Counter::default(),
            put_total: Counter::default(),
            delete_total: Counter::default(),
            txn_total: Counter::default(),
            snapshots: Counter::default(),
            snapshot_bytes: Counter::default(),
            grpc: GrpcMetrics::default(),
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
        metrics.grpc.register(&mut registry);
        metrics.process.register(&mut registry);
        metrics.registry = registry;
        metrics
    }

    /// The whole page, in the OpenMetrics text format.
    pub fn render(&self, live: Live) -> String {
        self.process.refresh();
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)
            .and_then(|()| encode_registry(&mut page, &live.registry()))
            .and_then(|()| encode_eof(&mut page))
            .expect("writing to a String does not fail");
        page
    }
}

impl Live {
    /// The encoder ends a counter's name with `_total`; some of etcd's gauges are called so too.
    fn registry(self) -> Registry {
        let mut registry = Registry::default();
        let mut counter = |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
        counter("etcd_server_leader_changes_seen", "Leaders of the cluster seen by this member", self.leader_changes);
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
        gauge("conclave_leases", "Leases", self.leases);
        gauge("conclave_log_bytes", "Bytes of the entries in the log, about", self.log_bytes);
        gauge("conclave_client_connections", "Open connections of clients", self.client_connections);
        gauge("conclave_peer_connections", "Open connections of other members", self.peer_connections);
        gauge("conclave_disk_free_bytes", "Bytes left on the disk of the data directory", self.disk_free_bytes);
        gauge("conclave_queues_waited_in", "Elections and locks that somebody waits for here", self.queues);

        let mut signed = |name: &str, help: &str, value: i64| registry.register(name, help, ConstGauge::new(value));
        signed("etcd_debugging_mvcc_current_revision", "Revision of the store", self.revision);
        signed("etcd_debugging_mvcc_compact_revision", "Compacted revision", self.compacted_revision);

        let member = Family::<Vec<(&str, String)>, Gauge>::default();
        member.get_or_create(&vec![("server_id", format!("{:x}", self.member_id))]).set(1);
        registry.register("etcd_server_id", "This member", member);
        let syncs = "Seconds that one sync of the log took";
        registry.register("etcd_disk_wal_fsync_duration_seconds", syncs, self.log_syncs);
        tls::register(&mut registry, &self.tls);
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_names() {
        let metrics = Metrics::new();
        metrics.put_total.inc();
        let log_syncs = Durations { sum_seconds: 0.5, buckets: vec![(0.001, 2), (f64::INFINITY, 1)] };
        let live = Live { member_id: 0xab, has_leader: true, applied_index: 7, log_syncs, ..Live::default() };
        let page = metrics.render(live);
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_is_leader 0",
            "etcd_server_is_learner 0",
            "etcd_mvcc_put_total 1",
            "etcd_mvcc_txn_total 0",
            "etcd_server_leader_changes_seen_total 0",
            "etcd_server_proposals_applied_total 7",
            "etcd_server_id{server_id=\"ab\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_count 3",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 2",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 3",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is missing in\n{page}");
        }
        assert_eq!(page.matches("# EOF").count(), 1);
    }
}
