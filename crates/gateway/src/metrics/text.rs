//! Prometheus' text format (0.0.4) of a page in OpenMetrics. There a counter's family has its whole
//! name, `_total` included, and there is no end mark.

use std::fmt::Write;

/// Counters that etcd names without `_total`, which OpenMetrics does not allow.
const BARE: [&str; 2] = ["etcd_server_health_success", "etcd_server_health_failures"];

pub(super) fn of_openmetrics(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + page.len() / 16);
    let mut help = None;
    let mut bare = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            bare = BARE.into_iter().find(|of| *of == name).unwrap_or_default();
            let end = if kind == "counter" && bare.is_empty() { "_total" } else { "" };
            let help = help.take().filter(|(of, _)| *of == name).map_or("", |(_, help)| help);
            let _ = write!(text, "# HELP {name}{end} {help}\n# TYPE {name}{end} {kind}\n");
        } else if !line.starts_with('#') {
            match line.strip_prefix(bare).and_then(|rest| rest.strip_prefix("_total")) {
                Some(rest) if !bare.is_empty() => text.extend([bare, rest, "\n"]),
                _ => text.extend([line, "\n"]),
            }
        }
    }
    text
}
