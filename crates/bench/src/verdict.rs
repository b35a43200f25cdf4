//! What a run came to: a table for people, one JSON object on one line for programs.

use super::{
    lab::Lab,
    options::{End, Options},
    process::Usage,
    tally::{Counted, Failures},
};
use conclave_cli::output::{self, Format, Output};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) counted: Counted,
    pub(super) before: Vec<Usage>,
    pub(super) after: Vec<Usage>,
    /// By how much the term rose, if the servers say.
    pub(super) elections: Option<u64>,
}

/// The result of one run, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    workload: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    clients: usize,
    connections: usize,
    value_size: usize,
    key_space: u64,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered_per_second: Option<f64>,
    operations: u64,
    seconds: f64,
    per_second: f64,
    latency_ms: Latencies,
    longest_gap_ms: f64,
    errors: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    first_errors: BTreeMap<&'static str, Failures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Servers>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    more: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latencies {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    mean: f64,
}

/// The sum over all servers.
#[derive(Clone, Debug, Serialize)]
struct Servers {
    cpu_us_per_operation: f64,
    user_us_per_operation: f64,
    system_us_per_operation: f64,
    /// Cores busy on average.
    cores: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_bytes_per_operation: Option<f64>,
    resident_mb: f64,
    /// Of each, in the order of the process ids.
    resident_mb_each: Vec<f64>,
}

/// Three digits after the point are enough for anybody, and easier to read.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

impl Servers {
    fn new(before: &[Usage], after: &[Usage], operations: u64, seconds: f64) -> Option<Self> {
        if after.is_empty() {
            return None;
        }
        let sum = |of: fn(&Usage) -> u64| {
            let total = |usages: &[Usage]| usages.iter().map(of).sum::<u64>();
            total(after).saturating_sub(total(before)) as f64
        };
        let (user, system) = (sum(|usage| usage.user_us), sum(|usage| usage.system_us));
        let known = before.iter().chain(after).all(|usage| usage.written_bytes.is_some());
        let each = operations.max(1) as f64;
        Some(Self {
            cpu_us_per_operation: rounded((user + system) / each),
            user_us_per_operation: rounded(user / each),
            system_us_per_operation: rounded(system / each),
            cores: rounded((user + system) / 1e6 / seconds.max(1e-6)),
            written_bytes_per_operation: known.then(|| rounded(sum(|usage| usage.written_bytes.unwrap_or(0)) / each)),
            resident_mb: megabytes(after.iter().map(|usage| usage.resident_bytes).sum()),
            resident_mb_each: after.iter().map(|usage| megabytes(usage.resident_bytes)).collect(),
        })
    }
}

impl Verdict {
    pub(super) fn new(lab: &Lab, workload: &'static str, clients: usize, measured: Measured) -> Self {
        Self::of(&lab.options, workload, clients, measured)
    }

    pub(super) fn of(options: &Options, workload: &'static str, clients: usize, measured: Measured) -> Self {
        let Measured { counted, before, after, elections } = measured;
        let at = |quantile| rounded(counted.latencies.value_at_quantile(quantile) as f64 / 1000.0);
        let operations = counted.latencies.len();
        let seconds = counted.elapsed.as_secs_f64();
        let offered = options.rate.filter(|_| matches!(options.end, End::After(_)));
        Self {
            workload,
            labels: options.labels.iter().cloned().collect(),
            clients,
            connections: options.connections,
            value_size: options.value_size,
            key_space: options.key_space,
            seed: options.seed,
            offered_per_second: offered,
            operations,
            seconds: rounded(seconds),
            per_second: rounded(operations as f64 / seconds.max(1e-6)),
            latency_ms: Latencies {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: rounded(counted.latencies.max() as f64 / 1000.0),
                mean: rounded(counted.latencies.mean() / 1000.0),
            },
            longest_gap_ms: rounded(counted.longest_gap.as_secs_f64() * 1000.0),
            errors: counted.errors.iter().map(|(name, failures)| (*name, failures.count)).collect(),
            first_errors: counted.errors,
            elections,
            servers: Servers::new(&before, &after, operations, seconds),
            more: Map::new(),
        }
    }

