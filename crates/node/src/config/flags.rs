//! The command line, the environment, and hints for etcd settings that do not exist here.

use super::ConfigError;
use super::settings::{Settings, variable};
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Commands:
  dump-log  What a stopped member has in its log; see conclave dump-log --help
  help      This text

Every flag can be given as an environment variable (shown with it) or as a key of the file named by --config-file, \
without its dashes. A flag wins over the environment, the environment over the file.

Examples:
  One member, for a try:
    conclave --data-dir /tmp/conclave

  The first of three members:
    conclave --name a --data-dir /var/lib/conclave \\
      --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://10.0.0.1:2379 \\
      --listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \\
      --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

  What a stopped member has in its log (conclave dump-log --help):
    conclave dump-log --data-dir /var/lib/conclave

Standard output gets one line, once the member serves clients. Everything else goes to standard error.
Exit codes: 0 stopped as asked; 1 failed while starting or running; 2 the command line or the configuration is wrong.";

/// A member of a Conclave cluster: leader election, locks, leases, watches and a small key-value
/// store, over the etcd v3 wire.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, after_help = EXAMPLES, max_term_width = 120)]
pub(super) struct Flags {
    /// A YAML file with any of the settings below
    #[arg(long, env = "CONCLAVE_CONFIG_FILE", value_name = "PATH")]
    config_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Flags {
    pub(super) fn parse_from_args<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
    ) -> Result<Flags, ConfigError> {
        // Accepts `conclave help`.
        let args = args.into_iter().map(Into::<OsString>::into).enumerate();
        let args = args.map(|(i, arg)| if i == 1 && arg == "help" { "--help".into() } else { arg });
        Flags::try_parse_from(args).map_err(|mut error| {
            let hint = hint(&error);
            if hint.is_some() {
                // A suggestion of another flag that merely looks similar does not help.
                error.remove(ContextKind::SuggestedArg);
            }
            ConfigError::Usage { hint, error }
        })
    }

    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn into_settings(self) -> Settings {
        self.settings
    }
}

/// Explains why Conclave does not have a flag of etcd.
fn hint(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    foreign(name).map(|why| format!("--{name} is etcd's: {why}"))
}

/// Why an etcd setting has no counterpart, if `name` is such a setting.
pub(super) fn foreign(name: &str) -> Option<&'static str> {
    const DISCOVERY: &str = "there is no discovery: name the members in initial-cluster";
    const LAYOUT: &str = "the log and the state live in data-dir and take care of themselves";
    let trimmed = name.strip_prefix("experimental-").unwrap_or(name);
    Some(match trimmed {
        "client-cert-file" | "client-key-file" => "a member does not connect to its own client address",
        "skip-client-san-verification" | "peer-skip-client-san-verification" => {
            "the addresses of members are never looked up: name their certificates by peer-cert-allowed-hostname"
        }
        "discovery" | "discovery-fallback" | "discovery-proxy" | "discovery-srv" | "discovery-srv-name" => DISCOVERY,
        "wal-dir"
        | "max-snapshots"
        | "max-wals"
        | "backend-batch-interval"
        | "backend-batch-limit"
        | "backend-bbolt-freelist-type"
        | "snapshot-catchup-entries" => LAYOUT,
        "pre-vote" => "a member always asks before it stands for election",
        "enable-v2" | "v2-deprecation" | "proxy" => "only the v3 API exists",
        "force-new-cluster" => "a lost majority cannot be recovered yet",
        "enable-pprof"
        | "metrics"
        | "logger"
        | "log-outputs"
        | "log-package-levels"
        | "debug"
        | "initial-election-tick-advance"
        | "max-concurrent-streams"
        | "grpc-keepalive-min-time"
        | "grpc-keepalive-interval"
        | "grpc-keepalive-timeout" => "it has no counterpart here",
        "watch-progress-notify-interval" => "the name here is watch-progress-notify-interval",
        _ => return None,
    })
}

/// Warnings for unknown `CONCLAVE_*` variables. They are mostly misspellings, but other programs
/// may use them.
pub(super) fn unknown_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    /// Variables of the scripts and tests, which may be set when they start a node. The last two
    /// are prefixes.
    const OTHERS: [&str; 6] = [
        "CONCLAVE_CONFIG_FILE",
        "CONCLAVE_TARGET_DIR",
        "CONCLAVE_BIN",
        "CONCLAVE_FAILPOINT",
        "CONCLAVE_CLUSTER_",
        "CONCLAVE_TEST",
    ];
    let known: Vec<String> = Settings::keys().iter().map(|key| variable(key)).collect();
    variables
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name.starts_with("CONCLAVE_")
                && !known.contains(name)
                && !OTHERS.iter().any(|other| name.starts_with(other))
        })
        .map(|name| format!("the environment variable {name} is no setting of Conclave's"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_also_a_word_and_etcds_flags_get_no_stray_advice() {
        assert!(Flags::parse_from_args(["conclave", "help"]).expect_err("help").is_answer());
        let error = Flags::parse_from_args(["conclave", "--wal-dir=/x"]).expect_err("etcd's").to_string();
        assert!(error.contains("take care of themselves") && !error.contains("similar"), "{error}");
        let error = Flags::parse_from_args(["conclave", "--listen-peer-url"]).expect_err("a slip").to_string();
        assert!(error.contains("--listen-peer-urls"), "{error}");
    }
}
