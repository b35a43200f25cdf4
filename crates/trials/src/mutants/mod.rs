//! Planted bugs: what the harness must find.
//!
//! Each is a patch in `crates/trials/mutants`: one or two lines, at the place where a real bug of
//! its kind would be. [`build`] makes a server of each, which is run over several seeds with the
//! workloads and faults that are meant to show the bug. It is caught if a property meant for it is
//! violated. A bug that another property finds is printed, too.

pub mod build;
mod patch;

pub use patch::Patch;

use super::{
    plan::{MEMBERS, Wishes},
    run::Figures,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A bug in the server.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The name of its patch.
    pub name: &'static str,
    pub what: &'static str,
    pub workloads: &'static [&'static str],
    pub faults: &'static [&'static str],
    pub nodes: usize,
    /// How long a run of it lasts: what needs a rare moment needs more of them.
    pub seconds: u64,
    /// The properties meant to find it.
    pub caught_by: &'static [&'static str],
}

/// Where the patches are in the source.
pub const FOLDER: &str = "crates/trials/mutants";
/// How the names of servers with planted bugs begin.
const PREFIX: &str = "conclave-with-";

/// The bug that is planted in a server, as its file's name says.
#[must_use]
pub fn planted_in(server: &Path) -> Option<String> {
    let name = server.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    MUTANTS.iter().find(|mutant| mutant.name == name).map(|mutant| mutant.name.to_owned())
}

