//! Limits of connections and users.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Refusals by whose limit it was, and which. Empty without limits.
#[derive(Clone, Debug, Default)]
pub struct LimitMetrics(Family<[(&'static str, &'static str); 2], Counter>);

impl LimitMetrics {
    /// The series is there before the first refusal, so that its rate shows that one too.
    pub(crate) fn begin(&self, of: &'static str, limit: &'static str) {
        drop(self.0.get_or_create(&[("of", of), ("limit", limit)]));
    }

    pub(crate) fn refused(&self, of: &'static str, limit: &'static str) {
        self.0.get_or_create(&[("of", of), ("limit", limit)]).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Calls and watchers refused because their connection or user was at a limit";
        registry.register("conclave_limited", help, self.0.clone());
    }
}
