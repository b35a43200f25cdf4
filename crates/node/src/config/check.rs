//! Turns text into a valid [`Config`]: checks every rule between the settings. Each error says what
//! to write instead.
//!
//! All problems are collected, so that one start reports them all.

use super::problems::Problems;
use super::settings::Settings;
use super::{
    AutoCompaction, Backups, Config, Discovery, HttpUrl, InitialClusterState, InitialMember, KeepAlive, LogConfig,
    LogFormat, LogOutput, audit, auth, client_limits, duration, tls, urls,
};

use conclave_net::http2::{PING_EVERY, PING_TIMEOUT};
use conclave_state::placement::{self, Labels};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
const DEFAULT_SNAPSHOT_COUNT: u64 = 100_000;
const DEFAULT_LOG_BYTES: u64 = 1 << 30;
/// A purge frees megabytes at a time.
const LEAST_LOG_BYTES: u64 = 16 << 20;
/// Half of the largest log record (`storage::codec::MAX_RECORD`).
const MAX_REQUEST_BYTES_LIMIT: usize = 32 << 20;
const DEFAULT_BACKUP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_HEARTBEAT_MS: u64 = 50;
const MAX_ELECTION_TIMEOUT_MS: u64 = 50_000;

/// Why a node cannot be configured.
#[derive(Debug)]
pub enum ConfigError {
    /// A flag that does not exist or has no value; also `--help` and `--version`.
    Usage {
        error: clap::Error,
        hint: Option<String>,
    },
    File {
        path: PathBuf,
        why: String,
    },
    /// Invalid settings: name and reason of each.
    Settings(Vec<(&'static str, String)>),
}

impl ConfigError {
    /// Whether the user asked for help or the version: printed to standard output, and no error.
    pub fn is_answer(&self) -> bool {
        matches!(self, ConfigError::Usage { error, .. } if !error.use_stderr())
    }
}

impl ConfigError {
    /// Whether the user asked for the version.
    pub fn is_version(&self) -> bool {
        matches!(self, ConfigError::Usage { error, .. } if error.kind() == clap::error::ErrorKind::DisplayVersion)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Usage { error, hint } => {
                let text = error.to_string();
                write!(f, "{}", text.strip_prefix("error: ").unwrap_or(&text).trim_end())?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
            }
            ConfigError::File { path, why } => write!(f, "the configuration file {}: {why}", path.display()),
            ConfigError::Settings(problems) => {
                let lines: Vec<String> = problems.iter().map(|(name, why)| format!("--{name}: {why}")).collect();
                write!(f, "{}", lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The entries of a list with commas.
fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// Origins have a scheme: without one, an entry would allow nothing.
fn check_origins(s: &Settings, p: &mut Problems) -> Vec<String> {
    let origins = list(s.cors.as_deref());
    for origin in origins.iter().filter(|origin| *origin != "*") {
        let is_origin = origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        p.require(is_origin, "cors", || {
            format!("{origin:?} is no origin such as https://console.example.com, and not *")
        });
    }
    origins
}

/// Limits of requests, of the log and of the state. 0 stands for the default where a setting has
/// one.
struct Sizes {
    snapshot_count: u64,
    max_log_bytes: u64,
    quota_backend_bytes: Option<u64>,
    max_request_bytes: usize,
    max_txn_ops: usize,
}

fn check_sizes(s: &Settings, p: &mut Problems) -> Sizes {
    let max_request_bytes = p.number("max-request-bytes", s.max_request_bytes.as_ref(), 1_572_864, "bytes");
    p.require((1..=MAX_REQUEST_BYTES_LIMIT).contains(&max_request_bytes), "max-request-bytes", || {
        format!("{max_request_bytes} is not between 1 and {MAX_REQUEST_BYTES_LIMIT} (32 MiB)")
    });
    let max_txn_ops = p.number("max-txn-ops", s.max_txn_ops.as_ref(), 128, "operations");
    p.require(max_txn_ops > 0, "max-txn-ops", || "at least 1".to_owned());
    let quota: i64 = p.number("quota-backend-bytes", s.quota_backend_bytes.as_ref(), 0, "bytes");
    let snapshot_count = p.number("snapshot-count", s.snapshot_count.as_ref(), 0, "entries");
    let max_log_bytes: u64 = p.number("max-log-bytes", s.max_log_bytes.as_ref(), 0, "bytes");
    p.require(max_log_bytes == 0 || max_log_bytes >= LEAST_LOG_BYTES, "max-log-bytes", || {
        format!("{max_log_bytes} is less than {LEAST_LOG_BYTES} (16 MiB)")
    });
    Sizes {
        snapshot_count: if snapshot_count == 0 { DEFAULT_SNAPSHOT_COUNT } else { snapshot_count },
        max_log_bytes: if max_log_bytes == 0 { DEFAULT_LOG_BYTES } else { max_log_bytes },
        quota_backend_bytes: match quota {
            ..0 => None,
            0 => Some(DEFAULT_QUOTA_BYTES),
            bytes => Some(bytes.unsigned_abs()),
        },
        max_request_bytes,
        max_txn_ops,
    }
}

pub(super) fn check(settings: Settings, as_etcd: bool) -> Result<Config, ConfigError> {
    check_with(settings, as_etcd, Vec::new())
}

fn check_name(s: &Settings, p: &mut Problems) -> String {
    let name = s.name.clone().unwrap_or_else(|| "default".to_owned());
    p.require(!name.contains(['=', ',']) && !name.chars().any(char::is_control), "name", || {
        format!("{name:?} may not hold '=', ',' or control characters")
    });
    name
}

fn check_discovery(s: &Settings, p: &mut Problems) -> Option<Discovery> {
    const DOMAIN: &str = "discovery-srv";
    let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let named = |text: &String| !text.is_empty() && text.len() < 200 && text.chars().all(label);
    p.require(s.discovery_srv.is_none() || s.initial_cluster.is_none(), DOMAIN, || {
        "it names the members, and so does --initial-cluster: give one of them".to_owned()
    });
    p.require(s.discovery_srv.is_some() || s.discovery_srv_name.is_none(), "discovery-srv-name", || {
        "it is part of the names of records in the domain --discovery-srv, which is missing".to_owned()
    });
    p.require(s.discovery_srv.as_ref().is_none_or(named), DOMAIN, || "it is no domain name".to_owned());
    p.require(s.discovery_srv_name.as_ref().is_none_or(named), "discovery-srv-name", || {
        "it cannot be part of a domain name".to_owned()
    });
    let domain = s.discovery_srv.clone()?;
    Some(Discovery { domain, name: s.discovery_srv_name.clone() })
}

fn check_labels(s: &Settings, p: &mut Problems) -> Labels {
    let mut labels = Labels::new();
    for entry in list(s.member_label.as_deref()) {
        match placement::parse_label(&entry) {
            Ok((name, _)) if labels.contains_key(&name) => p.add("member-label", format!("{name} stands twice")),
            Ok((name, value)) => drop(labels.insert(name, value)),
            Err(why) => p.add("member-label", why),
        }
    }
    if let Err(why) = placement::check_labels(&labels) {
        p.add("member-label", why);
    }
    labels
}

fn check_progress(s: &Settings, p: &mut Problems) -> Duration {
    let setting = "watch-progress-notify-interval";
    let interval = p.duration(setting, s.watch_progress_notify_interval.as_ref(), Duration::from_secs(600));
    p.require(interval >= Duration::from_millis(100), setting, || "at least 100ms".to_owned());
    interval
}

/// A warning about a number of members that bears no more than one member fewer.
fn even(members: usize) -> Option<String> {
    let faults = (members.max(1) - 1) / 2;
    let text = format!("{members} members bear the loss of {faults}, as {} would", members.saturating_sub(1));
    members.is_multiple_of(2).then_some(text)
}

/// `problems`: what is known to be wrong already.
#[expect(clippy::too_many_lines, reason = "a table: one line a setting")]
pub(super) fn check_with(
    settings: Settings,
    as_etcd: bool,
    problems: Vec<(&'static str, String)>,
) -> Result<Config, ConfigError> {
    let s = settings.or(Settings::default());
    let mut p = Problems(problems);
    let mut warnings = Vec::new();

    let name = check_name(&s, &mut p);
    let urls = urls::check(&s, &mut p, &mut warnings);
    let initial_cluster = check_cluster(&s, &name, &urls.advertise_peer, &mut p);
    warnings.extend(even(initial_cluster.len()));
    let data_dir = s.data_dir.clone().map_or_else(|| PathBuf::from(default_directory(&name, as_etcd)), PathBuf::from);
    let tls = tls::check(&s, &urls.uses(&initial_cluster), &data_dir, &mut p, &mut warnings);

    let (heartbeat_interval_ms, election_timeout_ms) = check_timing(&s, &mut p, &mut warnings);
    let sizes = check_sizes(&s, &mut p);

    let logins = auth::check(&s, &mut p);
    let (connection_limits, user_limits) = client_limits::check(&s, &mut p);
    let config = Config {
        data_dir,
        wal_dir: s.wal_dir.clone().map(PathBuf::from),
        name,
        member_labels: check_labels(&s, &mut p),
        listen_client: urls.listen_client,
        listen_local: urls.listen_local,
        advertise_client_urls: urls.advertise_client,
        advertise_local: urls.advertise_local,
        listen_peer: urls.listen_peer,
        initial_advertise_peer_urls: urls.advertise_peer,
        listen_metrics: urls.listen_metrics,
        initial_cluster,
        initial_cluster_state: p.choice(
            "initial-cluster-state",
            s.initial_cluster_state.as_ref(),
            &[("new", InitialClusterState::New), ("existing", InitialClusterState::Existing)],
        ),
        discovery: check_discovery(&s, &mut p),
        discovered_as: None,
        force_new_cluster: p.switch("force-new-cluster", s.force_new_cluster.as_ref(), false),
        initial_cluster_token: s.initial_cluster_token.clone().unwrap_or_else(|| "conclave-cluster".to_owned()),
        strict_reconfig_check: p.switch("strict-reconfig-check", s.strict_reconfig_check.as_ref(), true),
        max_learners: p.number("max-learners", s.max_learners.as_ref(), 1, "members"),
        heartbeat_interval_ms,
        election_timeout_ms,
        snapshot_count: sizes.snapshot_count,
        max_log_bytes: sizes.max_log_bytes,
        quota_backend_bytes: sizes.quota_backend_bytes,
        max_request_bytes: sizes.max_request_bytes,
        max_txn_ops: sizes.max_txn_ops,
        max_concurrent_streams: check_streams(&s, &mut p),
        connection_limits,
        user_limits,
        keep_alive: check_keep_alive(&s, &mut p),
        auto_compaction: check_compaction(&s, &mut p),
        backups: check_backups(&s, &mut p),
        restore_from: s.restore_from.as_deref().map(|text| check_path("restore-from", text, &mut p)),
        watch_progress_notify_interval: check_progress(&s, &mut p),
        worker_threads: p.number("worker-threads", s.worker_threads.as_ref(), 0, "threads"),
        cors: check_origins(&s, &mut p),
        host_whitelist: list(s.host_whitelist.as_deref()),
        enable_grpc_gateway: p.switch("enable-grpc-gateway", s.enable_grpc_gateway.as_ref(), true),
        console: p.switch("console", s.console.as_ref(), true),
        unsafe_no_fsync: p.switch("unsafe-no-fsync", s.unsafe_no_fsync.as_ref(), false),
        client_tls: tls.client,
        peer_tls: tls.peer,
        peer_allow_plaintext: tls.peer_allow_plaintext,
        peer_secret: tls.peer_secret,
        client_cert_auth: p.switch("client-cert-auth", s.client_cert_auth.as_ref(), false),
        auth_token: logins.token,
        auth_token_ttl: logins.ttl,
        bcrypt_cost: logins.bcrypt_cost,
        extensive_metrics: p.choice("metrics", s.metrics.as_ref(), &[("basic", false), ("extensive", true)]),
        log: check_log(&s, as_etcd, &mut p),
        audit: audit::check(&s, &mut p),
        as_etcd,
        warnings,
        notes: Vec::new(),
        variables: Vec::new(),
    };
    p.require(config.worker_threads <= 1024, "worker-threads", || "at most 1024".to_owned());
    if p.0.is_empty() { Ok(config) } else { Err(ConfigError::Settings(p.0)) }
}

fn check_cluster(s: &Settings, name: &str, advertise_peer: &[HttpUrl], p: &mut Problems) -> Vec<InitialMember> {
    const FLAG: &str = "initial-cluster";
    let Some(text) = &s.initial_cluster else {
        return vec![InitialMember { name: name.to_owned(), peer_urls: advertise_peer.to_vec() }];
    };
    let mut members: BTreeMap<String, Vec<HttpUrl>> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((member, url)) = part.split_once('=').filter(|(member, _)| !member.is_empty()) else {
            p.add(FLAG, format!("{part:?} is not NAME=URL"));
            continue;
        };
        let url = match HttpUrl::parse(url) {
            Ok(url) => url,
            Err(why) => {
                p.add(FLAG, format!("member {member:?}: {why}"));
                continue;
            }
        };
        let has = |urls: &[HttpUrl]| urls.iter().any(|taken| taken.authority() == url.authority());
        match members.iter().find(|(_, urls)| has(urls)) {
            Some((other, _)) if other == member => p.add(FLAG, format!("{member:?} has the URL {url} twice")),
            Some((other, _)) => p.add(FLAG, format!("{other:?} and {member:?} have the same URL {url}")),
            None => members.entry(member.to_owned()).or_default().push(url),
        }
    }
    members.values_mut().for_each(|urls| urls.sort());
    let most = crate::peer::validate::MAX_URLS;
    if let Some((member, urls)) = members.iter().find(|(_, urls)| urls.len() > most) {
        p.add(FLAG, format!("{member:?} has {} URLs: a member has at most {most}", urls.len()));
    }
    match members.get(name) {
        // The parse error of this member's entry has been reported already.
        None if p.0.iter().any(|(flag, _)| *flag == FLAG) => {}
        None => p.add(FLAG, format!("this member's name {name:?} is missing: it must be one of those in the list")),
        Some(urls) if s.initial_advertise_peer_urls.is_some() || !advertise_peer.is_empty() => {
            p.require(advertise_peer == urls, "initial-advertise-peer-urls", || {
                let told = |urls: &[HttpUrl]| urls.iter().map(HttpUrl::to_string).collect::<Vec<_>>().join(",");
                let (told, listed) = (told(advertise_peer), told(urls));
                format!("is {told}, but --initial-cluster has {name} at {listed}: they must be the same")
            });
        }
        Some(_) => {}
    }
    if members.len() > 1
        && let Some((member, url)) = members
            .iter()
            .flat_map(|(member, urls)| urls.iter().map(move |url| (member, url)))
            .find(|(_, url)| url.is_wildcard() || url.port() == 0)
    {
        p.add(FLAG, format!("{member}={url}: the other members cannot connect to that"));
    }
    members.into_iter().map(|(name, peer_urls)| InitialMember { name, peer_urls }).collect()
}

/// Heartbeat interval and election timeout. If one is given, the other one follows it where its
/// default does not fit.
fn check_timing(s: &Settings, p: &mut Problems, warnings: &mut Vec<String>) -> (u64, u64) {
    const HEARTBEAT: &str = "heartbeat-interval";
    const ELECTION: &str = "election-timeout";
    let mut heartbeat_ms = p.number(HEARTBEAT, s.heartbeat_interval.as_ref(), DEFAULT_HEARTBEAT_MS, "milliseconds");
    let mut election_ms = p.number(ELECTION, s.election_timeout.as_ref(), 3 * DEFAULT_HEARTBEAT_MS, "milliseconds");
    match (&s.heartbeat_interval, &s.election_timeout) {
        (Some(_), None) if election_ms < heartbeat_ms.saturating_mul(3) => {
            election_ms = heartbeat_ms.saturating_mul(3).min(MAX_ELECTION_TIMEOUT_MS);
            warnings.push(format!("--{ELECTION} is {election_ms} ms, because --{HEARTBEAT} is {heartbeat_ms} ms"));
        }
        (None, Some(_)) if election_ms < heartbeat_ms.saturating_mul(3) => {
            heartbeat_ms = (election_ms / 3).max(1);
            warnings.push(format!("--{HEARTBEAT} is {heartbeat_ms} ms, because --{ELECTION} is {election_ms} ms"));
        }
        _ => {}
    }
    p.require(heartbeat_ms > 0, HEARTBEAT, || "at least 1 millisecond".to_owned());
    p.require(election_ms >= heartbeat_ms.saturating_mul(2), ELECTION, || {
        format!("{election_ms} ms is less than twice the heartbeat interval of {heartbeat_ms} ms: followers would stand for election while their leader is alive")
    });
    p.require(election_ms <= MAX_ELECTION_TIMEOUT_MS, ELECTION, || {
        format!("at most {MAX_ELECTION_TIMEOUT_MS} milliseconds")
    });
    (heartbeat_ms, election_ms)
}

fn check_streams(s: &Settings, p: &mut Problems) -> u32 {
    const FLAG: &str = "max-concurrent-streams";
    let streams = p.number(FLAG, s.max_concurrent_streams.as_ref(), u32::MAX, "calls");
    p.require(streams > 0, FLAG, || "at least 1".to_owned());
    streams
}

fn check_keep_alive(s: &Settings, p: &mut Problems) -> KeepAlive {
    /// As gRPC in Go: pings more often than that are noise.
    const LEAST: Duration = Duration::from_secs(1);
    let interval = p.duration("grpc-keepalive-interval", s.grpc_keepalive_interval.as_ref(), PING_EVERY);
    let timeout = p.duration("grpc-keepalive-timeout", s.grpc_keepalive_timeout.as_ref(), PING_TIMEOUT);
    let off = interval.is_zero() || timeout.is_zero();
    KeepAlive { interval: (!off).then_some(interval.max(LEAST)), timeout }
}

/// A start under etcd's name is at home where scripts look for etcd's data.
fn default_directory(name: &str, as_etcd: bool) -> String {
    format!("{name}.{}", if as_etcd { "etcd" } else { "conclave" })
}

fn check_compaction(s: &Settings, p: &mut Problems) -> AutoCompaction {
    const FLAG: &str = "auto-compaction-retention";
    #[derive(Clone, Copy)]
    enum Mode {
        Periodic,
        Revision,
    }
    let modes = [("periodic", Mode::Periodic), ("revision", Mode::Revision)];
    let mode = p.choice("auto-compaction-mode", s.auto_compaction_mode.as_ref(), &modes);
    let text = s.auto_compaction_retention.as_deref().unwrap_or("0");
    let policy = match (mode, text.parse::<u32>()) {
        (_, Ok(0)) => Ok(AutoCompaction::Off),
        (Mode::Periodic, Ok(hours)) => Ok(AutoCompaction::Periodic(Duration::from_secs(u64::from(hours) * 3600))),
        (Mode::Periodic, Err(_)) => duration::parse(text).map(|period| match period.is_zero() {
            true => AutoCompaction::Off,
            false => AutoCompaction::Periodic(period),
        }),
        (Mode::Revision, _) => match text.parse::<i64>() {
            Ok(kept) if kept > 0 => Ok(AutoCompaction::Revision(kept)),
            _ => Err(format!("{text:?} is not a number of revisions (mode revision)")),
        },
    };
    p.take(FLAG, policy, AutoCompaction::Off)
}

fn check_backups(s: &Settings, p: &mut Problems) -> Option<Backups> {
    let interval = p.duration("backup-interval", s.backup_interval.as_ref(), DEFAULT_BACKUP_INTERVAL);
    p.require(interval >= Duration::from_secs(1), "backup-interval", || "at least 1s".to_owned());
    let retention = p.number("backup-retention", s.backup_retention.as_ref(), 7, "backups");
    let dir = s.backup_dir.as_deref().map(|text| check_path("backup-dir", text, p));
    if dir.is_none() {
        for (name, given) in [("backup-interval", &s.backup_interval), ("backup-retention", &s.backup_retention)] {
            p.require(given.is_none(), name, || "--backup-dir is missing: nobody would make backups".to_owned());
        }
    }
    Some(Backups { dir: dir?, interval, retention })
}

/// A path, or a URL of one.
fn check_path(name: &'static str, text: &str, p: &mut Problems) -> PathBuf {
    match text.split_once("://") {
        None => text.into(),
        Some(("file", path)) if path.starts_with('/') => path.into(),
        Some(("file", _)) => {
            p.add(name, "a file:// URL has the whole path: file:///var/backups");
            PathBuf::new()
        }
        Some((scheme, _)) => {
            p.add(name, format!("{scheme}:// is not known: a path, or file:// and a path"));
            PathBuf::new()
        }
    }
}

fn check_log(s: &Settings, as_etcd: bool, p: &mut Problems) -> LogConfig {
    let text = s.log_level.as_deref().unwrap_or("info");
    let filter = match text {
        "trace" | "debug" | "info" | "warn" | "error" | "off" => Ok(text.to_owned()),
        // etcd's two most severe levels, for errors that end the process.
        "dpanic" | "panic" | "fatal" => Ok("error".to_owned()),
        _ if text.contains('=') => EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string()),
        _ => Err(format!("{text:?} is none of: debug, info, warn, error, nor a list of target=level")),
    };
    let json = if as_etcd { LogFormat::Etcd } else { LogFormat::Json };
    let others = [("text", LogFormat::Text), ("console", LogFormat::Text)];
    let formats = match as_etcd {
        true => [("json", json), others[0], others[1]],
        false => [others[0], ("json", json), others[1]],
    };
    LogConfig {
        filter: p.take("log-level", filter, "info".to_owned()),
        format: p.choice("log-format", s.log_format.as_ref(), &formats),
        outputs: check_outputs(s, p),
    }
}

fn check_outputs(s: &Settings, p: &mut Problems) -> Vec<LogOutput> {
    let mut outputs = Vec::new();
    for part in list(s.log_outputs.as_deref()) {
        let output = match part.as_str() {
            "default" | "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            "systemd/journal" => {
                p.add("log-outputs", "journald takes what a unit writes to standard error: write stderr");
                continue;
            }
            path => LogOutput::File(path.into()),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    if outputs.is_empty() {
        outputs.push(LogOutput::Stderr);
    }
    outputs
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
