//! Faults to draw from, by class, each with how long it is held.

use crate::env::{Change, Fault, Hurt, Scope, Target, Who};
use rand::{RngExt, rngs::StdRng};

const REST: u8 = 0;
const STOPS: u8 = 1;
pub(super) const CHANGES: u8 = 2;

/// The class of changes of the members, which need spare nodes.
pub const MEMBERS: &str = "members";

/// Name, track, what it is. Faults of one track never overlap: there is one for what stops nodes or
/// takes history away, one for changes of the members, and one for the rest.
pub const CLASSES: [(&str, u8, &str); 19] = [
    ("partition", REST, "isolated nodes, halves, majority rings, one-way and partial cuts"),
    ("client-partition", REST, "clients that reach nobody, nodes that no client reaches"),
    ("delay", REST, "slow and narrow links"),
    ("loss", REST, "lost, doubled and reordered packets"),
    ("reset", REST, "connections torn down"),
    ("kill", STOPS, "killed nodes: one, a minority, all; crash loops"),
    ("restart", STOPS, "one node after the other stopped and started"),
    ("pause", STOPS, "stopped nodes, for less than an election and for longer than a lease"),
    ("client", REST, "stopped and killed clients"),
    ("power-loss", STOPS, "what was not synced is gone: of one, a minority, all"),
    ("disk-error", STOPS, "disks and syncs that fail"),
    ("slow-disk", REST, "slow syncs"),
    ("disk-full", STOPS, "no space"),
    ("corruption", STOPS, "torn and flipped bytes in a stopped minority"),
    ("clock", REST, "clocks that jump or run wrong, within what is promised"),
    ("wild-clock", REST, "clocks wrong beyond what is promised"),
    ("cpu", REST, "nodes without a processor"),
    ("compaction", STOPS, "compactions again and again, and followers that need a snapshot"),
    (MEMBERS, CHANGES, "members that come, go and are replaced, whatever is wrong with them"),
];

fn some(dice: &mut StdRng) -> Target {
    let seed = dice.random_range(0..1_000_000);
    match dice.random_range(0..6) {
        0 | 1 => Target::Leader,
        2 => Target::Follower(dice.random_range(0..4)),
        3 => Target::Minority { seed },
        4 => Target::MinorityWithLeader { seed },
        _ => Target::Majority { seed },
    }
}

fn few(dice: &mut StdRng) -> Target {
    if dice.random_bool(0.6) { Target::Leader } else { Target::Follower(dice.random_range(0..4)) }
}

fn scope(dice: &mut StdRng) -> Scope {
    match dice.random_range(0..4) {
        0 => Scope::Peers,
        1 => Scope::Clients,
        2 => Scope::Everything,
        _ => Scope::Around(few(dice)),
    }
}

/// A fault of a class, and how many milliseconds it is held.
pub(super) fn draw(dice: &mut StdRng, class: &str, nodes: usize, clients: usize) -> (Fault, u64) {
    let seed = dice.random_range(0..1_000_000);
    let medium = dice.random_range(1000..3000);
    match class {
        "partition" => (partition(dice, seed), medium),
        "client-partition" => {
            let fault = if dice.random_bool(0.5) {
                Fault::ClientCut { client: dice.random_range(0..clients) }
            } else {
                Fault::ClientsCut { target: some(dice) }
            };
            (fault, medium)
        }
        "delay" | "loss" | "reset" => (link(dice, class), medium),
        "kill" => {
            let target = if dice.random_bool(0.25) { Target::All } else { some(dice) };
            if dice.random_bool(0.2) {
                (Fault::CrashLoop { target: few(dice), up_ms: dice.random_range(150..900) }, 3000)
            } else {
                (Fault::Kill { target }, dice.random_range(200..2000))
            }
        }
        "restart" => (Fault::RollingRestart, 500),
        "pause" => pause(dice),
        "client" => {
            let client = dice.random_range(0..clients);
            if dice.random_bool(0.3) {
                (Fault::KillClient { client }, 300)
            } else {
                (Fault::PauseClient { client }, if dice.random_bool(0.5) { medium } else { 4000 })
            }
        }
        "power-loss" => {
            let target = if dice.random_bool(0.4) { Target::All } else { some(dice) };
            (Fault::PowerLoss { target }, dice.random_range(200..1000))
        }
        "disk-error" => {
            let target = few(dice);
            let fault = if dice.random_bool(0.5) { Fault::DiskError { target } } else { Fault::FailingSync { target } };
            (fault, 800)
        }
        "slow-disk" => (Fault::SlowSync { target: some(dice), ms: dice.random_range(20..250) }, medium),
        "disk-full" => (Fault::DiskFull { target: few(dice) }, 1500),
        "corruption" => {
            // One node for a whole plan: what is damaged stays damaged, and a minority is what can
            // be lost.
            let target = Target::Node(nodes - 1);
            let fault = if dice.random_bool(0.5) {
                Fault::TornTail { target, bytes: dice.random_range(1..400) }
            } else {
                Fault::FlipBytes { target, count: dice.random_range(1..4), seed }
            };
            (fault, 500)
        }
        "clock" => (clock(dice, clients), medium),
        "wild-clock" => (wild(dice, clients), medium),
        MEMBERS => (Fault::Members { change: change(dice) }, dice.random_range(50..600)),
        "cpu" => (Fault::CpuStarve { target: some(dice), percent: dice.random_range(3..15) }, medium),
        _ => {
            if dice.random_bool(0.6) {
                (Fault::CompactionStorm { every_ms: dice.random_range(100..300) }, medium)
            } else {
                (Fault::SnapshotLag { target: Target::Follower(dice.random_range(0..4)) }, medium + 2000)
            }
        }
    }
}