    /// With a figure of the workload's own.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let value = value.as_f64().filter(|_| value.is_f64()).map_or(value, |number| rounded(number).into());
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The same work counted in this many operations; the latency is still that of the whole.
    #[must_use]
    pub(super) fn of_parts(mut self, parts: u64) -> Self {
        let (was, parts) = (self.operations.max(1) as f64, parts.max(1));
        self.operations = parts;
        self.per_second = rounded(parts as f64 / self.seconds.max(1e-3));
        if let Some(servers) = &mut self.servers {
            let share = was / parts as f64;
            let each = [
                &mut servers.cpu_us_per_operation,
                &mut servers.user_us_per_operation,
                &mut servers.system_us_per_operation,
            ];
            each.into_iter()
                .chain(&mut servers.written_bytes_per_operation)
                .for_each(|value| *value = rounded(*value * share));
        }
        self
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    pub(super) fn first_error(&self) -> Option<String> {
        self.first_errors.iter().next().map(|(name, failures)| format!("{name}: {}", failures.first))
    }

    /// Prints it.
    pub(super) fn show(&self, out: Output) -> conclave_cli::failure::Result<()> {
        output::raw(&match out.format {
            Format::Json | Format::Protobuf => self.json() + "\n",
            Format::Fields => self.fields(),
            Format::Simple | Format::Table => self.table(),
        })
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("maps with text keys always serialize")
    }

    fn fields(&self) -> String {
        fn flatten(name: &str, value: &Value, text: &mut String) {
            match value {
                Value::Object(members) => members.iter().for_each(|(member, value)| {
                    let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                    flatten(&name, value, text);
                }),
                other => *text += &format!("\"{name}\" : {other}\n"),
            }
        }
        let mut text = String::new();
        flatten("", &serde_json::to_value(self).expect("maps with text keys always serialize"), &mut text);
        text
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| text += &format!("{name:<18} {value}\n");
        let offered = self.offered_per_second.map_or(String::new(), |rate| format!(", {rate} offered a second"));
        let clients = if self.clients == 1 { "client" } else { "clients" };
        line(self.workload, format!("{} {clients} on {} connections{offered}", self.clients, self.connections));
        line("throughput", format!("{:.0}/s   {} in {:.2} s", self.per_second, self.operations, self.seconds));
        let Latencies { p50, p90, p99, p999, max, mean } = self.latency_ms;
        line(
            "latency",
            format!("p50 {p50:.2} ms   p90 {p90:.2}   p99 {p99:.2}   p99.9 {p999:.2}   max {max:.2}   mean {mean:.2}"),
        );
        line("longest gap", format!("{:.1} ms without a success", self.longest_gap_ms));
        if let Some(servers) = &self.servers {
            let (user, system) = (servers.user_us_per_operation, servers.system_us_per_operation);
            let (sum, cores) = (servers.cpu_us_per_operation, servers.cores);
            line("server CPU", format!("{sum:.1} µs/op   user {user:.1}   system {system:.1}   {cores:.2} cores busy"));
            let each: Vec<String> = servers.resident_mb_each.iter().map(|mb| format!("{mb:.0}")).collect();
            line("server memory", format!("{:.0} MB   {}", servers.resident_mb, each.join(" + ")));
            if let Some(written) = servers.written_bytes_per_operation {
                line("written", format!("{written:.0} bytes/op"));
            }
        }
        if let Some(elections) = self.elections.filter(|elections| *elections > 0) {
            line("elections", elections.to_string());
        }
        for (name, value) in &self.more {
            line(&name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        for (name, failures) in &self.first_errors {
            line("errors", format!("{} × {name}: {}", failures.count, failures.first));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            options::tests::options,
            tally::{CountBy, Tally},
        },
        *,
    };
    use std::time::{Duration, Instant};
    use tonic::Status;

    fn verdict() -> Verdict {
        let (tally, start) = (Tally::new(CountBy::End), Instant::now());
        tally.open(start, Some(start + Duration::from_secs(2)));
        for _ in 0..1000 {
            tally.record(start, start + Duration::from_millis(5), Ok(None));
        }
        tally.record(start, start + Duration::from_millis(5), Err(&Status::unavailable("no leader")));
        let before = Usage { user_us: 1000, system_us: 0, resident_bytes: 1, written_bytes: Some(0) };
        let after =
            Usage { user_us: 31_000, system_us: 20_000, resident_bytes: 40_000_000, written_bytes: Some(1_000_000) };
        let counted = tally.close(start + Duration::from_secs(2));
        let measured = Measured { counted, before: vec![before], after: vec![after], elections: Some(0) };
        let options = options(&["--label", "server=etcd"]).expect("well-formed");
        Verdict::of(&options, "put", 64, measured).with("watchers", 5)
    }

    #[test]
    fn json_has_every_figure() {
        let value: Value = serde_json::from_str(&verdict().json()).expect("JSON");
        assert_eq!(value["per_second"], 500.0);
        assert_eq!(value["latency_ms"]["p50"].as_f64().map(f64::round), Some(5.0));
        assert_eq!(value["servers"]["cpu_us_per_operation"], 50.0);
        assert_eq!(value["servers"]["written_bytes_per_operation"], 1000.0);
        assert_eq!(value["servers"]["resident_mb"], 40.0);
        assert_eq!(value["errors"]["UNAVAILABLE"], 1);
        assert_eq!(value["labels"]["server"], "etcd");
        assert_eq!(value["more"]["watchers"], 5);
        assert_eq!(value["elections"], 0);
    }

    #[test]
    fn a_person_sees_the_same() {
        let (table, fields) = (verdict().table(), verdict().fields());
        for part in
            ["500/s", "p50 5.0", "50.0 µs/op", "40 MB", "1000 bytes/op", "1 × UNAVAILABLE: no leader", "watchers"]
        {
            assert!(table.contains(part), "{part} in\n{table}");
        }
        assert!(fields.contains("\"latency_ms.p50\" : 5"), "{fields}");
    }
}
