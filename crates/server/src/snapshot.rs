//! `conclave snapshot …`: what can be done with a snapshot without a cluster.
//!
//! Exit codes: 0 done; 1 failed, and nothing was written, or what was compared differs; 2 the
//! command line is wrong.

use crate::offline;
use anyhow::Context;
use clap::{ArgAction, Args, Parser};
use conclave_backup::{Counts, DEFAULT_RAISE, Difference, Hash, Raise, Report, Snapshot, TITLES};
use conclave_node::bootstrap::Plan;
use conclave_node::config::Config;
use conclave_storage::Restored;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The word behind the program's name that asks for this.
pub const WORD: &str = "snapshot";

/// Works on a snapshot of Conclave or of etcd 3.4 to 3.8, without a cluster
#[derive(Debug, Parser)]
#[command(name = "conclave snapshot", bin_name = "conclave snapshot", max_term_width = 120)]
enum Arguments {
    /// Make the data directory of one member of a new cluster
    ///
    /// Run it once for each member, with the same file and the same settings but for name, peer
    /// URLs and directory. Then start the members with these settings. Leases get their whole TTL
    /// again. Leaders, holders of locks and of claims lose what they had, so that no token of
    /// before holds; sessions, candidates and places in queues stay.
    Restore(Restore),
    /// Hash, revision, keys and size, as etcdutl shows them
    Status { file: PathBuf },
    /// What changed from one snapshot to another: living keys, leases, users, roles, elections,
    /// locks, claims
    ///
    /// Exit code 0: they are the same; 1: they differ, or could not be compared.
    Diff { a: PathBuf, b: PathBuf },
    /// Read all of it and check that it can be a state
    Verify {
        file: PathBuf,
        /// Accept a file without a hash, such as one copied from a data directory of etcd
        #[arg(long)]
        skip_hash_check: bool,
    },
}

#[derive(Debug, Parser)]
struct Restore {
    /// The snapshot
    file: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// By how much revisions are raised: more than were given out since the snapshot
    #[arg(long, default_value_t = DEFAULT_RAISE, value_name = "N")]
    bump_revision: u64,
    /// Count everything up to the raised revision as compacted, so that clients notice what was
    /// lost
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    mark_compacted: bool,
    /// Accept a file without a hash, such as one copied from a data directory of etcd
    #[arg(long)]
    skip_hash_check: bool,
}

/// What makes a member of a new cluster.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The member's data directory: missing or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The member's name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// All members of the new cluster: NAME=URL,…
    #[arg(long, value_name = "MEMBERS")]
    pub(crate) initial_cluster: Option<String>,
    /// A word that tells clusters apart
    #[arg(long, value_name = "WORD")]
    pub(crate) initial_cluster_token: Option<String>,
    /// Where the other members reach this one
    #[arg(long, value_name = "URLS")]
    pub(crate) initial_advertise_peer_urls: Option<String>,
}

