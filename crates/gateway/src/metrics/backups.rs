//! Backups that the cluster makes by itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// All 0 without `--backup-dir`.
#[derive(Debug, Default)]
pub struct BackupMetrics {
    /// Made by this member, verified.
    pub made: Counter,
    /// Attempts of this member that failed.
    pub failed: Counter,
    /// When any member made the last one: seconds since 1970.
    pub last_success: Gauge,
    /// Of the last one that this member made.
    pub last_seconds: Gauge<f64, AtomicU64>,
    pub last_bytes: Gauge,
    pub interval_seconds: Gauge,
}

impl BackupMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("conclave_backups", "Backups made by this member, and verified", self.made.clone());
        registry.register("conclave_backup_failures", "Backups that this member could not make", self.failed.clone());
        let last = "When the cluster's last backup was made, in seconds since 1970";
        registry.register("conclave_backup_last_success_timestamp_seconds", last, self.last_success.clone());
        let seconds = "Seconds that the last backup of this member took";
        registry.register("conclave_backup_last_duration_seconds", seconds, self.last_seconds.clone());
        registry.register("conclave_backup_last_size_bytes", "Its size", self.last_bytes.clone());
        let interval = "How often a backup is to be made, 0 for never";
        registry.register("conclave_backup_interval_seconds", interval, self.interval_seconds.clone());
    }
}
