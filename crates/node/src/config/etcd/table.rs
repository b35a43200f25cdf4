//! The settings that etcd 3.4 to 3.8 have and Conclave does not.

use super::truth;

/// A setting of etcd's.
#[derive(Debug)]
pub(in super::super) struct Row {
    /// Without `experimental-`.
    pub(in super::super) name: &'static str,
    /// Whether a flag without a value means true.
    pub(in super::super) switch: bool,
    /// Values that ask for what is the case, etcd's defaults among them. Empty always does.
    holds: &'static [&'static str],
    /// Whether other values are refused; if not, they pass with a warning.
    strict: bool,
    pub(in super::super) why: &'static str,
}

pub(super) enum Judgement {
    Holds,
    /// It has no effect, and why.
    Idle(&'static str),
    Refused(String),
}

impl Row {
    pub(super) fn judge(&self, value: &str) -> Judgement {
        if self.name == FEATURE_GATES {
            return gates(value);
        }
        let word = match truth(value) {
            Some(true) if self.switch => "true",
            Some(false) if self.switch => "false",
            _ => value,
        };
        match (self.holds.contains(&word), self.strict) {
            (true, _) => Judgement::Holds,
            (false, false) => Judgement::Idle(self.why),
            (false, true) => Judgement::Refused(format!("{value} is etcd's: {}", self.why)),
        }
    }
}

/// A setting that tunes a part of etcd that does not exist here.
const fn idle(name: &'static str, holds: &'static [&'static str], why: &'static str) -> Row {
    Row { name, switch: false, holds, strict: false, why }
}

/// A setting whose other values would have to be honoured.
const fn only(name: &'static str, holds: &'static [&'static str], why: &'static str) -> Row {
    Row { name, switch: false, holds, strict: true, why }
}

const fn switch(row: Row) -> Row {
    Row { switch: true, ..row }
}

const FEATURE_GATES: &str = "feature-gates";

const BBOLT: &str = "it tunes bbolt, and the state is in RocksDB";
const FILES: &str = "the log and the snapshots take care of themselves: snapshot-count and max-log-bytes bound them";
const DISCOVERY: &str =
    "there is no discovery service: name the members in initial-cluster, or in DNS for discovery-srv";
const NO_DISCOVERY: &str = "it tunes discovery, which does not exist here";
const PROXY: &str = "only the v3 API exists, and no proxy for v2";
const NO_PROXY: &str = "it tunes the proxy for v2, which does not exist here";
const SLOW: &str = "slow requests are not logged one by one: see the histograms of /metrics";
const TRACES: &str = "there are no traces";
const NO_TRACES: &str = "it tunes traces, which do not exist here";
const IGNORED: &str = "etcd ignores it, too";
const CHECKED: &str = "members are not compared by the cluster: checksums cover each read of the log and the state, and /status has the digests to compare";
const LEASES: &str = "a new leader gives every lease its whole TTL again";

/// By name.
const ROWS: &[Row] = &[
    idle("backend-batch-interval", &["0", "0s"], BBOLT),
    idle("backend-batch-limit", &["0"], BBOLT),
    idle("backend-bbolt-freelist-type", &["map", "array"], BBOLT),
    idle("bootstrap-defrag-threshold-megabytes", &["0"], BBOLT),
    idle("client-cert-file", &[], "a member does not connect to its own client address"),
    idle("client-key-file", &[], "a member does not connect to its own client address"),
    switch(idle("cluster-active-size", &[], IGNORED)),
    switch(idle("cluster-remove-delay", &[], IGNORED)),
    switch(idle("cluster-sync-interval", &[], IGNORED)),
    switch(idle("compact-hash-check-enabled", &["false"], CHECKED)),
    idle("compact-hash-check-time", &["1m", "1m0s"], CHECKED),
    idle("compaction-batch-limit", &["0", "1000"], "a compaction removes as much at a time as disturbs nobody"),
    idle(
        "compaction-sleep-interval",
        &["0", "0s", "10ms"],
        "a compaction removes as much at a time as disturbs nobody",
    ),
    switch(idle("config", &[], IGNORED)),
    idle("corrupt-check-time", &["0", "0s"], CHECKED),
    only("discovery", &[], DISCOVERY),
    only("discovery-cacert", &[], DISCOVERY),
    only("discovery-cert", &[], DISCOVERY),
    idle("discovery-dial-timeout", &["2s"], NO_DISCOVERY),
    only("discovery-endpoints", &[], DISCOVERY),
    idle("discovery-fallback", &["exit", "proxy"], NO_DISCOVERY),
    switch(idle("discovery-insecure-skip-tls-verify", &["false"], NO_DISCOVERY)),
    switch(idle("discovery-insecure-transport", &["true"], NO_DISCOVERY)),
    idle("discovery-keepalive-time", &["2s"], NO_DISCOVERY),
    idle("discovery-keepalive-timeout", &["6s"], NO_DISCOVERY),
    only("discovery-key", &[], DISCOVERY),
    only("discovery-password", &[], DISCOVERY),
    only("discovery-proxy", &[], DISCOVERY),
    idle("discovery-request-timeout", &["5s"], NO_DISCOVERY),
    only("discovery-token", &[], DISCOVERY),
    only("discovery-user", &[], DISCOVERY),
    idle("distributed-tracing-address", &["localhost:4317"], NO_TRACES),
    idle("distributed-tracing-instance-id", &[], NO_TRACES),
    idle("distributed-tracing-sampling-rate", &["0"], NO_TRACES),
    idle("distributed-tracing-service-name", &["etcd"], NO_TRACES),
    idle("downgrade-check-time", &["5s"], "the end of a downgrade is noticed at once"),
    switch(only("enable-distributed-tracing", &["false"], TRACES)),
    switch(only("enable-lease-checkpoint", &["false"], LEASES)),
    switch(only("enable-lease-checkpoint-persist", &["false"], LEASES)),
    switch(only(
        "enable-log-rotation",
        &["false"],
        "files of logs are not rotated: leave that to logrotate or to journald",
    )),
    switch(idle("enable-pprof", &["false"], "there are no profiles of Go")),
    switch(idle("enable-v2", &["false"], "there is no API of etcd 2, as in etcd 3.6 and later")),
    only("enable-v2v3", &[], PROXY),
    only(FEATURE_GATES, &[], ""),
    switch(idle("force", &[], IGNORED)),
    idle("grpc-keepalive-min-time", &["5s"], "clients may ping as often as they like"),
    switch(idle("initial-corrupt-check", &["false"], CHECKED)),
    switch(idle("initial-election-tick-advance", &["true", "false"], "a start waits for nothing but its election")),
    only(
        "listen-client-http-urls",
        &[],
        "listen-client-urls serves gRPC and HTTP alike, and listen-metrics-urls the plain pages alone",
    ),
    only("log-package-levels", &[], "write log-level=info,conclave_node=debug"),
    idle(
        "log-rotation-config-json",
        &[r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#],
        "files of logs are not rotated",
    ),
    only("logger", &["zap", "capnslog"], "there is one logger"),
    switch(idle("max-result-buffer", &[], IGNORED)),
    switch(idle("max-retry-attempts", &[], IGNORED)),
    idle("max-snapshots", &["5"], FILES),
    idle("max-wals", &["5"], FILES),
    switch(only(
        "memory-mlock",
        &["false"],
        "the state is not a file in memory: forbid swapping for the whole machine or unit",
    )),
    switch(idle("peer-election-timeout", &[], IGNORED)),
    switch(idle("peer-heartbeat-interval", &[], IGNORED)),
    switch(idle(
        "peer-skip-client-san-verification",
        &["true", "false"],
        "the addresses of members are never looked up: name their certificates by peer-cert-allowed-hostname",
    )),
    switch(idle("pre-vote", &["true"], "a member always asks before it stands for election")),
    only("proxy", &["off", "false"], PROXY),
    idle("proxy-dial-timeout", &["1000"], NO_PROXY),
    idle("proxy-failure-wait", &["5000"], NO_PROXY),
    idle("proxy-read-timeout", &["0"], NO_PROXY),
    idle("proxy-refresh-interval", &["30000"], NO_PROXY),
    idle("proxy-write-timeout", &["5000"], NO_PROXY),
    idle("raft-read-timeout", &["5s"], "connections between members have deadlines of their own"),
    idle("raft-write-timeout", &["5s"], "connections between members have deadlines of their own"),
    switch(idle("retry-interval", &[], IGNORED)),
    switch(only("set-member-localaddr", &["false"], "the system chooses the address that a member connects from")),
    switch(idle("skip-client-san-verification", &["true", "false"], "the addresses of clients are never looked up")),
    switch(idle("snapshot", &[], IGNORED)),
    idle("snapshot-catchup-entries", &["5000"], FILES),
    switch(idle("socket-reuse-address", &["true", "false"], "it is always so")),
    switch(only("socket-reuse-port", &["false"], "two members on one port would answer for each other")),
    switch(idle("stop-grpc-service-on-defrag", &["false"], "a member serves while it is defragmented")),
    switch(idle("test.coverprofile", &[], IGNORED)),
    switch(idle("test.outputdir", &[], IGNORED)),
    switch(idle("txn-mode-write-with-shared-buffer", &["true", "false"], BBOLT)),
    switch(idle("v", &[], IGNORED)),
    idle(
        "v2-deprecation",
        &["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"],
        "only the v3 API exists",
    ),
    switch(idle("vv", &[], IGNORED)),
    idle("wait-cluster-ready-timeout", &["5s"], "a member is ready when the cluster is"),
    idle("warning-apply-duration", &["100ms"], SLOW),
    idle("warning-unary-request-duration", &["300ms"], SLOW),
];

/// Feature gates that change nothing here, whatever they are.
const GATES: [&str; 4] = ["AllBeta", "FastLeaseKeepAlive", "PriorityRequest", "TxnModeWriteWithSharedBuffer"];
/// Gates that ask for what does not exist, with the setting whose row says why.
const ASKING: [(&str, &str); 6] = [
    ("CompactHashCheck", "compact-hash-check-enabled"),
    ("InitialCorruptCheck", "initial-corrupt-check"),
    ("LeaseCheckpoint", "enable-lease-checkpoint"),
    ("LeaseCheckpointPersist", "enable-lease-checkpoint-persist"),
    ("SetMemberLocalAddr", "set-member-localaddr"),
    ("StopGRPCServiceOnDefrag", "stop-grpc-service-on-defrag"),
];

/// `Gate=true,Other=false`.
fn gates(text: &str) -> Judgement {
    let mut all = Judgement::Holds;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (gate, on) = part.split_once('=').map_or((part, None), |(gate, word)| (gate, truth(word)));
        let Some(on) = on else { return Judgement::Refused(format!("{part:?} is not GATE=true or GATE=false")) };
        let row = ASKING.iter().find(|(name, _)| *name == gate).and_then(|(_, setting)| find(setting));
        match row {
            _ if GATES.contains(&gate) || (gate == "AllAlpha" && !on) => {}
            None => {
                return Judgement::Refused(match gate {
                    "AllAlpha" => "AllAlpha=true asks for what does not exist: name the gates".to_owned(),
                    _ => format!("{gate:?} is no gate of etcd's"),
                });
            }
            Some(row) => match row.judge(if on { "true" } else { "false" }) {
                Judgement::Holds => {}
                Judgement::Idle(why) => all = Judgement::Idle(why),
                Judgement::Refused(_) => return Judgement::Refused(format!("{gate}=true is etcd's: {}", row.why)),
            },
        }
    }
    all
}

pub(super) fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}
