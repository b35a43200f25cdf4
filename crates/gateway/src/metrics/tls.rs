//! TLS: when certificates expire, whether the files on disk are in force, who was refused.

use conclave_tls::Figures;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, &'static str)>;

/// One number of a port, with its name and help.
type Number = (&'static str, &'static str, fn(&Figures) -> u64);

const COUNTERS: [Number; 4] = [
    ("conclave_tls_reloads", "Changed TLS files taken into force", |it| it.reloads),
    ("conclave_tls_reload_failures", "Changed TLS files that could not be used", |it| it.reload_failures),
    ("conclave_tls_handshakes_failed", "TLS handshakes that failed", |it| it.handshakes_failed),
    ("conclave_tls_connections_ended", "Connections ended by a reload: their certificate is not accepted", |it| it.cut),
];

pub(super) fn register(registry: &mut Registry, ports: &[Figures]) {
    if ports.is_empty() {
        return;
    }
    for (name, help, value) in COUNTERS {
        let family = Family::<Labels, Counter>::default();
        for port in ports {
            family.get_or_create(&vec![("port", port.port)]).inc_by(value(port));
        }
        registry.register(name, help, family);
    }
    let rejected = Family::<Labels, Gauge>::default();
    let expiries = Family::<Labels, Gauge>::default();
    for port in ports {
        rejected.get_or_create(&vec![("port", port.port)]).set(i64::from(port.rejected));
        for expiry in &port.expiries {
            expiries.get_or_create(&vec![("port", port.port), ("file", expiry.file)]).set(expiry.not_after);
        }
    }
    let help = "Whether the TLS files were found invalid, so that earlier ones are in force";
    registry.register("conclave_tls_files_rejected", help, rejected);
    let help = "When the certificate in force expires, in seconds since 1970";
    registry.register("conclave_tls_certificate_expiry_seconds", help, expiries);
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Exposition, Live, Metrics};
    use conclave_tls::{Expiry, Figures};

    #[test]
    fn a_line_for_each_port_and_none_without_tls() {
        let expiry = Expiry { file: "cert", not_before: 0, not_after: 77 };
        let port = |port| Figures {
            port,
            reload_failures: 2,
            rejected: true,
            expiries: vec![expiry.clone()],
            ..Figures::default()
        };
        let page = Metrics::default()
            .render(Live { tls: vec![port("client"), port("peer")], ..Live::default() }, Exposition::OpenMetrics);
        for line in [
            "conclave_tls_reload_failures_total{port=\"peer\"} 2",
            "conclave_tls_files_rejected{port=\"client\"} 1",
            "conclave_tls_certificate_expiry_seconds{port=\"peer\",file=\"cert\"} 77",
        ] {
            assert!(page.lines().any(|found| found == line), "{line:?} is missing in\n{page}");
        }
        assert!(!Metrics::default().render(Live::default(), Exposition::Text).contains("conclave_tls"));
    }
}
