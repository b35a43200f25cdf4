//! The log as the rest of the gateway has it: nothing, or a queue.

use super::queue::{Queue, sink};
use super::record::Record;
use crate::metrics::AuditMetrics;
use conclave_node::config::{AuditConfig, AuditOutput};
use std::sync::Arc;

/// Cheap to clone. Nothing is recorded by default.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    member: Arc<str>,
    values: bool,
    queue: Queue,
}

impl Audit {
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub(crate) fn open(config: Option<&AuditConfig>, member: &str, metrics: &AuditMetrics) -> Result<Audit, String> {
        let Some(config) = config else { return Ok(Audit::default()) };
        let failed = |error: std::io::Error| match &config.output {
            AuditOutput::File { path, .. } => format!("--audit-log: {}: {error}", path.display()),
            AuditOutput::Stdout | AuditOutput::Stderr => format!("--audit-log: {error}"),
        };
        let member: Arc<str> = member.into();
        let queue = sink(&config.output).and_then(|sink| Queue::start(sink, &member, metrics.clone()));
        Ok(Audit(Some(Arc::new(Inner { member, values: config.values, queue: queue.map_err(failed)? }))))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether values are wanted.
    pub(super) fn values(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.values)
    }

    /// Never waits.
    pub(super) fn push(&self, record: impl FnOnce(Arc<str>) -> Record) {
        if let Some(inner) = &self.0 {
            inner.queue.push(record(inner.member.clone()));
        }
    }

    /// Comes true once what was recorded before is written.
    pub async fn flush(&self) {
        if let Some(inner) = &self.0 {
            inner.queue.flush().await;
        }
    }
}
