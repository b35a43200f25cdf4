//! The audit log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// All 0 without `--audit-log`.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    pub written: Counter,
    /// They came faster than they could be written, or could not be written.
    pub dropped: Counter,
    pub bytes: Counter,
}

impl AuditMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("conclave_audit_records", "Records of the audit log written", self.written.clone());
        let dropped = "Records that are missing in the audit log: its queue or its disk was full";
        registry.register("conclave_audit_records_dropped", dropped, self.dropped.clone());
        registry.register("conclave_audit_bytes", "Bytes of the audit log written", self.bytes.clone());
    }
}
