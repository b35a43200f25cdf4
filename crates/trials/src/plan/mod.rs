//! A run's plan: what is started, what clients do, which faults come when. All of it follows from
//! the options and one seed; it is written beside the history, so that [`replay`](super::command)
//! makes the same run again and [`shrink`](super::shrink) leaves faults out of it.
//!
//! 1. The same options and seed give the same plan, on every machine. Whether a fault is possible
//!    is found out when it is installed.
//! 2. Faults come on tracks that overlap: one for what stops nodes or takes history away, one for
//!    changes of the members, one for the rest. On one track a fault begins when the one before is
//!    mended, if that takes longer than planned.

mod menu;

pub use menu::{CLASSES, MEMBERS};

use super::{env::Fault, workload::WORKLOADS};
use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// Nodes that wait to become members, where members change.
const SPARES: usize = 3;

/// One fault, in milliseconds from the beginning of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub at_ms: u64,
    pub hold_ms: u64,
    /// Faults of one track never overlap.
    #[serde(default)]
    pub track: u8,
    pub fault: Fault,
}

/// Everything about a run but the binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    /// Nodes that are no members at first.
    #[serde(default, skip_serializing_if = "is_none")]
    pub spares: usize,
    pub clients: usize,
    pub duration_ms: u64,
    pub workloads: Vec<String>,
    /// The classes that faults were drawn from.
    pub faults: Vec<String>,
    pub steps: Vec<Step>,
    /// Flags of the servers.
    pub flags: Vec<String>,
    /// Between two calls of one client of the store.
    pub pace_ms: u64,
    /// The shortest lease.
    pub ttl_s: u64,
    /// The server is stock etcd.
    pub etcd: bool,
    /// The name of a bug planted in the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

/// What a plan is drawn from.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub seed: u64,
    pub nodes: usize,
    pub clients: usize,
    pub duration_ms: u64,
    pub workloads: Vec<String>,
    pub faults: Vec<String>,
    pub etcd: bool,
}

impl Plan {
    /// Draws a plan.
    ///
    /// # Errors
    /// A workload or a class of faults is not known.
    pub fn draw(wishes: Wishes) -> Result<Self> {
        let Wishes { seed, nodes, clients, duration_ms, workloads, faults, etcd } = wishes;
        for workload in &workloads {
            ensure!(
                WORKLOADS.contains(&workload.as_str()),
                "no workload {workload}: there are {}",
                WORKLOADS.join(", ")
            );
        }
        let mut dice = StdRng::seed_from_u64(seed);
        let mut steps = steps(&mut dice, &faults, nodes, clients, duration_ms)?;
        if etcd {
            // It keeps thousands of entries for who is behind: nobody would need a snapshot.
            steps.retain(|step| !matches!(step.fault, Fault::SnapshotLag { .. }));
        }
        let members = faults.iter().any(|class| class == MEMBERS);
        let history = faults.iter().any(|class| class == "compaction");
        let election = [300, 500, 800][dice.random_range(0..3)];
        let flags = [
            ("--heartbeat-interval", election / 5),
            ("--election-timeout", election),
            // Often enough that nodes that were away get snapshots.
            ("--snapshot-count", if history { 100 } else { [500, 500, 10_000][dice.random_range(0..3)] }),
        ];
        let flags = flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()]).collect();
        let ttl_s = 2;
        Ok(Self {
            seed,
            nodes,
            spares: if members { SPARES } else { 0 },
            clients,
            duration_ms,
            workloads,
            faults,
            steps,
            flags,
            pace_ms: 5,
            ttl_s,
            etcd,
            mutant: None,
        })
    }

    /// Reads the plan of a run.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("plan.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes it beside the history.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn save(&self, dir: &Path) -> Result<()> {
        Ok(std::fs::write(dir.join("plan.json"), serde_json::to_string_pretty(self)?)?)
    }

    /// What clocks may be wrong by, to be forgiven: more if they are made wrong beyond what is
    /// promised.
    #[must_use]
    pub fn rate_error(&self) -> f64 {
        if self.faults.iter().any(|class| class == "wild-clock") { 0.8 } else { 0.02 }
    }

    #[must_use]
    pub fn changes_members(&self) -> bool {
        self.spares > 0
    }

    #[must_use]
    pub fn has(&self, workload: &str) -> bool {
        self.workloads.iter().any(|one| one == workload)
    }
}

/// Both tracks, one after the other in time.
fn steps(dice: &mut StdRng, classes: &[String], nodes: usize, clients: usize, duration_ms: u64) -> Result<Vec<Step>> {
    let mut tracks: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for class in classes {
        let class = CLASSES
            .iter()
            .find(|(name, ..)| name == class)
            .with_context(|| format!("no faults {class}: there are {}", CLASSES.map(|(name, ..)| name).join(", ")))?;
        tracks.entry(class.1).or_default().push(class.0);
    }
    let mut steps = Vec::new();
    let changing = tracks.contains_key(&menu::CHANGES);
    for (track, classes) in tracks {
        // A little of the run goes by before anything is broken.
        let mut at_ms = dice.random_range(800..2000);
        // Every class has its turn before one comes again.
        let mut bag: Vec<&str> = Vec::new();
        loop {
            if bag.is_empty() {
                bag.clone_from(&classes);
            }
            let class = bag.swap_remove(dice.random_range(0..bag.len()));
            let (fault, hold_ms) = menu::draw(dice, class, nodes, clients);
            if at_ms + hold_ms > duration_ms {
                break;
            }
            steps.push(Step { at_ms, hold_ms, track, fault });
            at_ms += hold_ms + dice.random_range(700..1500);
            if changing && track != menu::CHANGES {
                // Now and then a change shall be made from its beginning to its end.
                at_ms += dice.random_range(500..3500);
            }
        }
    }
    steps.sort_by_key(|step| step.at_ms);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(seed: u64) -> Wishes {
        let faults = CLASSES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let workloads = WORKLOADS.map(str::to_owned).into();
        Wishes { seed, nodes: 3, clients: 3, duration_ms: 120_000, workloads, faults, etcd: false }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let (one, again, other) = (Plan::draw(wishes(7)), Plan::draw(wishes(7)), Plan::draw(wishes(8)));
        assert_eq!(one.as_ref().unwrap(), &again.unwrap());
        assert_ne!(one.unwrap().steps, other.unwrap().steps);
    }

    #[test]
    fn every_class_that_was_asked_for_has_its_turn() {
        let plan = Plan::draw(wishes(3)).unwrap();
        for (name, ..) in CLASSES {
            let mut dice = StdRng::seed_from_u64(1);
            let kinds: Vec<String> = (0..200).map(|_| menu::draw(&mut dice, name, 3, 3).0.name()).collect();
            assert!(plan.steps.iter().any(|step| kinds.contains(&step.fault.name())), "no {name}");
        }
    }

    #[test]
    fn a_plan_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::draw(wishes(11)).unwrap();
        plan.save(dir.path()).unwrap();
        assert_eq!(Plan::load(dir.path()).unwrap(), plan);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut wrong = wishes(1);
        wrong.faults = vec!["meteor".into()];
        assert!(Plan::draw(wrong).unwrap_err().to_string().contains("meteor"));
    }
}
