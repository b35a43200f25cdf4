//! Judges of a run, one property a file. Each says `valid`, `violation` (a sentence and the few
//! records that show it) or `unknown`.
//!
//! # Rules
//!
//! 1. A checker is written from the documented semantics; it knows nothing of the server's code.
//! 2. A violation is certain: clock errors, unknown outcomes and faults under way are always taken
//!    in the server's favour.
//! 3. A property with fewer relevant operations than its floor is unknown, not valid; and unknown
//!    fails a run that asked for it.
//! 4. Truth is the [`Timeline`]: every revision with its changes, as watches and dumped logs agree
//!    on it.

mod belief;
mod case;
mod coord;
mod kv;
mod order;
mod place;
mod timeline;
mod verdict;
mod watch;

pub use belief::{Belief, beliefs};
pub use case::Case;
pub use coord::fenced_writes::unfenced_damage;
pub use place::{Grant, Kind, Place, grants, holders, owner, places};
pub use timeline::Timeline;
pub use verdict::{Finding, Flaw, Judged, Verdict, Violation};

/// Something that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    pub name: &'static str,
    /// The workloads that exercise it; empty: every run must show it.
    pub workloads: &'static [&'static str],
    pub says: &'static str,
    pub judge: fn(&Case<'_>) -> Judged,
}

/// All properties, in the order of the report.
pub const PROPERTIES: &[Property] = &[
    kv::linearizable::PROPERTY,
    kv::wgl::PROPERTY,
    kv::serializable::PROPERTY,
    kv::append::PROPERTY,
    kv::set::PROPERTY,
    kv::durability::PROPERTY,
    kv::agreement::PROPERTY,
    kv::digests::PROPERTY,
    kv::log_matching::PROPERTY,
    order::one_leader::PROPERTY,
    order::membership::PROPERTY,
    order::removed::PROPERTY,
    watch::ordered::PROPERTY,
    watch::unique::PROPERTY,
    watch::reliable::PROPERTY,
    watch::atomic::PROPERTY,
    watch::resumable::PROPERTY,
    watch::bookmarkable::PROPERTY,
    coord::lease_early::PROPERTY,
    coord::lease_late::PROPERTY,
    coord::lease_renewal::PROPERTY,
    coord::grants::PROPERTY,
    coord::fences::PROPERTY,
    coord::one_holder::PROPERTY,
    coord::exclusion::PROPERTY,
    coord::fenced_writes::PROPERTY,
    coord::capacity::PROPERTY,
    order::fifo::PROPERTY,
    order::wakeups::PROPERTY,
    order::zombies::PROPERTY,
    order::abandoned::PROPERTY,
    order::leader_reads::PROPERTY,
    order::observe::PROPERTY,
    order::queue_order::PROPERTY,
    order::queue_terms::PROPERTY,
    order::queue_watch::PROPERTY,
    coord::claim_early::PROPERTY,
    coord::claim_vacancy::PROPERTY,
    order::liveness::PROPERTY,
    order::coverage::PROPERTY,
];

/// Judges the properties that these workloads exercise, and those that every run must show.
#[must_use]
pub fn judge(case: &Case<'_>, workloads: &[&str]) -> Vec<Finding> {
    let asked = |property: &&Property| {
        property.workloads.is_empty() || property.workloads.iter().any(|workload| workloads.contains(workload))
    };
    PROPERTIES.iter().filter(asked).map(|property| judge_one(case, property)).collect()
}

/// Judges all properties, also those for which there is nothing to see.
#[must_use]
pub fn judge_all(case: &Case<'_>) -> Vec<Finding> {
    PROPERTIES.iter().map(|property| judge_one(case, property)).collect()
}

/// Judges one property; `None` if there is none of this name.
#[must_use]
pub fn judge_property(case: &Case<'_>, name: &str) -> Option<Finding> {
    PROPERTIES.iter().find(|property| property.name == name).map(|property| judge_one(case, property))
}

fn judge_one(case: &Case<'_>, property: &Property) -> Finding {
    let floor = case.run.bounds.floors.get(property.name).copied().unwrap_or(1);
    let (verdict, judged) = match (property.judge)(case) {
        Ok(judged) if judged < floor => {
            let why = format!("only {judged} of at least {floor} were there to judge");
            (Verdict::Unknown { why }, judged)
        }
        Ok(judged) => (Verdict::Valid, judged),
        Err(Flaw::Unknown(why)) => (Verdict::Unknown { why }, 0),
        Err(Flaw::Violation(violation)) => (Verdict::Violation(violation), 0),
    };
    Finding { property: property.name.into(), says: property.says.into(), verdict, judged }
}
