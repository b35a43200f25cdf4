//! Many runs: the cells of the matrix for every change, and those of a soak, which are drawn for as
//! long as it lasts.
//!
//! The matrix fails on a violation, on an unknown verdict, and when all its runs together did not
//! see enough ([`FLOORS`]).

use super::{
    plan::{CLASSES, MEMBERS, Wishes},
    run::Figures,
    workload::WORKLOADS,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub name: &'static str,
    pub nodes: usize,
    pub seconds: u64,
    pub faults: &'static [&'static str],
}

/// The cells of CI. Together a little more than seven minutes of load.
pub const CELLS: [Cell; 11] = [
    Cell { name: "partitions", nodes: 3, seconds: 40, faults: &["partition", "client-partition", "kill"] },
    Cell { name: "kills", nodes: 3, seconds: 34, faults: &["kill", "restart", "reset"] },
    Cell { name: "power", nodes: 3, seconds: 44, faults: &["power-loss", "delay"] },
    Cell { name: "pauses", nodes: 3, seconds: 50, faults: &["pause", "client"] },
    Cell { name: "disks", nodes: 3, seconds: 40, faults: &["disk-error", "power-loss", "disk-full", "slow-disk"] },
    Cell { name: "clocks", nodes: 3, seconds: 40, faults: &["clock", "pause", "loss"] },
    Cell { name: "history", nodes: 3, seconds: 28, faults: &["compaction", "corruption", "cpu"] },
    Cell { name: "five", nodes: 5, seconds: 44, faults: &["partition", "kill", "pause", "loss"] },
    Cell { name: "five-power", nodes: 5, seconds: 44, faults: &["power-loss", "partition", "wild-clock"] },
    // What one member alone acknowledges must outlive its power, too.
    Cell { name: "one", nodes: 1, seconds: 46, faults: &["kill", "power-loss", "pause"] },
    Cell { name: "members", nodes: 3, seconds: 34, faults: &["members", "kill"] },
];

/// Cells that are made only when they are named.
pub const MORE: [Cell; 2] = [
    // Members come and go, whatever breaks meanwhile.
    Cell {
        name: "members-power",
        nodes: 3,
        seconds: 90,
        faults: &["members", "partition", "kill", "power-loss", "pause"],
    },
    Cell { name: "members-history", nodes: 3, seconds: 90, faults: &["members", "compaction", "restart", "delay"] },
];

/// What all runs of the matrix together must have seen.
pub const FLOORS: [(&str, u64); 7] = [
    ("operations", 200_000),
    ("faults with effect", 80),
    ("leader changes", 20),
    ("power-loss recoveries", 10),
    ("grants", 5_000),
    ("lease expiries", 500),
    // Without fences something must be lost, or the faults are too weak.
    ("updates lost without a fence", 1),
];

impl Cell {
    #[must_use]
    pub fn wishes(&self, seed: u64) -> Wishes {
        Wishes {
            seed,
            nodes: self.nodes,
            clients: 3,
            duration_ms: self.seconds * 1000,
            workloads: WORKLOADS.map(str::to_owned).into(),
            faults: self.faults.iter().map(|class| (*class).to_owned()).collect(),
            etcd: false,
        }
    }
}

/// Which floors were not met: name, seen, floor.
#[must_use]
pub fn below_floors(figures: &Figures) -> Vec<(&'static str, u64, u64)> {
    let seen = [
        figures.operations,
        figures.faults_with_effect(),
        figures.leader_changes,
        figures.power_losses,
        figures.grants,
        figures.lease_expiries,
        figures.unfenced_damage,
    ];
    FLOORS
        .iter()
        .zip(seen)
        .filter(|((_, floor), seen)| seen < floor)
        .map(|((name, floor), seen)| (*name, seen, *floor))
        .collect()
}

/// The next cell of a soak: one, three or five nodes, a few classes of faults, all workloads.
#[must_use]
pub fn of_a_soak(seed: u64) -> Wishes {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x50a4);
    // What is wild forgives much; it has cells of its own.
    let classes: Vec<&str> = CLASSES.iter().map(|(name, ..)| *name).filter(|name| *name != "wild-clock").collect();
    let count = dice.random_range(2..=5);
    let mut faults: Vec<String> = classes.sample(&mut dice, count).map(|name| (*name).to_owned()).collect();
    if dice.random_bool(0.05) {
        faults.push("wild-clock".into());
    }
    let nodes = [1, 3, 3, 3, 5, 5][dice.random_range(0..6)];
    if nodes == 1 {
        // Of one node there is no minority to damage.
        faults.retain(|class| class != "corruption");
    }
    if faults.iter().any(|class| class == "corruption") {
        // What is damaged stays damaged: no other member may lose its directory besides.
        faults.retain(|class| class != MEMBERS);
    }
    Wishes {
        seed,
        nodes,
        clients: 3,
        duration_ms: 60_000,
        workloads: WORKLOADS.map(str::to_owned).into(),
        faults,
        etcd: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn the_matrix_has_a_plan_for_every_cell_and_faults_enough_in_all() {
        let steps: usize = CELLS.iter().map(|cell| Plan::draw(cell.wishes(1)).unwrap().steps.len()).sum();
        // Some are skipped or without effect.
        assert!(steps > 100, "{steps}");
        let seconds: u64 = CELLS.iter().map(|cell| cell.seconds).sum();
        assert!(seconds <= 450, "{seconds}");
    }

    #[test]
    fn a_matrix_that_saw_nothing_is_below_all_floors() {
        assert_eq!(below_floors(&Figures::default()).len(), FLOORS.len());
    }

    #[test]
    fn a_soak_draws_cells_that_can_be_planned() {
        for seed in 0..100 {
            Plan::draw(of_a_soak(seed)).unwrap();
        }
    }
}
