//! Judges a run by its files, and writes `report.html` and `summary.json` beside them. Can be done
//! again with other checkers.

use super::Outcome;
use crate::{
    check::{Case, Finding, Verdict, Violation, judge as judge_properties, unfenced_damage},
    env::Effect,
    history::load,
    plan::{MEMBERS, Plan},
    report::{page, summary, verdict},
};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, ops::AddAssign, path::Path};

/// A run in figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub runs: usize,
    pub seconds: f64,
    /// Operations with an answer, all of which were judged.
    pub operations: u64,
    pub unknown: u64,
    /// Faults with an effect, by class.
    pub faults: BTreeMap<String, u64>,
    pub skipped: u64,
    pub leader_changes: u64,
    /// Nodes that came back after they had lost what was not synced.
    pub power_losses: u64,
    pub grants: u64,
    pub lease_expiries: u64,
    /// Acknowledged changes of the members.
    #[serde(default)]
    pub member_changes: u64,
    /// Updates lost where nothing guarded them: what shows that the faults are strong enough.
    pub unfenced_damage: u64,
    /// `valid`, `violation`, `unknown`: the worst.
    pub verdict: String,
    /// What is not valid: property and sentence.
    pub flaws: Vec<(String, String)>,
}

impl Figures {
    #[must_use]
    pub fn faults_with_effect(&self) -> u64 {
        self.faults.values().sum()
    }

    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.verdict == "valid"
    }

    /// Whether this property was found violated.
    #[must_use]
    pub fn violates(&self, property: &str) -> bool {
        self.verdict == "violation" && self.flaws.iter().any(|(name, said)| name == property && !said.starts_with('?'))
    }
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Figures) {
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.operations += other.operations;
        self.unknown += other.unknown;
        for (class, count) in &other.faults {
            *self.faults.entry(class.clone()).or_default() += count;
        }
        self.skipped += other.skipped;
        self.leader_changes += other.leader_changes;
        self.power_losses += other.power_losses;
        self.grants += other.grants;
        self.lease_expiries += other.lease_expiries;
        self.member_changes += other.member_changes;
        self.unfenced_damage += other.unfenced_damage;
        let rank = |verdict: &str| ["", "valid", "unknown", "violation"].iter().position(|one| *one == verdict);
        if rank(&other.verdict) > rank(&self.verdict) {
            self.verdict.clone_from(&other.verdict);
        }
        self.flaws.extend(other.flaws.iter().cloned());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} ops ({} unknown), {} faults, {} leaders, {} power losses, {} grants, {} expiries, {} unfenced losses",
            self.verdict,
            self.operations,
            self.unknown,
            self.faults_with_effect(),
            self.leader_changes,
            self.power_losses,
            self.grants,
            self.lease_expiries,
            self.unfenced_damage
        )?;
        if self.member_changes > 0 {
            write!(f, ", {} changes of members", self.member_changes)?;
        }
        for (property, sentence) in &self.flaws {
            write!(f, "\n    {property}: {sentence}")?;
        }
        Ok(())
    }
}

/// Judges the run of a directory.
///
/// # Errors
/// Its files cannot be read.
pub fn judge_dir(dir: &Path) -> Result<Figures> {
    let plan = Plan::load(dir)?;
    let path = dir.join("outcome.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}: did the run end?", path.display()))?;
    judge(&plan, &serde_json::from_str(&text)?, dir)
}

