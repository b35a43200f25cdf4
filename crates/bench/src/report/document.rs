//! The Markdown document and the plots that it shows.

use super::{
    compare::compare,
    machine::Machine,
    plan::{Aim, IN_MEMORY, ON_DISK, SINGLES, Work},
    plot::{self, Bar, Pair},
    results::{Results, Server},
    summary::{figure, median, met, ratio},
};
use std::fmt::Write as _;

/// The document's text and its plots by file name.
pub(super) struct Document {
    pub(super) markdown: String,
    pub(super) plots: Vec<(&'static str, String)>,
}

const INTRODUCTION: &str = "\
# Benchmarks

Conclave and etcd, measured side by side by `scripts/bench`, which writes this file: do not edit it by hand. To measure on a
machine of your own:

<!-- not run: measuring takes hours -->
```sh
scripts/bench                 # everything, some hours
scripts/bench --quick         # a few minutes, to see it work; its figures prove nothing
ETCD_BIN=/opt/etcd scripts/bench --only put --rounds 9
```
";

const HOW_TO_READ: &str = "\
## How to read this

- **Ratios, not figures.** The absolute figures of one machine drift by a fifth within minutes. In each round both servers do the same work
  one after the other, alternating which is first; a ratio divides figures of the same round. Each cell is the median ratio, with minimum and
  maximum in parentheses. If 1 lies between those two, the difference cannot be told from noise.
- **The load shares the processors** with the six processes it compares (three at a time). It takes its part of each core, so
  throughput ratios have a ceiling that has nothing to do with the servers. CPU per operation (user and system time of all three
  servers, divided by the operations) has no such ceiling and is the better figure to compare; below 1× is better.
- **Nothing is relaxed.** Both sync every write to disk before they answer (except in the measurements in memory, which say so), both replicate to
  a majority of three, and reads are linearizable unless marked serializable. Both run with their default settings.
- **One attempt an operation**, over the etcd v3 API with the same client for both; values are 256 random bytes. Closed loops unless
  a rate is given: each client asks again when it was answered. Where a rate is given, latency counts from when an operation was due,
  whether or not the server was ready for it.
- **Each round starts from empty data**, with one second of warm-up before each measurement. `conclave-bench --help` describes each
  workload, and runs it on any cluster.
";

pub(super) fn render(results: &Results, machine: &Machine, stem: &str) -> Document {
    let mut markdown = String::from(INTRODUCTION);
    if machine.quick {
        markdown += "\n> **This was a quick run**, on small sizes and for a second or two each. It shows that everything works; \
its figures prove nothing.\n";
    }
    markdown += &about(results, machine);
    markdown.push('\n');
    markdown += HOW_TO_READ;
    let plots = plots(results);
    let image = |markdown: &mut String, name: &str, alt: &str| {
        if plots.iter().any(|(plot, _)| *plot == name) {
            let _ = writeln!(markdown, "\n![{alt}]({stem}/{name})");
        }
    };
    markdown += "\n## Throughput and cost\n";
    image(&mut markdown, "throughput.svg", "Throughput of Conclave divided by etcd's");
    image(&mut markdown, "cpu.svg", "Server CPU per operation of Conclave divided by etcd's");
    markdown += &throughput(results, &ON_DISK);
    markdown += "\n## Latency\n\nOf the same runs, in milliseconds; under a closed loop, latency and throughput are two sides of one thing.\n";
    image(&mut markdown, "latency.svg", "Latency of puts at half of etcd's greatest rate");
    markdown += &latency(results);
    markdown += "\n## Failures, starts, memory, many leases\n";
    image(&mut markdown, "failover.svg", "Longest time without a write when the leader goes");
    markdown += &singles(results);
    if IN_MEMORY.iter().any(|work| results.has(work.case)) {
        markdown += "\n## In memory\n\nThe same on a file system in memory, where a sync costs nothing.\n";
        markdown += &throughput(results, &IN_MEMORY);
    }
    Document { markdown, plots }
}

fn about(results: &Results, machine: &Machine) -> String {
    let Machine { processor, cores, memory_gb, kernel, filesystem, sync_ms, etcd, conclave, seconds, .. } = machine;
    format!(
        "
| | |
|---|---|
| machine | {cores} cores ({processor}), {memory_gb:.0} GB of memory, Linux {kernel} |
| disk | {filesystem}; a write of 4 KiB with a sync takes {sync_ms:.2} ms |
| servers | etcd {etcd}, Conclave {conclave}; three members of each, all on this machine with the load |
| rounds | {} of {} planned, {seconds} s each measurement |
| load average before | {:.2} |
| unexpected leader changes | etcd {}, Conclave {}, in all measurements together |
",
        results.rounds(),
        machine.rounds,
        machine.load_before,
        figure(results.elections(Server::Etcd)),
        figure(results.elections(Server::Conclave)),
    )
}

fn throughput(results: &Results, works: &[Work]) -> String {
    let mut text = String::from(
        "
| Work | etcd /s | Conclave /s | ratio | aim | met | etcd CPU µs | Conclave CPU µs | ratio | aim | met |
|---|--:|--:|--:|--:|:-:|--:|--:|--:|--:|:-:|
",
    );
    for Work { case, title, throughput, cpu, p50 } in works.iter().filter(|work| results.has(work.case)) {
        let (rate, cost) =
            (compare(results, case, "per_second"), compare(results, case, "servers.cpu_us_per_operation"));
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            median(rate.etcd),
            median(rate.conclave),
            ratio(rate.ratio),
            throughput.text(),
            met(throughput.met(&rate)),
            median(cost.etcd),
            median(cost.conclave),
            ratio(cost.ratio),
            cpu.text(),
            met(cpu.met(&cost)),
        );
        if *p50 != Aim::None {
            let p50s = compare(results, case, "latency_ms.p50");
            let _ = writeln!(
                text,
                "| {title}: p50 | {} ms | {} ms | {} | {} | {} | | | | | |",
                median(p50s.etcd),
                median(p50s.conclave),
                ratio(p50s.ratio),
                p50.text(),
                met(p50.met(&p50s)),
            );
        }
    }
    text
}

