//! Placement of leadership in the transcripts.
//!
//! `labels 7 zone=a region=eu`, `maintenance 7 on`, `policy calm=5000 zone=a:10 n3:never`;
//! `placement` shows it all.

use super::parse::Words;
use conclave_state::placement::{Labels, PlacementPolicy, PlacementRule, Preference, Whom};
use conclave_state::*;
use std::fmt::Write;

/// The change of a line, if it is one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Result<Option<Command>, String> {
    let change = match verb {
        "labels" => {
            let member = words.number("a member")?;
            let mut labels = Labels::new();
            while words.end().is_err() {
                let label = words.next("a label")?;
                let (name, value) = label.split_once('=').ok_or("no label")?;
                labels.insert(name.into(), value.into());
            }
            PlacementChange::Labels { member, labels }
        }
        "maintenance" => {
            let member = words.number("a member")?;
            PlacementChange::Maintenance { member, on: words.next("on or off")? == "on" }
        }
        "policy" => policy(words).map(PlacementChange::Policy)?,
        _ => return Ok(None),
    };
    Ok(Some(Command::Placement(Box::new(change))))
}

fn policy(words: &mut Words<'_>) -> Result<PlacementPolicy, String> {
    let mut policy = PlacementPolicy::default();
    if let Some(calm_ms) = words.option("calm")? {
        policy.calm_ms = calm_ms;
    }
    while words.end().is_err() {
        let (whom, preference) = words.next("a rule")?.split_once(':').ok_or("no rule")?;
        let whom = match whom.split_once('=') {
            Some((name, value)) => Whom::Label { name: name.into(), value: value.into() },
            None => Whom::Member(whom.into()),
        };
        let preference = match preference {
            "never" => Preference::Never,
            weight => Preference::Weight(weight.parse().map_err(|_| "no weight")?),
        };
        policy.rules.push(PlacementRule { whom, preference });
    }
    Ok(policy)
}

/// Everything that is known of placement.
pub(crate) fn show(view: &MemoryView) -> String {
    let mut text = String::new();
    let PlacementPolicy { rules, calm_ms } = read::placement(view).expect("memory can be read");
    let _ = writeln!(text, "placement: calm={calm_ms}ms");
    for PlacementRule { whom, preference } in rules {
        let _ = writeln!(text, "  {whom:?} {preference:?}");
    }
    for (member, labels) in read::labels(view).expect("memory can be read") {
        let _ = writeln!(text, "  {member}: {labels:?}");
    }
    let _ = writeln!(text, "  in maintenance: {:?}", read::in_maintenance(view).expect("memory can be read"));
    text
}
