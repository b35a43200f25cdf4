//! The node's configuration: parsed, with defaults, checked, with units in the names.
//!
//! The same settings come from command line flags, from `CONCLAVE_*` and `ETCD_*` environment
//! variables and from a YAML file (`--config-file`), under etcd's names. They are merged as text
//! (`settings`) and parsed afterwards, so a setting has the same meaning and the same errors
//! wherever it was written.
//!
//! 1. A flag wins over the environment, the environment over the file, the file over the default. A
//!    variable of Conclave's wins over etcd's.
//!    (etcd ignores flags if there is a file. Here a file can hold what all members share, and
//!    flags what differs.)
//! 2. An unknown setting is an error, never skipped. An empty environment variable counts as unset.
//! 3. A [`Config`] is always valid, so no other code checks it again.

mod audit;
mod auth;
mod check;
mod client_limits;
mod duration;
mod etcd;
mod file;
mod flags;
#[cfg(test)]
mod fuzz;
mod problems;
mod settings;
pub mod tls;
mod url;
mod urls;

pub use audit::{AuditConfig, AuditOutput};
pub use auth::{AuthToken, Issuer, JwtConfig, OwnTokens};
pub use check::ConfigError;
pub use client_limits::ClientLimits;
pub use etcd::is_etcd;
pub use tls::{PeerSecretConfig, TlsConfig};

pub use url::{HttpUrl, LocalUrl};

use conclave_state::placement::Labels;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A node's configuration. Built by [`Config::load`], or by hand in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This member's name, one of `initial_cluster`.
    pub name: String,
    /// What the policy of placement tells members apart by.
    pub member_labels: Labels,
    pub data_dir: PathBuf,
    /// Where the log is, if not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Where clients connect. Port 0 takes a free one.
    pub listen_client: Vec<Listen>,
    /// Sockets in the file system where clients connect.
    pub listen_local: Vec<LocalUrl>,
    /// The client URLs in member lists.
    pub advertise_client_urls: Vec<HttpUrl>,
    pub advertise_local: Vec<LocalUrl>,
    pub listen_peer: Vec<Listen>,
    /// The URLs at which the other members reach this one; the same as in `initial_cluster` for
    /// `name`.
    pub initial_advertise_peer_urls: Vec<HttpUrl>,
    /// Extra listeners for `/metrics`, `/health` and so on; empty: only on the client addresses.
    pub listen_metrics: Vec<Listen>,
    /// Every member of the cluster as it was first started, sorted by name; no name and no URL
    /// twice.
    pub initial_cluster: Vec<InitialMember>,
    pub initial_cluster_state: InitialClusterState,
    /// An empty directory asks DNS for `initial_cluster` ([`crate::discovery`]).
    pub discovery: Option<Discovery>,
    /// This member's name in `initial_cluster`, if DNS has named the members.
    pub discovered_as: Option<String>,
    /// Make a cluster of this member alone out of what its directory holds, before the start.
    pub force_new_cluster: bool,
    /// Part of the cluster's id: two clusters with the same addresses and other tokens do not talk
    /// to each other.
    pub initial_cluster_token: String,
    /// Refuse changes of the membership that leave too few members that run.
    pub strict_reconfig_check: bool,
    pub max_learners: usize,
    pub heartbeat_interval_ms: u64,
    /// The shortest time without a message of the leader before a member stands for election.
    pub election_timeout_ms: u64,
    /// Entries between two snapshots (the log is purged behind a snapshot).
    pub snapshot_count: u64,
    /// A log with more bytes of entries is cut to half of this, behind a snapshot.
    pub max_log_bytes: u64,
    /// `None`: no limit.
    pub quota_backend_bytes: Option<u64>,
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    /// Calls under way on one connection of a client.
    pub max_concurrent_streams: u32,
    pub connection_limits: ClientLimits,
    pub user_limits: ClientLimits,
    pub keep_alive: KeepAlive,
    pub auto_compaction: AutoCompaction,
    /// `None`: the cluster makes no backups by itself.
    pub backups: Option<Backups>,
    /// A snapshot that an empty data directory begins with.
    pub restore_from: Option<PathBuf>,
    pub watch_progress_notify_interval: Duration,
    /// 0: one current-thread runtime for the whole node; n: a multi-thread runtime with n workers.
    pub worker_threads: usize,
    /// Answer before data is on disk. For measurements only: a crash loses acknowledged writes.
    pub unsafe_no_fsync: bool,
    /// For `https` addresses of clients and metrics; there if one of them is.
    pub client_tls: Option<TlsConfig>,
    /// For `https` addresses of peers; there if one of them is.
    pub peer_tls: Option<TlsConfig>,
    /// Whether peers without TLS are accepted on `https` addresses.
    pub peer_allow_plaintext: bool,
    /// For addresses of peers without TLS.
    pub peer_secret: Option<PeerSecretConfig>,
    /// The common names of clients' certificates are users.
    pub client_cert_auth: bool,
    pub auth_token: AuthToken,
    /// For how long a simple token is good after its last use.
    pub auth_token_ttl: Duration,
    /// Of bcrypt, for new passwords.
    pub bcrypt_cost: u32,
    /// Origins whose web pages may read answers; empty, or with `*` in it: all.
    pub cors: Vec<String>,
    /// Names under which plain HTTP is answered; empty, or with `*` in it: any.
    pub host_whitelist: Vec<String>,
    /// Serve the services as JSON.
    pub enable_grpc_gateway: bool,
    /// Serve the web console.
    pub console: bool,
    /// Histograms of how long each method took.
    pub extensive_metrics: bool,
    pub log: LogConfig,
    /// `None`: nothing is recorded.
    pub audit: Option<AuditConfig>,
    /// Started under etcd's name: version, ready line and logs are as scripts for etcd expect them.
    pub as_etcd: bool,
    /// Warnings to log at the start. They never stop the node.
    pub warnings: Vec<String>,
    /// Settings of etcd's that ask for what is the case anyway, for the log at debug.
    pub notes: Vec<String>,
    /// The environment variables that set something.
    pub variables: Vec<String>,
}

