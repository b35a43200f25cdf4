//! The results of a comparison, by case, server and round.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The labels that `scripts/bench` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Etcd,
    Conclave,
}

/// All lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    case: String,
    server: Server,
    round: u32,
    value: Value,
}

impl Results {
    /// Lines of JSON; those without labels are somebody else's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |why: &str| format!("line {} of the results: {why}", i + 1);
            let value: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
            let label = |name: &str| value["labels"][name].as_str();
            let (Some(case), Some(server)) = (label("case"), label("server")) else { continue };
            let server = match server {
                "etcd" => Server::Etcd,
                "conclave" => Server::Conclave,
                other => return Err(wrong(&format!("there is no server {other:?}"))),
            };
            let round = label("round").and_then(|round| round.parse().ok()).ok_or_else(|| wrong("no round"))?;
            lines.push(Line { case: case.to_owned(), server, round, value });
        }
        if lines.is_empty() {
            return Err("there are no results".into());
        }
        Ok(Self { lines })
    }

    /// The figure at a path such as `latency_ms.p99`, by round: the median where a round has
    /// several.
    pub(super) fn figures(&self, case: &str, server: Server, path: &str) -> BTreeMap<u32, f64> {
        let mut rounds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.case == case && line.server == server) {
            if let Some(figure) = figure(&line.value, path) {
                rounds.entry(line.round).or_default().push(figure);
            }
        }
        rounds.into_iter().filter_map(|(round, figures)| Some((round, super::spread::median(&figures)?))).collect()
    }

    /// Whether anything was measured of it.
    pub(super) fn has(&self, case: &str) -> bool {
        self.lines.iter().any(|line| line.case == case)
    }

    pub(super) fn rounds(&self) -> usize {
        self.lines.iter().map(|line| line.round).collect::<BTreeSet<_>>().len()
    }

    /// The elections within all measured windows, but for those where a leader was stopped on
    /// purpose.
    pub(super) fn elections(&self, server: Server) -> f64 {
        let lines = self.lines.iter().filter(|line| line.server == server && !line.case.starts_with("failover"));
        lines.filter_map(|line| figure(&line.value, "elections")).sum()
    }

    /// Failed operations of a case, all rounds together.
    pub(super) fn errors(&self, case: &str, server: Server) -> f64 {
        let lines = self.lines.iter().filter(|line| line.case == case && line.server == server);
        lines.filter_map(|line| errors(&line.value)).sum()
    }
}

fn errors(value: &Value) -> Option<f64> {
    Some(value["errors"].as_object()?.values().filter_map(Value::as_f64).sum())
}

fn figure(value: &Value, path: &str) -> Option<f64> {
    match path {
        "errors" => errors(value),
        _ => path.split('.').fold(value, |value, name| &value[name]).as_f64(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Lines of a put with these rates, a round each.
    pub(in super::super) fn lines(case: &str, etcd: &[f64], conclave: &[f64]) -> String {
        let mut text = String::new();
        for (server, rates) in [("etcd", etcd), ("conclave", conclave)] {
            for (round, rate) in rates.iter().enumerate() {
                let value = serde_json::json!({
                    "workload": "put",
                    "labels": { "case": case, "server": server, "round": round.to_string() },
                    "per_second": rate,
                    "latency_ms": { "p50": 1.5, "p90": 2.0, "p99": 3.0, "p999": 4.0, "max": 9.0 },
                    "errors": { "UNAVAILABLE": 2 },
                    "longest_gap_ms": 300,
                    "elections": 1,
                    "servers": { "cpu_us_per_operation": 1e6 / rate, "resident_mb": 100 },
                });
                text += &format!("{value}\n");
            }
        }
        text
    }

    #[test]
    fn figures_are_found_by_round() {
        let results = Results::parse(&lines("put-64", &[100.0, 110.0], &[200.0, 330.0])).expect("well-formed");
        let rates: Vec<f64> = results.figures("put-64", Server::Conclave, "per_second").into_values().collect();
        assert_eq!(rates, [200.0, 330.0]);
        assert_eq!(results.figures("put-64", Server::Etcd, "latency_ms.p99")[&1], 3.0);
        assert_eq!(results.figures("put-64", Server::Etcd, "nothing.there").len(), 0);
        assert_eq!((results.errors("put-64", Server::Etcd), results.elections(Server::Etcd)), (4.0, 2.0));
        assert!(results.has("put-64") && !results.has("get"));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        assert!(Results::parse("").expect_err("empty").contains("no results"));
        assert!(Results::parse("{}\nx").expect_err("no JSON").contains("line 2"));
        let odd = r#"{"labels":{"case":"a","server":"redis","round":"0"}}"#;
        assert!(Results::parse(odd).expect_err("unknown").contains("redis"));
    }
}
