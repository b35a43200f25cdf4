//! `conclave recover`: a cluster that lost its majority for good goes on as a new cluster of one
//! member.
//!
//! The directory whose log is the furthest is taken: by the term of its last entry, then by its
//! index, as members vote. All of its log is applied to a copy, saved as a snapshot, and restored
//! from that: with raised revisions, compacted history and new ids. The directories that are given
//! are not changed.
//!
//! Exit codes: 0 done; 1 failed, and nothing was written; 2 the command line is wrong.

use crate::offline;
use crate::snapshot::{Settings, told};
use anyhow::Context;
use clap::Parser;
use conclave_backup::{DEFAULT_RAISE, Facts, Maker, Raise, Snapshot, Step};
use conclave_node::bootstrap::Plan;
use conclave_node::config::Config;
use conclave_storage::types::{MemberNode, Membership};
use conclave_storage::{DumpedContent, DumpedPayload, Recovered, Restored, Stopped, StoredLog};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The word behind the program's name that asks for this.
pub const WORD: &str = "recover";

/// Makes a cluster of one member from what is left of a cluster that lost its majority for good
///
/// Only when a majority of the members is lost for good: what the lost ones alone had is lost, and
/// entries that were never acknowledged may count from now on. Stop all members first, and give the
/// directories of all that are left. The new cluster has new ids: members of the old one can never
/// join it.
#[derive(Debug, Parser)]
#[command(name = "conclave recover", bin_name = "conclave recover", max_term_width = 120)]
struct Arguments {
    /// A directory that is left; may be given several times
    #[arg(long, required = true, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// The directory of the new member: missing or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The name of the new member; by default the one of the member that is taken
    #[arg(long)]
    name: Option<String>,
    /// Where other members will reach it; by default as the member that is taken
    #[arg(long, value_name = "URLS")]
    initial_advertise_peer_urls: Option<String>,
    /// A word that tells clusters apart
    #[arg(long, value_name = "WORD")]
    initial_cluster_token: Option<String>,
    /// By how much revisions are raised: more than can have been lost
    #[arg(long, default_value_t = DEFAULT_RAISE, value_name = "N")]
    bump_revision: u64,
}

