//! Which figures are told of which case, and what is aimed at.

use super::compare::Comparison;

/// What a figure should come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    None,
    /// Of the ratio to etcd.
    AtLeastTimes(f64),
    AtMostTimes(f64),
    /// Of Conclave's own figure.
    AtMost(f64),
}

impl Aim {
    /// As it is written, without the unit; a dash if there is none.
    pub(super) fn text(self) -> String {
        match self {
            Self::None => "–".into(),
            Self::AtLeastTimes(times) => format!("≥ {times}×"),
            Self::AtMostTimes(times) => format!("≤ {times}×"),
            Self::AtMost(figure) => format!("≤ {figure}"),
        }
    }

    /// Whether the medians reach it; `None` if there is no aim or nothing was measured.
    pub(super) fn met(self, comparison: &Comparison) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtLeastTimes(times) => Some(comparison.ratio?.median >= times),
            Self::AtMostTimes(times) => Some(comparison.ratio?.median <= times),
            Self::AtMost(figure) => Some(comparison.conclave?.median <= figure),
        }
    }

    pub(super) fn ratio(self) -> Option<f64> {
        match self {
            Self::AtLeastTimes(times) | Self::AtMostTimes(times) => Some(times),
            _ => None,
        }
    }
}

/// Work of which throughput and CPU per operation are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) case: &'static str,
    pub(super) title: &'static str,
    pub(super) throughput: Aim,
    pub(super) cpu: Aim,
    /// The latency that is told beside.
    pub(super) p50: Aim,
}

const fn work(case: &'static str, title: &'static str, throughput: Aim, cpu: Aim) -> Work {
    Work { case, title, throughput, cpu, p50: Aim::None }
}

/// On disk, with real syncs.
pub(super) const ON_DISK: [Work; 17] = {
    use Aim::{AtLeastTimes as Least, AtMostTimes as Most, None};
    [
        work("put-256", "put, 256 clients", Least(2.5), Most(0.3)),
        work("put-64", "put, 64 clients", Least(2.5), Most(0.35)),
        Work { p50: Most(0.7), ..work("put-1", "put, 1 client", None, None) },
        work("get-256", "linearizable get, 256 clients", Least(3.8), Most(0.17)),
        work("get-serializable-256", "serializable get, 256 clients", None, None),
        work("range-64", "range of 100 keys, 64 clients", None, None),
        work("range-rest-64", "100 keys of many, which are counted, 64 clients", None, None),
        work("txn-64", "compare, put, get in one, 64 clients", None, None),
        work("mixed-256", "80 % get, 20 % put, 256 clients", None, None),
        work("campaign-64", "campaign + resign, 64 clients", Least(6.0), Most(0.12)),
        work("lock-64", "lock + unlock, 64 clients", Least(4.0), Most(0.2)),
        work("lock-queue-50", "one lock, 50 waiting: hand-overs", Least(3.0), Most(0.1)),
        work("lease-grant-64", "lease grants, 64 clients", Least(3.0), None),
        work("keepalive-1000", "keep-alives, 1,000 streams", Least(3.0), None),
        work("session-churn-64", "grant, put, revoke, 64 clients", None, None),
        work("watch-500", "watch, 1 writer, 500 watchers: events", Least(3.0), Most(0.25)),
        work("saturated", "put with all cores taken", None, None),
    ]
};

/// In memory: what is left when the disk costs nothing.
pub(super) const IN_MEMORY: [Work; 4] = [
    work("tmpfs-put-256", "put, 256 clients", Aim::None, Aim::None),
    work("tmpfs-put-1", "put, 1 client", Aim::None, Aim::None),
    work("tmpfs-campaign-64", "campaign + resign, 64 clients", Aim::None, Aim::None),
    work("tmpfs-lock-queue-50", "one lock, 50 waiting: hand-overs", Aim::None, Aim::None),
];

/// A single figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub(super) case: &'static str,
    pub(super) title: &'static str,
    pub(super) path: &'static str,
    pub(super) unit: &'static str,
    pub(super) aim: Aim,
}

const fn single(case: &'static str, title: &'static str, path: &'static str, unit: &'static str, aim: Aim) -> Single {
    Single { case, title, path, unit, aim }
}

/// All that is not throughput.
pub(super) const SINGLES: [Single; 19] = {
    use Aim::{AtMost, AtMostTimes, None};
    [
        single("half-rate", "put at half of etcd's rate: p50", "latency_ms.p50", "ms", None),
        single("half-rate", "put at half of etcd's rate: p99", "latency_ms.p99", "ms", AtMostTimes(0.5)),
        single("half-rate", "put at half of etcd's rate: p99.9", "latency_ms.p999", "ms", AtMostTimes(0.4)),
        single("failover-kill", "kill -9 of the leader: longest gap", "longest_gap_ms", "ms", AtMost(400.0)),
        single("failover-term", "SIGTERM of the leader: longest gap", "longest_gap_ms", "ms", None),
        single(
            "lease-expire",
            "leases lapse together: last deletion",
            "more.last_deletion_ms",
            "ms late",
            AtMost(2000.0),
        ),
        single("lease-expire", "leases lapse together: p50", "latency_ms.p50", "ms late", None),
        single("memory", "keys: resident memory, all nodes", "servers.resident_mb", "MB", AtMostTimes(0.4)),
        single("fill", "filling with keys", "per_second", "keys/s", None),
        single("start-term", "start with these keys, after SIGTERM", "more.ready_ms", "ms", AtMost(1000.0)),
        single("start-kill", "start with these keys, after kill -9", "more.ready_ms", "ms", AtMost(1000.0)),
        single("leases-held", "leases held: lost or unanswered", "errors", "", AtMost(0.0)),
        single("leases-held", "leases held: resident memory", "servers.resident_mb", "MB", None),
        single("leases-held", "leases held: p99 of a keep-alive", "latency_ms.p99", "ms", None),
        single("watch-50", "50 watchers: events", "per_second", "/s", None),
        single("watch-50-stalled", "50 watchers beside stalled ones: events", "per_second", "/s", None),
        single("watch-50", "50 watchers: resident memory", "servers.resident_mb", "MB", None),
        single("watch-50-stalled", "50 watchers beside stalled ones: memory", "servers.resident_mb", "MB", None),
        single("saturated", "elections with all cores taken", "elections", "", AtMost(0.0)),
    ]
};

#[cfg(test)]
mod tests {
    use super::{
        super::{
            compare::compare,
            results::{Results, tests::lines},
        },
        *,
    };

    #[test]
    fn an_aim_is_met_by_medians_of_ratios() {
        let results =
            Results::parse(&lines("put", &[100.0, 100.0, 100.0], &[260.0, 240.0, 300.0])).expect("well-formed");
        let (rate, cpu) =
            (compare(&results, "put", "per_second"), compare(&results, "put", "servers.cpu_us_per_operation"));
        assert_eq!(Aim::AtLeastTimes(2.5).met(&rate), Some(true));
        assert_eq!(Aim::AtLeastTimes(2.7).met(&rate), Some(false));
        assert_eq!(Aim::AtMostTimes(0.4).met(&cpu), Some(true));
        assert_eq!(Aim::AtMost(250.0).met(&rate), Some(false));
        assert_eq!(Aim::None.met(&rate), None);
        assert_eq!(Aim::AtLeastTimes(1.0).met(&compare(&results, "get", "per_second")), None);
    }
}