fn latency(results: &Results) -> String {
    let mut text = String::from(
        "
| Work | etcd p50 | Conclave p50 | etcd p99 | Conclave p99 | p99 ratio | etcd p99.9 | Conclave p99.9 | etcd failed | Conclave failed |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
",
    );
    let half_rate = ("half-rate", "put at half of etcd's greatest rate, open loop");
    let cases = ON_DISK.iter().map(|work| (work.case, work.title)).chain([half_rate]);
    for (case, title) in cases.filter(|(case, _)| results.has(case)) {
        let of = |path| compare(results, case, path);
        let (p50, p99, p999) = (of("latency_ms.p50"), of("latency_ms.p99"), of("latency_ms.p999"));
        let errors = |server| figure(results.errors(case, server));
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            median(p50.etcd),
            median(p50.conclave),
            median(p99.etcd),
            median(p99.conclave),
            ratio(p99.ratio),
            median(p999.etcd),
            median(p999.conclave),
            errors(Server::Etcd),
            errors(Server::Conclave),
        );
    }
    text
}

fn singles(results: &Results) -> String {
    let mut text = String::from("\n| | etcd | Conclave | ratio | aim | met |\n|---|--:|--:|--:|--:|:-:|\n");
    for single in SINGLES.iter().filter(|single| results.has(single.case)) {
        let found = compare(results, single.case, single.path);
        let unit = |text: String| {
            if text == "–" || single.unit.is_empty() { text } else { format!("{text} {}", single.unit) }
        };
        let aim = if let Aim::AtMost(_) = single.aim { unit(single.aim.text()) } else { single.aim.text() };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {aim} | {} |",
            title(results, single.case, single.title),
            unit(median(found.etcd)),
            unit(median(found.conclave)),
            ratio(found.ratio),
            met(single.aim.met(&found)),
        );
    }
    text
}