/// Runs the command with the arguments behind its word.
#[must_use]
pub fn main<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> ExitCode {
    let arguments: Arguments = match offline::parse(WORD, arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    offline::end(WORD, recover(&arguments))
}

/// A directory that is left.
pub(crate) struct Survivor {
    path: PathBuf,
    stopped: Stopped,
    log: StoredLog,
}

impl Survivor {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Survivor> {
        let stopped = Stopped::open(path)?;
        let log = stopped.log()?;
        Ok(Survivor { path: path.to_owned(), stopped, log })
    }

    /// As members compare their logs when they vote.
    fn end(&self) -> (u64, u64) {
        self.log.last.map_or((0, 0), |last| (last.leader_id.term, last.index))
    }

    fn committed(&self) -> u64 {
        self.log.committed.map_or(0, |committed| committed.index)
    }

    fn described(&self) -> String {
        let ((term, index), identity) = (self.end(), self.stopped.identity());
        format!("{} of {}: its log ends with entry {index} of term {term}", self.path.display(), identity.name)
    }

    /// How the last configuration that it knows names it. The state has it only as of its last
    /// flush; the log has later ones.
    fn node(&self) -> anyhow::Result<MemberNode> {
        let own = |membership: &Membership| {
            let id = self.stopped.identity().member_id;
            membership.nodes().find(|(member, _)| **member == id).map(|(_, node)| node.clone())
        };
        let node = self.memberships()?.iter().rev().find_map(own);
        Ok(node.unwrap_or_else(|| MemberNode { name: self.stopped.identity().name.clone(), peer_urls: Vec::new() }))
    }

    /// How many members the last configuration that it knows has.
    pub(crate) fn members(&self) -> anyhow::Result<usize> {
        Ok(self.memberships()?.last().map_or(0, |membership| membership.nodes().count()))
    }

    /// That of the state, and later ones.
    fn memberships(&self) -> anyhow::Result<Vec<Membership>> {
        let state = self.stopped.state()?.membership;
        let mut found = vec![state.membership().clone()];
        let flushed = state.log_id().as_ref().map_or(0, |id| id.index + 1);
        for entry in self.stopped.entries(flushed)? {
            if let Ok(DumpedContent { payload: DumpedPayload::Membership(membership), .. }) = entry?.content {
                found.push(membership);
            }
        }
        Ok(found)
    }
}

fn recover(arguments: &Arguments) -> anyhow::Result<String> {
    let survivors = arguments.data_dir.iter().map(|dir| Survivor::open(dir)).collect::<anyhow::Result<Vec<_>>>()?;
    let clusters: std::collections::BTreeSet<u64> =
        survivors.iter().map(|survivor| survivor.stopped.identity().cluster_id).collect();
    anyhow::ensure!(clusters.len() == 1, "the directories belong to different clusters");
    // Of equal ones the first that was given.
    let best = survivors.iter().rev().max_by_key(|survivor| survivor.end()).context("no directory was given")?;
    let config = settings(arguments, best)?.config()?;
    let made = make(best, &config, &arguments.to, arguments.bump_revision)?;
    let mut lines: Vec<String> = survivors.iter().map(Survivor::described).collect();
    lines.push(format!("taken: {}, whose log is the furthest", best.path.display()));
    lines.extend(made);
    Ok(lines.join("\n"))
}

/// Makes the directory `to` of the member of the configuration, which is alone, of what a survivor
/// has. Tells what it did.
pub(crate) fn make(best: &Survivor, config: &Config, to: &Path, bump_revision: u64) -> anyhow::Result<Vec<String>> {
    let beside = |what: &str| {
        let name = to.file_name().and_then(|name| name.to_str()).unwrap_or("data");
        to.with_file_name(format!("{name}.{}.{what}", std::process::id()))
    };
    let recovered = Recovered::open(&best.stopped, &beside("recovering"))?;
    let snapshot = Snapshot::new(save(&recovered, scratch(&beside("snapshot"))?, scratch(&beside("sort"))?)?);
    let raise = Raise { revisions: bump_revision, mark_compacted: true };
    let origin = snapshot.origin(raise)?;
    let plan = Plan::restored(config, origin)?;
    let (name, cluster) = (plan.identity.name.clone(), plan.identity.cluster_id);
    let mut restored = Restored::begin(to, plan.identity.clone(), &plan.first_start())?;
    let report = snapshot.restore(&mut restored, raise, origin)?;
    restored.finish()?;
    let (index, _) = recovered.last();
    let mut lines = vec![format!(
        "entries {} to {index} were not known to be committed there: some may never have been acknowledged, and count from now on",
        best.committed() + 1
    )];
    lines.push("what only the lost members had is lost; nobody can tell how much".into());
    lines.push(format!("made {} as member {name}, alone in cluster {cluster:x}", to.display()));
    lines.push(told(&report));
    Ok(lines)
}

/// The settings of the new member: those of the one that is taken, unless others are given.
fn settings(arguments: &Arguments, best: &Survivor) -> anyhow::Result<Settings> {
    let node = best.node()?;
    let name = arguments.name.clone().unwrap_or(node.name);
    let urls = match &arguments.initial_advertise_peer_urls {
        Some(urls) => urls.split(',').map(str::to_owned).collect(),
        None => node.peer_urls,
    };
    anyhow::ensure!(!urls.is_empty(), "its peer URLs are not known: give --initial-advertise-peer-urls");
    let members: Vec<String> = urls.iter().map(|url| format!("{name}={url}")).collect();
    Ok(Settings {
        data_dir: Some(arguments.to.clone()),
        name: Some(name),
        initial_cluster: Some(members.join(",")),
        initial_cluster_token: arguments.initial_cluster_token.clone(),
        initial_advertise_peer_urls: Some(urls.join(",")),
    })
}

/// A file without a name, which is gone with the process.
fn scratch(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let about = || path.display().to_string();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path).with_context(about)?;
    std::fs::remove_file(path).with_context(about)?;
    Ok(file)
}

fn save(recovered: &Recovered, mut file: File, sort: File) -> anyhow::Result<File> {
    let (index, term) = recovered.last();
    let view = recovered.view();
    let mut maker = Maker::new(Facts { index, term, members: Vec::new() }, sort);
    loop {
        match maker.step(&view)? {
            Step::Working => {}
            Step::Bytes(bytes) => file.write_all(&bytes)?,
            Step::Hash(hash) => {
                file.write_all(&hash)?;
                file.rewind()?;
                return Ok(file);
            }
        }
    }
}
