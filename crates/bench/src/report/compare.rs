//! Both servers side by side, and ratios of the same round.

use super::results::{Results, Server};
use super::spread::Spread;
use std::collections::BTreeMap;

/// A figure of both servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) etcd: Option<Spread>,
    pub(super) conclave: Option<Spread>,
    /// Conclave's divided by etcd's.
    pub(super) ratio: Option<Spread>,
}

pub(super) fn compare(results: &Results, case: &str, path: &str) -> Comparison {
    let of = |server| results.figures(case, server, path);
    let (etcd, conclave) = (of(Server::Etcd), of(Server::Conclave));
    Comparison {
        ratio: Spread::of(ratios(&conclave, &etcd)),
        etcd: Spread::of(etcd.into_values()),
        conclave: Spread::of(conclave.into_values()),
    }
}

/// Of rounds that have both.
fn ratios(over: &BTreeMap<u32, f64>, under: &BTreeMap<u32, f64>) -> Vec<f64> {
    over.iter().filter_map(|(round, figure)| Some(figure / under.get(round).filter(|under| **under > 0.0)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::results::tests::lines, *};

    #[test]
    fn a_ratio_is_of_the_same_round() {
        // The machine was four times as fast in the last round; the ratio of medians would be 1.
        let text = lines("put", &[100.0, 100.0, 400.0], &[200.0, 100.0, 800.0]);
        let found = compare(&Results::parse(&text).expect("well-formed"), "put", "per_second");
        assert_eq!(found.ratio, Some(Spread { median: 2.0, least: 1.0, most: 2.0 }));
        assert_eq!(found.etcd.map(|spread| spread.median), Some(100.0));
    }

    #[test]
    fn rounds_without_a_partner_have_no_ratio() {
        let text = lines("put", &[100.0], &[200.0, 100.0]);
        let found = compare(&Results::parse(&text).expect("well-formed"), "put", "per_second");
        assert_eq!(found.ratio, Some(Spread { median: 2.0, least: 2.0, most: 2.0 }));
    }
}