/// Judges a run, and writes its report.
///
/// # Errors
/// Its files cannot be read or written.
pub fn judge(plan: &Plan, outcome: &Outcome, dir: &Path) -> Result<Figures> {
    let run = load(dir)?;
    let case = Case::new(&run);
    let mut workloads: Vec<&str> = plan.workloads.iter().map(String::as_str).collect();
    if plan.changes_members() {
        workloads.push(MEMBERS);
    }
    let mut findings = judge_properties(&case, &workloads);
    findings.extend(of_the_environment(outcome));
    let nodes = if plan.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", plan.nodes) };
    let title = format!("{nodes}, seed {}: {}", plan.seed, plan.faults.join(", "));
    std::fs::write(dir.join("report.html"), page(&case, &findings, &title))?;
    let summary = summary(&case, &findings);
    let figure = |name: &str| summary[name].as_u64().unwrap_or(0);
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for evidence in outcome.evidence.iter().filter(|evidence| evidence.effective) {
        *faults.entry(evidence.class.clone()).or_default() += 1;
    }
    let cuts = outcome.evidence.iter().filter(|evidence| evidence.class == "power-loss" && evidence.effective);
    let figures = Figures {
        runs: 1,
        seconds: summary["seconds"].as_f64().unwrap_or(0.0),
        operations: figure("ok"),
        unknown: figure("info"),
        faults,
        skipped: outcome.skipped.len() as u64,
        leader_changes: figure("leader_changes"),
        power_losses: cuts.map(|evidence| evidence.nodes.len() as u64).sum(),
        grants: summary["grants"]
            .as_object()
            .map_or(0, |kinds| kinds.values().filter_map(serde_json::Value::as_u64).sum()),
        lease_expiries: figure("lease_expiries"),
        member_changes: changes_of_members(outcome),
        unfenced_damage: unfenced_damage(&run) as u64,
        verdict: verdict(&findings).to_owned(),
        flaws: findings.iter().filter_map(flaw).collect(),
    };
    let mut all = serde_json::to_value(&figures)?;
    if let (Some(all), serde_json::Value::Object(more)) = (all.as_object_mut(), summary) {
        for (name, value) in more {
            all.entry(name).or_insert(value);
        }
    }
    std::fs::write(dir.join("summary.json"), serde_json::to_string_pretty(&all)?)?;
    Ok(figures)
}

fn changes_of_members(outcome: &Outcome) -> u64 {
    let effects = outcome.evidence.iter().flat_map(|evidence| &evidence.effects);
    let made = |effect: &Effect| match effect {
        Effect::Changed { added, promoted, removed, .. } => added + promoted + removed,
        _ => 0,
    };
    effects.map(made).sum()
}

/// A finding that is not valid, in words; those that are only unknown begin with a question mark.
fn flaw(finding: &Finding) -> Option<(String, String)> {
    let said = match &finding.verdict {
        Verdict::Valid => return None,
        Verdict::Violation(violation) => violation.sentence.clone(),
        Verdict::Unknown { why } => format!("? {why}"),
    };
    Some((finding.property.clone(), said))
}

/// What needs no history to be judged: the names, and what they say.
pub const OF_THE_ENVIRONMENT: [(&str, &str); 5] = [
    ("no-crash", "No node ends unless a fault ends it."),
    ("failed-sync", "A node whose disk fails to sync stops."),
    ("recovery", "When everything is healed every node serves again."),
    ("caught-up", "When everything is healed every member's watch brings everything."),
    ("outsiders", "Who was removed, or lost its directory, stops with a reason and never serves."),
];

/// Those, in that order.
fn of_the_environment(outcome: &Outcome) -> Vec<Finding> {
    let exits = (!outcome.exits.is_empty()).then(|| outcome.exits.join("; "));
    let after_failed_sync = outcome.evidence.iter().find(|evidence| evidence.note.contains("went on after a sync"));
    let behind = outcome.behind.then(|| "a watch of the whole store does not bring the newest revision".to_owned());
    let outsiders = (!outcome.outsiders.is_empty()).then(|| outcome.outsiders.join("; "));
    let after_failed_sync = after_failed_sync.map(|evidence| evidence.note.clone());
    let wrong = [exits, after_failed_sync, outcome.unserved.clone(), behind, outsiders];
    let verdict = |wrong: Option<String>| {
        wrong.map_or(Verdict::Valid, |sentence| Verdict::Violation(Violation { sentence, window: Vec::new() }))
    };
    let finding = |((property, says), wrong): ((&str, &str), _)| Finding {
        property: property.into(),
        says: says.into(),
        verdict: verdict(wrong),
        judged: 1,
    };
    OF_THE_ENVIRONMENT.into_iter().zip(wrong).map(finding).collect()
}
