//! The node's configuration: parsed, defaulted, checked, with units in the names.
//!
//! The same settings come from command line flags, from `CONCLAVE_*` environment variables and from a YAML file
//! (`--config-file`), under etcd's names. They are merged as text (`settings`) and only then given types, so that a
//! setting means the same, and fails with the same words, wherever it was written.
//!
//! 1. A flag wins over the environment, the environment over the file, the file over the default. (etcd ignores flags once a
//!    file is named; here a file can hold what a cluster has in common and the flags what one member has for itself.)
//! 2. A setting that nobody knows is an error, never skipped; an empty environment variable counts as unset.
//! 3. A [`Config`] that exists is valid: nothing behind it checks again.

mod check;
mod duration;
mod file;
mod flags;
#[cfg(test)]
mod fuzz;
mod settings;
mod url;

pub use check::ConfigError;

pub use url::HttpUrl;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a node is told at its start. Built by [`Config::load`], or by hand in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This member's name, one of `initial_cluster`.
    pub name: String,
    pub data_dir: PathBuf,
    /// Where clients connect. Port 0 takes a free one.
    pub listen_client: Vec<SocketAddr>,
    /// What member lists tell clients.
    pub advertise_client_urls: Vec<HttpUrl>,
    pub listen_peer: Vec<SocketAddr>,
    /// Where the other members reach this one; the same as `initial_cluster` says for `name`.
    pub initial_advertise_peer_urls: Vec<HttpUrl>,
    /// Extra listeners for `/metrics`, `/health` and so on; empty: only on the client addresses.
    pub listen_metrics: Vec<SocketAddr>,
    /// Every member of the cluster as it was first started, sorted by name; no name and no URL twice.
    pub initial_cluster: Vec<InitialMember>,
    pub initial_cluster_state: InitialClusterState,
    /// Part of the cluster's id: two clusters with the same addresses and other tokens do not talk to each other.
    pub initial_cluster_token: String,
    pub heartbeat_interval_ms: u64,
    /// The shortest time without a leader's word before a member stands for election.
    pub election_timeout_ms: u64,
    /// Entries between two snapshots (the log is purged behind a snapshot).
    pub snapshot_count: u64,
    /// A log with more bytes of entries is cut to half of this, behind a snapshot.
    pub max_log_bytes: u64,
    /// `None`: no limit.
    pub quota_backend_bytes: Option<u64>,
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    pub auto_compaction: AutoCompaction,
    pub watch_progress_notify_interval: Duration,
    /// 0: one current-thread runtime for the whole node; n: a multi-thread runtime with n workers.
    pub worker_threads: usize,
    /// Answer before data is on disk. For measurements only: a crash loses acknowledged writes.
    pub unsafe_no_fsync: bool,
    pub log: LogConfig,
    /// Things worth a warning once the log is up; never a reason to refuse.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    pub name: String,
    /// Sorted.
    pub peer_urls: Vec<HttpUrl>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialClusterState {
    New,
    Existing,
}

/// Who forgets old versions, and which. The compaction is proposed by the leader alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    Off,
    /// Keep the versions of at least the last so much time.
    Periodic(Duration),
    /// Keep the versions of the last so many revisions.
    Revision(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a list of `target=level` as `tracing` filters have it.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads flags, environment and file. `--help` and `--version` come out as [`ConfigError::Usage`] with exit code 0.
    pub fn load<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Config, ConfigError> {
        let flags = flags::Flags::parse_from_args(args)?;
        let file = match flags.config_file() {
            Some(path) => file::read(path)?,
            None => settings::Settings::default(),
        };
        let mut config = check::check(flags.into_settings().or(file))?;
        config.warnings.extend(flags::unknown_variables(std::env::vars_os()));
        Ok(config)
    }

    /// The longest gRPC message that a client may send: around a request of the largest size there is the rest of its message.
    pub fn max_message(&self) -> usize {
        self.max_request_bytes + (512 << 10)
    }

    /// The longest time a member waits before it stands for election: each draws its own between the two.
    pub fn election_timeout_max_ms(&self) -> u64 {
        self.election_timeout_ms * 5 / 3
    }

    /// How long the server itself tries to serve a request whose client set no deadline.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * Duration::from_millis(self.election_timeout_ms)
    }

    /// A one-member configuration on loopback with every default, for tests and for building others upon.
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
        check::check(settings).expect("constant settings are valid")
    }
}
