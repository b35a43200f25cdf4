//! Faults as values: what a schedule lists, a history records and `replay` installs again.
//!
//! A target is resolved when the fault is installed, because nobody knows beforehand who will lead.
//! How long a fault is held is the schedule's business.

use super::change::Change;
use super::fabric::rules::Packets;
use super::target::Target;
use super::volume::Loss;
use crate::history::Compaction;
use serde::{Deserialize, Serialize};

/// Which links: always both directions, never those of the harness itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Peers,
    Clients,
    Everything,
    /// All links of these nodes.
    Around(Target),
}

/// Whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    Nodes(Target),
    Client(usize),
    AllClients,
}

/// Something that goes wrong and is mended again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// The nodes reach each other, but none of the rest; nor the clients, if they are cut off too.
    Isolate {
        target: Target,
        clients_too: bool,
    },
    /// A minority and a majority that do not reach each other. Clients reach both.
    Halves {
        leader_in_minority: bool,
        seed: u64,
    },
    /// Every node reaches a majority, no two the same one. With three nodes: a chain.
    MajorityRing {
        seed: u64,
    },
    /// The nodes hear nothing of the others (deaf), or are not heard.
    OneWay {
        target: Target,
        deaf: bool,
    },
    /// One pair of nodes, or two groups, do not reach each other; all else works.
    Partial {
        a: Target,
        b: Target,
    },
    /// No client reaches these nodes, and they no client.
    ClientsCut {
        target: Target,
    },
    /// This client reaches nobody.
    ClientCut {
        client: usize,
    },
    Delay {
        scope: Scope,
        ms: u64,
        jitter_ms: u64,
    },
    Loss {
        scope: Scope,
        percent: f64,
    },
    Duplicate {
        scope: Scope,
        percent: f64,
    },
    Reorder {
        scope: Scope,
        percent: f64,
        hold_ms: u64,
    },
    /// Kilobits a second for each link and direction.
    Rate {
        scope: Scope,
        kbit: u64,
    },
    /// This share of the packets tears its connection down.
    ResetStorm {
        scope: Scope,
        percent: f64,
    },

    /// SIGKILL; started again when healed.
    Kill {
        target: Target,
    },
    /// SIGKILL again and again, `up_ms` after each start.
    CrashLoop {
        target: Target,
        up_ms: u64,
    },
    /// SIGTERM and a new start, one node after the other.
    RollingRestart,
    /// SIGSTOP.
    Pause {
        target: Target,
    },
    /// SIGSTOP for all processes of a client.
    PauseClient {
        client: usize,
    },
    /// SIGKILL for all processes of a client. They are not started again.
    KillClient {
        client: usize,
    },

    /// The node and its disk's unsynced bytes are gone at once.
    PowerLoss {
        target: Target,
    },
    /// The disk fails under the running node: every access ends with EIO, and unsynced bytes are
    /// lost.
    DiskError {
        target: Target,
    },
    SlowSync {
        target: Target,
        ms: u64,
    },
    /// Every sync ends with EIO.
    FailingSync {
        target: Target,
    },
    /// Syncs do nothing and say they did. A promise of durability cannot survive this with a power
    /// loss of all.
    LyingSync {
        target: Target,
    },
    DiskFull {
        target: Target,
    },
    /// Half a record behind the end of the newest log file, as a write leaves it that the power
    /// interrupted. The node is stopped before and started after, by itself.
    TornTail {
        target: Target,
        bytes: u64,
    },
    /// The end of the newest log file is gone, synced or not.
    Truncate {
        target: Target,
        bytes: u64,
    },
    /// Single bytes of the stopped node's files are changed.
    FlipBytes {
        target: Target,
        count: u64,
        seed: u64,
    },

    WallJump {
        who: Who,
        ms: i64,
    },
    /// 1.0 is right.
    ClockRate {
        who: Who,
        rate: f64,
    },
    /// Forward: this clock never goes back.
    MonotonicJump {
        who: Who,
        ms: u64,
    },
    /// A share of one processor.
    CpuStarve {
        target: Target,
        percent: u64,
    },
    /// A client compacts at the newest revision again and again.
    CompactionStorm {
        every_ms: u64,
    },
    /// Cut off until what it misses is no longer in the leader's log. Needs a small
    /// `--snapshot-count` and writes meanwhile.
    SnapshotLag {
        target: Target,
    },

    /// The members of the cluster change. Made by the runner, which knows who is a member.
    Members {
        change: Change,
    },
}