/// How a connection of a client is tried that has been silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `None`: it is not tried.
    pub interval: Option<Duration>,
    pub timeout: Duration,
}

/// Backups that the cluster makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    pub dir: PathBuf,
    pub interval: Duration,
    /// How many stay; 0: all.
    pub retention: usize,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    /// With TLS.
    pub secure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    pub name: String,
    /// Sorted.
    pub peer_urls: Vec<HttpUrl>,
}

/// Where DNS has the members of a first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    pub domain: String,
    /// Tells several clusters in one domain apart.
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialClusterState {
    New,
    Existing,
}

/// Which old versions are compacted automatically. Only the leader proposes compactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    Off,
    /// Keep the versions of at least this much time.
    Periodic(Duration),
    /// Keep the versions of this many revisions.
    Revision(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a list of `target=level` as `tracing` filters have it.
    pub filter: String,
    pub format: LogFormat,
    /// Where it goes, not empty.
    pub outputs: Vec<LogOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    Stderr,
    Stdout,
    /// Added to.
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
    /// JSON with etcd's keys.
    Etcd,
}

impl Config {
    /// Reads flags, environment and file. `--help` and `--version` come out as
    /// [`ConfigError::Usage`] with exit code 0.
    pub fn load<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Config, ConfigError> {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Config::read(args.into_iter().map(Into::into).collect(), &variables.collect())
    }

    /// `variables` are etcd's; clap reads Conclave's by itself, and only their names matter.
    fn read(args: Vec<OsString>, variables: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        let as_etcd = etcd::is_etcd(etcd::arguments::program(&args));
        let switches = flags::Flags::switches();
        let arguments = etcd::arguments::Arguments::read(args.into_iter(), |name| switches.contains(name));
        let flags = flags::Flags::parse_from_args(arguments.own.clone())?;
        let environment = etcd::environment::Environment::read(variables, |name| arguments.value(name, variables));
        let file = match flags.config_file().or(environment.config_file.as_deref()) {
            Some(path) => file::read(path)?,
            None => file::Read::default(),
        };
        let in_force = environment.in_force(variables);
        let verdicts = arguments.foreign.or(environment.foreign).or(file.foreign).judge();
        let settings = flags.into_settings().or(environment.settings).or(file.settings);
        let mut config = check::check_with(settings, as_etcd, verdicts.problems)?;
        config.warnings.extend(environment.warnings);
        config.warnings.extend(verdicts.warnings);
        config.warnings.extend(flags::unknown_variables(variables.keys()));
        config.notes = verdicts.notes;
        config.variables = in_force;
        Ok(config)
    }

    /// The longest gRPC message that a client may send: the largest request plus the rest of its
    /// message.
    pub fn max_message(&self) -> usize {
        self.max_request_bytes + (512 << 10)
    }

    /// The longest time a member waits before it stands for election. Each member draws a random
    /// time between the two.
    pub fn election_timeout_max_ms(&self) -> u64 {
        self.election_timeout_ms * 5 / 3
    }

    /// The timeout of a request whose client set no deadline.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * Duration::from_millis(self.election_timeout_ms)
    }

    /// A one-member configuration on loopback with all defaults, for tests.
    pub fn single(name: &str, data_dir: impl Into<PathBuf>, client: SocketAddr, peer: SocketAddr) -> Config {
        let settings = settings::Settings {
            name: Some(name.to_owned()),
            data_dir: Some(data_dir.into().into_os_string().to_string_lossy().into_owned()),
            listen_client_urls: Some(format!("http://{client}")),
            listen_peer_urls: Some(format!("http://{peer}")),
            advertise_client_urls: Some("http://localhost:2379".to_owned()),
            initial_advertise_peer_urls: Some(format!("http://127.0.0.1:{}", peer.port().max(1))),
            ..Default::default()
        };
        check::check(settings, false).expect("constant settings are valid")
    }
}
