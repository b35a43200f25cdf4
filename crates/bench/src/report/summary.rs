//! The ratios for a terminal, and how figures are written.

use super::{
    compare::compare,
    plan::{Aim, IN_MEMORY, ON_DISK, SINGLES, Work},
    results::{Results, Server},
    spread::Spread,
};
use conclave_cli::output::Table;

/// A figure with three digits that count, and blanks between thousands.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        0.0..0.01 if value == 0.0 => "0".into(),
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => grouped(&format!("{value:.0}")),
    }
    .trim_end_matches(".00")
    .trim_end_matches(".0")
    .to_owned()
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".into(), |spread| figure(spread.median))
}

/// `2.31× (2.10–2.52)`.
pub(super) fn ratio(spread: Option<Spread>) -> String {
    spread
        .map_or_else(|| "–".into(), |spread| format!("{:.2}× ({:.2}–{:.2})", spread.median, spread.least, spread.most))
}

pub(super) fn met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    }
}

/// Everything on one page.
pub(super) fn text(results: &Results) -> String {
    let mut table = Table::new(["WORK", "ETCD", "CONCLAVE", "RATIO", "AIM", "CPU RATIO", "CPU AIM"]);
    for Work { case, title, throughput, cpu, p50 } in ON_DISK.iter().chain(&IN_MEMORY) {
        if !results.has(case) {
            continue;
        }
        let (rate, costs) =
            (compare(results, case, "per_second"), compare(results, case, "servers.cpu_us_per_operation"));
        let place = if case.starts_with("tmpfs-") { "in memory: " } else { "" };
        table.row([
            format!("{place}{title} (/s)"),
            median(rate.etcd),
            median(rate.conclave),
            ratio(rate.ratio),
            aim(*throughput, throughput.met(&rate)),
            ratio(costs.ratio),
            aim(*cpu, cpu.met(&costs)),
        ]);
        if *p50 != Aim::None {
            let p50s = compare(results, case, "latency_ms.p50");
            table.row([
                format!("{place}{title}: p50 (ms)"),
                median(p50s.etcd),
                median(p50s.conclave),
                ratio(p50s.ratio),
                aim(*p50, p50.met(&p50s)),
                String::new(),
                String::new(),
            ]);
        }
    }
    for single in SINGLES.iter().filter(|single| results.has(single.case)) {
        let found = compare(results, single.case, single.path);
        let unit = if single.unit.is_empty() { String::new() } else { format!(" ({})", single.unit) };
        table.row([
            format!("{}{unit}", single.title),
            median(found.etcd),
            median(found.conclave),
            ratio(found.ratio),
            aim(single.aim, single.aim.met(&found)),
            String::new(),
            String::new(),
        ]);
    }
    let elections = |server| figure(results.elections(server));
    let (of_etcd, of_conclave) = (elections(Server::Etcd), elections(Server::Conclave));
    table.plain(false) + &format!("\nelections nobody caused: etcd {of_etcd}, Conclave {of_conclave}\n")
}

fn aim(aim: Aim, met: Option<bool>) -> String {
    match met {
        Some(true) => format!("{} met", aim.text()),
        Some(false) => format!("{} MISSED", aim.text()),
        None => aim.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::results::tests::lines, *};

    #[test]
    fn figures_as_people_read_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.155, "0.15"),
            (2.0, "2"),
            (35.25, "35.2"),
            (250.4, "250"),
            (15_230.0, "15,230"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_page_has_ratios_with_spread_and_aims() {
        let results = Results::parse(&lines("put-256", &[100.0, 100.0], &[240.0, 300.0])).expect("well-formed");
        let page = text(&results);
        for part in ["put, 256 clients", "2.70× (2.40–3.00)", "≥ 2.5× met", "≤ 0.3× MISSED"] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        assert!(!page.contains("campaign"), "not measured, not told:\n{page}");
    }
}
