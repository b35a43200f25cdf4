//! Files that are read again when they change, but for those of TLS: whether what is on disk is in
//! force.

use conclave_tls::Reloads;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, &'static str)>;

pub(super) fn register(registry: &mut Registry, files: &[(&'static str, Reloads)]) {
    if files.is_empty() {
        return;
    }
    let (taken, failed) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let rejected = Family::<Labels, Gauge>::default();
    for (name, it) in files {
        let labels = vec![("file", *name)];
        taken.get_or_create(&labels).inc_by(it.reloads);
        failed.get_or_create(&labels).inc_by(it.failures);
        rejected.get_or_create(&labels).set(i64::from(it.rejected));
    }
    registry.register("conclave_file_reloads", "Changed files taken into force", taken);
    registry.register("conclave_file_reload_failures", "Changed files that could not be used", failed);
    let help = "Whether the file was found invalid, so that what it held earlier is in force";
    registry.register("conclave_file_rejected", help, rejected);
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Exposition, Live, Metrics};
    use conclave_tls::Reloads;

    #[test]
    fn a_line_for_each_file_and_none_without() {
        let files = vec![("peer-secret", Reloads { reloads: 3, failures: 2, rejected: true })];
        let page = Metrics::default().render(Live { files, ..Live::default() }, Exposition::OpenMetrics);
        for line in [
            "conclave_file_reloads_total{file=\"peer-secret\"} 3",
            "conclave_file_reload_failures_total{file=\"peer-secret\"} 2",
            "conclave_file_rejected{file=\"peer-secret\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is missing in\n{page}");
        }
        assert!(!Metrics::default().render(Live::default(), Exposition::Text).contains("conclave_file_re"));
    }
}
