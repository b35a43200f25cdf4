//! The command line and the environment as clap reads them.

use super::ConfigError;
use super::settings::{Settings, variable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Commands:
  dev       A cluster on this machine, for trying things out; see conclave dev --help
  dump-log  What a stopped member has in its log; see conclave dump-log --help
  help      This text

Every flag can be given as an environment variable (shown with it) or as a key of the file named by --config-file, \
without its dashes. A flag wins over the environment, the environment over the file. Flags of etcd's and its ETCD_* variables \
mean the same here; those that only etcd has pass if nothing depends on them, and are refused with a reason if something does.

Examples:
  Three members on this machine, for a try:
    conclave dev

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
    /// `arguments` have each flag once, with two dashes ([`super::etcd::arguments`]).
    pub(super) fn parse_from_args(arguments: Vec<OsString>) -> Result<Flags, ConfigError> {
        // Accepts `conclave help`.
        let arguments = arguments.into_iter().enumerate();
        let arguments =
            arguments.map(|(i, argument)| if i == 1 && argument == "help" { "--help".into() } else { argument });
        Flags::try_parse_from(arguments).map_err(|mut error| {
            let hint = hint(&error);
            if hint.is_some() {
                // A suggestion of another flag that merely looks similar does not help.
                error.remove(ContextKind::SuggestedArg);
            }
            ConfigError::Usage { hint, error }
        })
    }

    /// The settings that may stand without a value.
    pub(super) fn switches() -> BTreeSet<String> {
        let mut command = Flags::command();
        command.build();
        let may = |argument: &&clap::Arg| argument.get_num_args().is_some_and(|count| count.min_values() == 0);
        command.get_arguments().filter(may).filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
    }

    pub(super) fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn into_settings(self) -> Settings {
        self.settings
    }
}

/// What etcd's other programs under the same name are here.
fn hint(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    match word.as_str() {
        "gateway" | "grpc-proxy" => {
            Some(format!("{word} is a program of etcd's: its own binary works in front of Conclave"))
        }
        _ => None,
    }
}

/// Warnings for unknown `CONCLAVE_*` variables. They are mostly misspellings, but other programs
/// may use them.
pub(super) fn unknown_variables<'a>(variables: impl Iterator<Item = &'a String>) -> Vec<String> {
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
        .filter(|name| {
            name.starts_with("CONCLAVE_")
                && !known.contains(name)
                && !OTHERS.iter().any(|other| name.starts_with(other))
        })
        .map(|name| format!("the environment variable {name} is no setting of Conclave's"))
        .collect()
}