impl Fault {
    /// The class a fault counts for, in floors and in the report's bands.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Isolate { .. } | Self::Halves { .. } | Self::MajorityRing { .. } | Self::OneWay { .. } => "partition",
            Self::Partial { .. } | Self::ClientsCut { .. } | Self::ClientCut { .. } => "partition",
            Self::Delay { .. } | Self::Rate { .. } => "slow-network",
            Self::Loss { .. } | Self::Duplicate { .. } | Self::Reorder { .. } => "lossy-network",
            Self::ResetStorm { .. } => "resets",
            Self::Kill { .. } | Self::CrashLoop { .. } => "kill",
            Self::RollingRestart => "restart",
            Self::Pause { .. } => "pause",
            Self::PauseClient { .. } | Self::KillClient { .. } => "client",
            Self::PowerLoss { .. } => "power-loss",
            Self::DiskError { .. } | Self::FailingSync { .. } => "disk-error",
            Self::SlowSync { .. } => "slow-disk",
            Self::LyingSync { .. } => "lying-disk",
            Self::DiskFull { .. } => "disk-full",
            Self::TornTail { .. } | Self::Truncate { .. } | Self::FlipBytes { .. } => "corruption",
            Self::WallJump { .. } | Self::ClockRate { .. } | Self::MonotonicJump { .. } => "clock",
            Self::CpuStarve { .. } => "cpu",
            Self::CompactionStorm { .. } => "compaction",
            Self::SnapshotLag { .. } => "snapshot",
            Self::Members { .. } => "members",
        }
    }

    /// The fault's own name, as in its JSON.
    #[must_use]
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["fault"].as_str().unwrap_or("fault").to_owned()
    }

    /// Whether nodes it concerns cannot serve while it holds.
    #[must_use]
    pub fn stops_nodes(&self) -> bool {
        matches!(self.class(), "kill" | "restart" | "pause" | "power-loss" | "disk-error" | "disk-full" | "corruption")
    }

    /// Whether a node may end by itself because of it.
    #[must_use]
    pub fn may_end_nodes(&self) -> bool {
        matches!(self.class(), "disk-error" | "disk-full" | "corruption" | "lying-disk")
    }

    /// The nodes it is aimed at, if it is aimed at nodes.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Isolate { target, .. }
            | Self::OneWay { target, .. }
            | Self::ClientsCut { target }
            | Self::Kill { target }
            | Self::CrashLoop { target, .. }
            | Self::Pause { target }
            | Self::PowerLoss { target }
            | Self::DiskError { target }
            | Self::SlowSync { target, .. }
            | Self::FailingSync { target }
            | Self::LyingSync { target }
            | Self::DiskFull { target }
            | Self::TornTail { target, .. }
            | Self::Truncate { target, .. }
            | Self::FlipBytes { target, .. }
            | Self::CpuStarve { target, .. }
            | Self::SnapshotLag { target } => Some(*target),
            Self::Partial { a, .. } => Some(*a),
            Self::Halves { leader_in_minority: true, seed } => Some(Target::MinorityWithLeader { seed: *seed }),
            Self::Halves { leader_in_minority: false, seed } => Some(Target::Minority { seed: *seed }),
            Self::Delay { scope: Scope::Around(target), .. }
            | Self::Loss { scope: Scope::Around(target), .. }
            | Self::Duplicate { scope: Scope::Around(target), .. }
            | Self::Reorder { scope: Scope::Around(target), .. }
            | Self::Rate { scope: Scope::Around(target), .. }
            | Self::ResetStorm { scope: Scope::Around(target), .. } => Some(*target),
            Self::WallJump { who: Who::Nodes(target), .. }
            | Self::ClockRate { who: Who::Nodes(target), .. }
            | Self::MonotonicJump { who: Who::Nodes(target), .. } => Some(*target),
            Self::MajorityRing { .. } | Self::RollingRestart => Some(Target::All),
            _ => None,
        }
    }
}

/// Something that was seen to have happened because of a fault. Nodes and clients are counted from
/// 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    Packets(Packets),
    /// A process ended: killed, or by itself.
    Ended {
        who: String,
        pid: u32,
        how: String,
    },
    Started {
        node: usize,
        pid: u32,
    },
    /// It did not say in time that it serves.
    NotReady {
        node: usize,
    },
    /// Seen in the stopped state, for at least this long.
    Stopped {
        who: String,
        pid: u32,
        nanos: u64,
    },
    Lost {
        node: usize,
        loss: Loss,
    },
    /// Syncs that were slow, failed or lied.
    Syncs {
        node: usize,
        changed: u64,
    },
    Full {
        node: usize,
        free_before: u64,
        free_after: u64,
    },
    Damaged {
        node: usize,
        file: String,
        offset: u64,
        bytes: u64,
    },
    /// The damaged node ended instead of serving; it got its files back as they were before.
    Refused {
        node: usize,
        how: String,
    },
    /// The damaged node came up, alone; what it does with the damage is for the checkers.
    Survived {
        node: usize,
    },
    /// How far the clock was seen to be off, and how often it was read.
    Clock {
        who: String,
        ahead_nanos: i64,
        reads: u64,
    },
    /// Periods in which the node wanted more CPU than it got.
    Throttled {
        node: usize,
        periods: u64,
    },
    /// How many of those that were asked for were answered with success.
    Compacted {
        times: u64,
        asked: Vec<Compaction>,
    },
    /// Snapshots received, and how many log entries it was behind.
    Snapshots {
        node: usize,
        received: u64,
        behind: u64,
    },
    /// Changes of the members that were acknowledged.
    Changed {
        added: u64,
        promoted: u64,
        removed: u64,
        /// Times that a member that must not take part was started, and stopped with a reason.
        stopped: u64,
    },
}

/// What is known of a fault after it was healed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub fault: Fault,
    pub class: String,
    pub nodes: Vec<usize>,
    pub clients: Vec<usize>,
    pub leader_was: Option<usize>,
    pub installed_ns: u64,
    pub healed_ns: u64,
    pub effects: Vec<Effect>,
    /// The fault counts only if this says that it did something.
    pub effective: bool,
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_the_same_after_a_journey_through_json() {
        let faults = [
            Fault::Isolate { target: Target::Leader, clients_too: true },
            Fault::Loss { scope: Scope::Around(Target::Follower(2)), percent: 12.5 },
            Fault::RollingRestart,
            Fault::ClockRate { who: Who::Nodes(Target::Minority { seed: 3 }), rate: 1.25 },
        ];
        for fault in faults {
            let text = serde_json::to_string(&fault).unwrap();
            assert!(text.contains(&format!("\"fault\":\"{}\"", fault.name())), "{text}");
            assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
        }
    }
}