fn change(dice: &mut StdRng) -> Change {
    let target = few(dice);
    let hurt = match dice.random_range(0..7) {
        0..3 => Hurt::Nothing,
        3 => Hurt::Killed,
        4 => Hurt::Paused,
        5 => Hurt::CutOff,
        _ => Hurt::Wiped,
    };
    match dice.random_range(0..11) {
        0 => Change::Grow { learner: false },
        1..3 => Change::Grow { learner: true },
        3..5 => Change::Shrink { target, hurt },
        5 => Change::ShrinkTwice { target },
        6..8 => Change::Replace { target, hurt },
        // A leader hands leadership over before it goes: that is not the same moment.
        8 | 9 => Change::Both { target: Target::Follower(dice.random_range(0..4)) },
        _ => Change::Return,
    }
}

/// Links that are slow, or do not bring everything.
fn link(dice: &mut StdRng, class: &str) -> Fault {
    let scope = scope(dice);
    let (ms, percent) = (dice.random_range(5..80), f64::from(dice.random_range(3..20)));
    match class {
        "delay" if dice.random_bool(0.75) => Fault::Delay { scope, ms, jitter_ms: ms / 2 },
        "delay" => Fault::Rate { scope, kbit: dice.random_range(2_000..8_000) },
        "reset" => Fault::ResetStorm { scope, percent: f64::from(dice.random_range(2..15)) / 10.0 },
        _ => match dice.random_range(0..3) {
            0 => Fault::Loss { scope, percent },
            1 => Fault::Duplicate { scope, percent },
            _ => Fault::Reorder { scope, percent, hold_ms: dice.random_range(2..20) },
        },
    }
}

fn partition(dice: &mut StdRng, seed: u64) -> Fault {
    match dice.random_range(0..8) {
        0 | 1 => Fault::Isolate { target: Target::Leader, clients_too: dice.random_bool(0.4) },
        2 => Fault::Isolate { target: some(dice), clients_too: false },
        3 | 4 => Fault::Halves { leader_in_minority: dice.random_bool(0.6), seed },
        5 => Fault::MajorityRing { seed },
        6 => Fault::OneWay { target: few(dice), deaf: dice.random_bool(0.5) },
        _ => Fault::Partial { a: Target::Leader, b: Target::Follower(dice.random_range(0..4)) },
    }
}

fn pause(dice: &mut StdRng) -> (Fault, u64) {
    let target = if dice.random_bool(0.15) { Target::All } else { some(dice) };
    let hold = match dice.random_range(0..4) {
        0 => dice.random_range(80..250),
        1 => dice.random_range(3500..4500),
        _ => dice.random_range(600..2500),
    };
    (Fault::Pause { target }, hold)
}

fn whose(dice: &mut StdRng, clients: usize) -> Who {
    match dice.random_range(0..4) {
        0 => Who::Client(dice.random_range(0..clients)),
        1 => Who::AllClients,
        _ => Who::Nodes(some(dice)),
    }
}

fn clock(dice: &mut StdRng, clients: usize) -> Fault {
    if dice.random_bool(0.4) {
        // Wall clocks must not matter at all. (The harness's clients do not even read theirs.)
        Fault::WallJump { who: Who::Nodes(some(dice)), ms: dice.random_range(-300_000..300_000) }
    } else {
        let who = whose(dice, clients);
        Fault::ClockRate { who, rate: [0.996, 0.998, 1.002, 1.004][dice.random_range(0..4)] }
    }
}

fn wild(dice: &mut StdRng, clients: usize) -> Fault {
    let who = whose(dice, clients);
    if dice.random_bool(0.4) {
        Fault::MonotonicJump { who, ms: dice.random_range(50..400) }
    } else {
        Fault::ClockRate { who, rate: [0.5, 0.8, 1.25, 2.0][dice.random_range(0..4)] }
    }
}