/// All of them.
pub const MUTANTS: [Mutant; 26] = [
    Mutant {
        name: "follower-read",
        what: "a linearizable read is answered from a follower's own state",
        workloads: &["kv", "append", "set"],
        faults: &["partition", "pause"],
        nodes: 3,
        seconds: 15,
        caught_by: &["linearizable", "wgl", "append", "set", "durability"],
    },
    Mutant {
        name: "unconfirmed-read",
        what: "the leader answers reads without asking whether it still leads",
        workloads: &["kv", "append", "set"],
        faults: &["partition"],
        nodes: 3,
        seconds: 30,
        caught_by: &["linearizable", "wgl", "append", "set", "durability"],
    },
    Mutant {
        name: "ack-before-sync",
        what: "writes are acknowledged before the log is synced",
        workloads: &["kv", "set"],
        faults: &["power-loss"],
        nodes: 3,
        seconds: 15,
        caught_by: &["durability", "linearizable", "agreement", "recovery", "no-crash"],
    },
    Mutant {
        name: "vote-not-synced",
        what: "a vote is given and not kept",
        workloads: &["kv"],
        faults: &["kill", "delay", "pause"],
        nodes: 5,
        seconds: 40,
        caught_by: &["one-leader", "agreement", "linearizable", "digests"],
    },
    Mutant {
        name: "applied-apart",
        what: "the applied index is stored apart from the data",
        workloads: &["kv", "set"],
        faults: &["kill", "compaction"],
        nodes: 3,
        seconds: 30,
        caught_by: &["digests", "agreement", "linearizable", "durability", "caught-up"],
    },
    Mutant {
        name: "lock-not-first",
        what: "a lock is granted to one who is not first in line",
        workloads: &["lock", "fenced"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["grants", "exclusion", "fifo", "capacity"],
    },
    Mutant {
        name: "lock-unchecked",
        what: "a waiter's key is not looked at again before the lock is granted",
        workloads: &["lock"],
        faults: &["client"],
        nodes: 3,
        seconds: 15,
        caught_by: &["grants"],
    },
    Mutant {
        name: "campaign-unchecked",
        what: "a candidate's key is not looked at again before it is told that it leads",
        workloads: &["election"],
        faults: &["client"],
        nodes: 3,
        seconds: 15,
        caught_by: &["grants"],
    },
    Mutant {
        name: "deposed-expiry",
        what: "a leader that was deposed still ends leases after a pause",
        workloads: &["lease", "lock"],
        faults: &["pause"],
        nodes: 3,
        seconds: 45,
        caught_by: &["lease-early"],
    },
    Mutant {
        name: "stale-expiry",
        what: "a new leader counts leases from when they were granted first",
        workloads: &["lease", "lock"],
        faults: &["kill", "pause"],
        nodes: 3,
        seconds: 40,
        caught_by: &["lease-early"],
    },
    Mutant {
        name: "watch-drops",
        what: "a watch loses the events that a snapshot brings",
        workloads: &["kv", "watch"],
        faults: &["compaction"],
        nodes: 3,
        seconds: 40,
        caught_by: &["agreement", "watch-reliable", "watch-resumable", "watch-bookmarkable", "caught-up"],
    },
    Mutant {
        name: "watch-doubles",
        what: "a watch that reads history brings the last of it twice",
        workloads: &["kv", "watch"],
        faults: &["kill"],
        nodes: 3,
        seconds: 15,
        caught_by: &["watch-unique", "watch-resumable", "watch-ordered"],
    },
    Mutant {
        name: "watch-splits",
        what: "a watch brings one revision in several messages",
        workloads: &["kv", "watch"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["watch-atomic", "agreement"],
    },
    Mutant {
        name: "progress-ahead",
        what: "a progress message is ahead of the events",
        workloads: &["kv", "watch"],
        faults: &["delay"],
        nodes: 3,
        seconds: 30,
        caught_by: &["watch-bookmarkable", "watch-reliable"],
    },
    Mutant {
        name: "no-wakeup",
        what: "a hand-over wakes nobody, one time in four",
        workloads: &["lock"],
        faults: &["delay"],
        nodes: 3,
        seconds: 40,
        caught_by: &["wakeups"],
    },
    Mutant {
        name: "last-first",
        what: "a lock goes to who came last",
        workloads: &["lock", "election", "semaphore"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["fifo", "grants"],
    },
    Mutant {
        name: "stale-compare",
        what: "a transaction's compares see the state of one revision ago",
        workloads: &["kv", "append", "set"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["linearizable", "wgl", "append", "set"],
    },
    Mutant {
        name: "snapshot-without-leases",
        what: "a snapshot is installed without its leases",
        workloads: &["kv", "lease"],
        faults: &["compaction", "kill"],
        nodes: 3,
        seconds: 15,
        caught_by: &["digests", "lease-late", "lease-renewal", "lease-early", "agreement", "linearizable"],
    },
    Mutant {
        name: "forward-twice",
        what: "a follower that forwards a write sends it again when the answer is lost",
        workloads: &["kv", "append", "set"],
        faults: &["kill", "partition", "reset"],
        nodes: 3,
        seconds: 40,
        caught_by: &["linearizable", "wgl", "append", "set"],
    },
    Mutant {
        name: "vote-for-the-behind",
        what: "a vote is given to a candidate whose log is behind",
        workloads: &["kv", "append", "set"],
        faults: &["partition", "kill"],
        nodes: 3,
        seconds: 90,
        caught_by: &["linearizable", "durability", "agreement", "append", "set", "no-crash", "recovery"],
    },
    Mutant {
        name: "fence-reused",
        what: "a queue election's term keeps its id when the leader changes",
        workloads: &["queue", "claim", "fenced"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["fences", "queue-terms", "grants", "fenced-writes"],
    },
    Mutant {
        name: "session-ignored",
        what: "a candidate that another session enters without an instance is taken for the same one",
        workloads: &["queue"],
        faults: &["delay"],
        nodes: 3,
        seconds: 15,
        caught_by: &["one-holder"],
    },
    Mutant {
        name: "removed-forgotten",
        what: "a removed member is not remembered",
        workloads: &["kv", "append", "set"],
        faults: &[MEMBERS],
        nodes: 3,
        seconds: 40,
        caught_by: &["outsiders", "removed-members", "no-crash"],
    },
    Mutant {
        name: "learner-votes",
        what: "a learner has a vote from the beginning",
        workloads: &["kv", "append", "set"],
        faults: &[MEMBERS],
        nodes: 3,
        seconds: 40,
        caught_by: &["membership"],
    },
    Mutant {
        name: "id-given-again",
        what: "a new member gets the id of a removed one",
        workloads: &["kv", "append", "set"],
        faults: &[MEMBERS],
        nodes: 3,
        seconds: 40,
        caught_by: &["membership", "outsiders", "no-crash", "recovery"],
    },
    Mutant {
        name: "joined-twice",
        what: "a second directory is let in under the id of a member",
        workloads: &["kv", "append", "set"],
        faults: &[MEMBERS],
        nodes: 3,
        seconds: 90,
        caught_by: &["outsiders", "durability", "no-crash", "log-matching", "digests"],
    },
];

impl Mutant {
    /// The name of a server with it.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// The files that its patch changes, with their new text.
    ///
    /// # Errors
    /// There is no such patch, or it does not fit this source.
    pub fn patched(&self, source: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let file = Path::new(FOLDER).join(self.name).with_extension("patch");
        let text = std::fs::read_to_string(source.join(&file)).with_context(|| file.display().to_string())?;
        let files = Patch::parse(&text).and_then(|patch| patch.applied_to(source));
        files.with_context(|| format!("{} does not apply any more", file.display()))
    }

    /// What its run with a seed is drawn from.
    #[must_use]
    pub fn wishes(&self, seed: u64) -> Wishes {
        let words = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        let (workloads, faults) = (words(self.workloads), words(self.faults));
        let (nodes, duration_ms) = (self.nodes, self.seconds * 1000);
        Wishes { seed, nodes, clients: 3, duration_ms, workloads, faults, etcd: false }
    }

    /// Whether a run found it by a property meant for it.
    #[must_use]
    pub fn is_caught(&self, figures: &Figures) -> bool {
        self.caught_by.iter().any(|property| figures.violates(property))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::PROPERTIES, plan::Plan};

    #[test]
    fn every_mutant_names_a_property_that_its_workloads_are_judged_by() {
        let own = ["recovery", "no-crash", "caught-up", "outsiders"];
        for mutant in MUTANTS {
            for name in mutant.caught_by {
                let property = PROPERTIES.iter().find(|property| property.name == *name);
                let judged = property.is_some_and(|property| {
                    let does =
                        |one: &&str| mutant.workloads.contains(one) || (*one == MEMBERS && mutant.faults.contains(one));
                    property.workloads.is_empty() || property.workloads.iter().any(does)
                });
                assert!(judged || own.contains(name), "{}: {name} is not judged", mutant.name);
            }
            assert!(Plan::draw(mutant.wishes(1)).is_ok(), "{}", mutant.name);
        }
    }

    #[test]
    fn a_server_s_name_says_what_is_planted_in_it() {
        for mutant in MUTANTS {
            assert_eq!(planted_in(&Path::new("/x").join(mutant.file_name())).as_deref(), Some(mutant.name));
        }
        for other in ["conclave", "/x/conclave-with-", "/x/conclave-with-nothing", "etcd"] {
            assert_eq!(planted_in(Path::new(other)), None, "{other}");
        }
    }
}