/// Runs the command with the arguments behind its word.
#[must_use]
pub fn main<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> ExitCode {
    let arguments: Arguments = match offline::parse(WORD, arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let done = match &arguments {
        Arguments::Restore(arguments) => restore(arguments),
        Arguments::Status { file } => status(file),
        Arguments::Verify { file, skip_hash_check } => verify(file, *skip_hash_check),
        Arguments::Diff { a, b } => match diff(a, b) {
            Ok((text, same)) => {
                let told = offline::end(WORD, Ok(text));
                return if same { told } else { ExitCode::FAILURE };
            }
            Err(error) => Err(error),
        },
    };
    offline::end(WORD, done)
}

/// Opens a file, and compares it with its hash.
fn open(file: &Path, skip_hash_check: bool) -> anyhow::Result<Snapshot<File>> {
    let about = || file.display().to_string();
    let snapshot = Snapshot::new(File::open(file).with_context(about)?);
    if !skip_hash_check && snapshot.check_hash().with_context(about)? == Hash::Missing {
        anyhow::bail!(
            "{}: the snapshot has no hash; a file copied from a data directory has none: --skip-hash-check accepts it",
            about()
        );
    }
    Ok(snapshot)
}

fn status(file: &Path) -> anyhow::Result<String> {
    let about = || file.display().to_string();
    let status = Snapshot::new(File::open(file).with_context(about)?).status().with_context(about)?;
    let conclave_backup::Status { hash, revision, total_key, total_size, version } = status;
    Ok(format!("{hash:x}, {revision}, {total_key}, {total_size}, {version}"))
}

fn verify(file: &Path, skip_hash_check: bool) -> anyhow::Result<String> {
    let counts = open(file, skip_hash_check)?.verify().with_context(|| file.display().to_string())?;
    Ok(format!("sound: {}", contents(&counts)))
}

/// Tells what differs, and whether nothing does.
fn diff(a: &Path, b: &Path) -> anyhow::Result<(String, bool)> {
    let inventory = |file: &Path| open(file, false)?.inventory().with_context(|| file.display().to_string());
    let (before, after) = (inventory(a)?, inventory(b)?);
    let differences = before.differences(&after);
    if differences.is_empty() {
        return Ok((format!("the same, at revision {} and {}", before.revision, after.revision), true));
    }
    let (count, revisions) = (differences.len(), (before.revision, after.revision));
    Ok((format!("A revision {}, B {}: {count} differences\n{}", revisions.0, revisions.1, rows(&differences)), false))
}

/// In columns.
fn rows(differences: &[Difference]) -> String {
    let all: Vec<[String; 6]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(differences.iter().map(Difference::row)).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn contents(counts: &Counts) -> String {
    let Counts { revision, living_keys, versions, leases, coordination, conclave, .. } = counts;
    let maker = if *conclave { "Conclave" } else { "etcd" };
    format!(
        "revision {revision}, {living_keys} keys in {versions} versions, {leases} leases, {coordination} rows of elections, \
         locks and claims; made by {maker}"
    )
}

impl Settings {
    /// Judged as at the start of the member.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let mut flags: Vec<OsString> = vec!["conclave".into()];
        let mut add = |flag: &str, value: Option<OsString>| {
            if let Some(value) = value {
                flags.extend([OsString::from(flag), value]);
            }
        };
        let text = |value: &Option<String>| value.clone().map(OsString::from);
        add("--data-dir", self.data_dir.clone().map(Into::into));
        add("--name", text(&self.name));
        add("--initial-cluster", text(&self.initial_cluster));
        add("--initial-cluster-token", text(&self.initial_cluster_token));
        add("--initial-advertise-peer-urls", text(&self.initial_advertise_peer_urls));
        Ok(Config::load(flags)?)
    }
}

fn restore(arguments: &Restore) -> anyhow::Result<String> {
    let raise = Raise { revisions: arguments.bump_revision, mark_compacted: arguments.mark_compacted };
    restore_into(&arguments.settings.config()?, &arguments.file, raise, arguments.skip_hash_check)
}

/// Makes the data directory of a member; tells what was done.
pub(crate) fn restore_into(
    config: &Config,
    file: &Path,
    raise: Raise,
    skip_hash_check: bool,
) -> anyhow::Result<String> {
    let about = || file.display().to_string();
    let snapshot = open(file, skip_hash_check)?;
    let origin = snapshot.origin(raise).with_context(about)?;
    let plan = Plan::restored(config, origin)?;
    let (name, cluster) = (plan.identity.name.clone(), plan.identity.cluster_id);
    let mut restored = Restored::begin(&config.data_dir, plan.identity.clone(), &plan.first_start())?;
    let report = snapshot.restore(&mut restored, raise, origin).with_context(about)?;
    restored.finish()?;
    Ok(format!("restored {} as member {name} of cluster {cluster:x}\n{}", config.data_dir.display(), told(&report)))
}

pub(crate) fn told(report: &Report) -> String {
    let Report { counts, raised_to, compacted, renewed, alarms, .. } = report;
    let mut lines = vec![
        contents(counts),
        format!("revision {} was raised by {} to {raised_to}", counts.revision, raised_to - counts.revision),
    ];
    lines.push(match compacted {
        -1 => "all revisions can be read".to_owned(),
        revision => format!("revisions before {revision} are compacted"),
    });
    lines.push(format!("{} leases have their whole TTL again", counts.leases));
    lines.push(format!(
        "ended, so that no earlier token holds: {} leaders, {} requests for locks, {} claims; {} places in queues were made again",
        renewed.elections, renewed.locks, renewed.claims, renewed.places
    ));
    lines.push(users(counts));
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            lines.push(format!("{count} {text}"));
        }
    };
    note(
        renewed.leaseless as u64,
        "keys were attached to leases that the snapshot lacks; they are kept without a lease",
    );
    note(renewed.foreign as u64, "keys below /_conclave/ were dropped: only Conclave writes there");
    note(*alarms, "alarms of members of the old cluster were dropped");
    lines.join("\n")
}

fn users(counts: &Counts) -> String {
    let Counts { users, roles, auth_enabled, .. } = counts;
    let state = if *auth_enabled {
        "authentication is ON: clients have to log in again"
    } else {
        "authentication is OFF: everybody who reaches the cluster may do everything"
    };
    format!("{users} users and {roles} roles were restored; {state}")
}