/// With the size that was measured, which a quick run makes smaller.
fn title(results: &Results, case: &str, title: &str) -> String {
    let size = |path| compare(results, case, path).conclave.map(|spread| figure(spread.median));
    let sized = match case {
        "memory" | "fill" => size("key_space").map(|keys| format!("{title} ({keys} keys)")),
        "lease-expire" | "leases-held" => size("more.leases").map(|leases| format!("{title} ({leases} leases)")),
        "watch-50-stalled" => size("more.stalled_watchers").map(|stalled| format!("{title} ({stalled} stalled)")),
        "start-term" | "start-kill" => size("key_space").map(|keys| format!("{title} ({keys} keys)")),
        _ => None,
    };
    sized.unwrap_or_else(|| title.to_owned())
}

fn plots(results: &Results) -> Vec<(&'static str, String)> {
    let mut plots = Vec::new();
    let bars = |path: &str, aim: fn(&Work) -> Aim| -> Vec<Bar> {
        let bar = |work: &Work| {
            let ratio = compare(results, work.case, path).ratio?;
            Some(Bar { title: work.title.to_owned(), ratio, aim: aim(work).ratio() })
        };
        ON_DISK.iter().filter_map(bar).collect()
    };
    let throughput = bars("per_second", |work| work.throughput);
    if !throughput.is_empty() {
        plots.push(("throughput.svg", plot::ratios("Throughput: more is better, etcd is 1", &throughput)));
    }
    let cpu = bars("servers.cpu_us_per_operation", |work| work.cpu);
    if !cpu.is_empty() {
        plots.push(("cpu.svg", plot::ratios("Server CPU per operation: less is better, etcd is 1", &cpu)));
    }
    let pair = |case: &str, path: &str, title: &str| {
        let found = compare(results, case, path);
        Some(Pair { title: title.to_owned(), etcd: found.etcd?.median, conclave: found.conclave?.median })
    };
    let percentiles = [
        ("latency_ms.p50", "p50"),
        ("latency_ms.p90", "p90"),
        ("latency_ms.p99", "p99"),
        ("latency_ms.p999", "p99.9"),
        ("latency_ms.max", "max"),
    ];
    let latencies: Vec<Pair> = percentiles.iter().filter_map(|(path, title)| pair("half-rate", path, title)).collect();
    if !latencies.is_empty() {
        plots.push(("latency.svg", plot::pairs("Latency of puts at half of etcd's greatest rate", "ms", &latencies)));
    }
    let ways = [("failover-kill", "kill -9 of the leader"), ("failover-term", "SIGTERM of the leader")];
    let gaps: Vec<Pair> = ways.iter().filter_map(|(case, title)| pair(case, "longest_gap_ms", title)).collect();
    if !gaps.is_empty() {
        plots.push(("failover.svg", plot::pairs("Longest time without an acknowledged write", "ms", &gaps)));
    }
    plots
}

#[cfg(test)]
mod tests {
    use super::{
        super::{machine::tests::machine, results::tests::lines},
        *,
    };

    #[test]
    fn a_document_tells_what_was_measured_and_on_what() {
        let text = lines("put-256", &[100.0, 100.0], &[240.0, 300.0])
            + &lines("half-rate", &[50.0], &[50.0])
            + &lines("failover-kill", &[50.0], &[50.0]);
        let document = render(&Results::parse(&text).expect("well-formed"), &machine(), "benchmarks");
        for part in [
            "quick run",
            "2 cores (a processor)",
            "| put, 256 clients | 100 | 270 | 2.70× (2.40–3.00) | ≥ 2.5× | yes |",
            "| kill -9 of the leader: longest gap | 300 ms | 300 ms | 1.00× (1.00–1.00) | ≤ 400 ms | yes |",
            "](benchmarks/throughput.svg)",
            "](benchmarks/latency.svg)",
        ] {
            assert!(document.markdown.contains(part), "{part} in\n{}", document.markdown);
        }
        let names: Vec<&str> = document.plots.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["throughput.svg", "cpu.svg", "latency.svg", "failover.svg"]);
        // Every row of a table has as many cells as its head.
        for table in document.markdown.split("\n\n").filter(|block| block.trim_start().starts_with('|')) {
            let cells: Vec<usize> = table.trim().lines().map(|row| row.matches('|').count()).collect();
            assert!(cells.iter().all(|count| *count == cells[0]), "{table}");
        }
    }
}
