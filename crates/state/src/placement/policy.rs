//! What a policy says, and which labels and policies are well formed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The labels of a member, for example `zone=a`.
pub type Labels = BTreeMap<String, String>;

/// A member has no more labels.
pub const MAX_LABELS: usize = 16;
/// A policy has no more rules.
pub const MAX_RULES: usize = 64;
/// Of one rule.
pub const MAX_WEIGHT: u32 = 1_000;
/// The least and the most calm before leadership moves for a weight.
pub const MIN_CALM_MS: u64 = 1_000;
pub const MAX_CALM_MS: u64 = 24 * 3600 * 1_000;

/// The longest name or value of a label, and the longest name of a member in a rule, in bytes.
const MAX_TEXT: usize = 63;
const MAX_NAME: usize = 256;

const DEFAULT_CALM_MS: u64 = 30_000;

/// Which members a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Whom {
    /// The members of this name.
    Member(String),
    Label {
        name: String,
        value: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// Such a member hands leadership over as soon as another one can take it.
    Never,
    /// The weights of all rules that match a member add up. The heaviest leads.
    Weight(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRule {
    pub whom: Whom,
    pub preference: Preference,
}

/// Which members should lead. Without rules leadership stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementPolicy {
    pub rules: Vec<PlacementRule>,
    /// Milliseconds for which leadership must not have moved, and the target have kept up, before
    /// it moves for a weight.
    pub calm_ms: u64,
}

impl Default for PlacementPolicy {
    fn default() -> PlacementPolicy {
        PlacementPolicy { rules: Vec::new(), calm_ms: DEFAULT_CALM_MS }
    }
}

impl PlacementPolicy {
    /// What it says about a member of this name and these labels.
    #[must_use]
    pub fn of(&self, name: &str, labels: &Labels) -> Preference {
        let mut weight = 0_u32;
        for rule in &self.rules {
            let matches = match &rule.whom {
                Whom::Member(member) => member == name,
                Whom::Label { name, value } => labels.get(name) == Some(value),
            };
            match rule.preference {
                _ if !matches => {}
                Preference::Never => return Preference::Never,
                Preference::Weight(more) => weight = weight.saturating_add(more),
            }
        }
        Preference::Weight(weight)
    }

    /// Why it cannot be used, if it cannot.
    pub fn check(&self) -> Result<(), String> {
        if self.rules.len() > MAX_RULES {
            return Err(format!("{} rules: a policy has at most {MAX_RULES}", self.rules.len()));
        }
        if !(MIN_CALM_MS..=MAX_CALM_MS).contains(&self.calm_ms) {
            return Err(format!("a calm of {} ms is not between {MIN_CALM_MS} and {MAX_CALM_MS} ms", self.calm_ms));
        }
        let mut seen = std::collections::BTreeSet::new();
        for PlacementRule { whom, preference } in &self.rules {
            match whom {
                Whom::Member(name) if name.is_empty() || name.len() > MAX_NAME => {
                    return Err(format!("{name:?} is no name of a member"));
                }
                Whom::Label { name, value } => check_label(name, value)?,
                Whom::Member(_) => {}
            }
            if matches!(preference, Preference::Weight(weight) if !(1..=MAX_WEIGHT).contains(weight)) {
                return Err(format!("a weight is between 1 and {MAX_WEIGHT}"));
            }
            if !seen.insert(whom) {
                return Err(format!("two rules are about {}", shown(whom)));
            }
        }
        Ok(())
    }
}

fn shown(whom: &Whom) -> String {
    match whom {
        Whom::Member(name) => format!("the member {name:?}"),
        Whom::Label { name, value } => format!("{name}={value}"),
    }
}

/// `NAME=VALUE` as a label.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no label such as zone=a"))?;
    check_label(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Why a member cannot have these labels, if it cannot.
pub fn check_labels(labels: &Labels) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("{} labels: a member has at most {MAX_LABELS}", labels.len()));
    }
    labels.iter().try_for_each(|(name, value)| check_label(name, value))
}

fn check_label(name: &str, value: &str) -> Result<(), String> {
    if is_label_name(name) && is_label_value(value) {
        return Ok(());
    }
    Err(format!(
        "{name}={value} is no label: name and value are 1 to {MAX_TEXT} letters, digits and \"-\", \"_\", \".\", \"/\", \
         the name begins with a letter"
    ))
}

/// A letter, then letters, digits and `-_./`.
#[must_use]
pub fn is_label_name(text: &str) -> bool {
    is_label_value(text) && text.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(whom: Whom, preference: Preference) -> PlacementRule {
        PlacementRule { whom, preference }
    }

    fn zone(value: &str) -> Whom {
        Whom::Label { name: "zone".into(), value: value.into() }
    }

    #[test]
    fn weights_add_up_and_never_wins() {
        let rules = vec![
            rule(zone("a"), Preference::Weight(10)),
            rule(Whom::Member("n1".into()), Preference::Weight(5)),
            rule(zone("c"), Preference::Never),
        ];
        let policy = PlacementPolicy { rules, ..PlacementPolicy::default() };
        let of = |name: &str, zone: &str| policy.of(name, &Labels::from([("zone".into(), zone.into())]));
        assert_eq!(of("n1", "a"), Preference::Weight(15));
        assert_eq!(of("n2", "a"), Preference::Weight(10));
        assert_eq!(of("n1", "b"), Preference::Weight(5));
        assert_eq!(of("n1", "c"), Preference::Never);
        assert_eq!(policy.of("n9", &Labels::new()), Preference::Weight(0));
    }

    #[test]
    fn policies_that_cannot_be_used() {
        let with = |rules: Vec<PlacementRule>, calm_ms| PlacementPolicy { rules, calm_ms };
        let check = |rules| with(rules, 1_000).check();
        assert_eq!(check(vec![rule(zone("a"), Preference::Weight(1)), rule(zone("b"), Preference::Never)]), Ok(()));
        assert!(check(vec![rule(zone("a"), Preference::Weight(0))]).is_err());
        assert!(check(vec![rule(zone("a"), Preference::Weight(MAX_WEIGHT + 1))]).is_err());
        assert!(check(vec![rule(zone("a b"), Preference::Never)]).is_err());
        assert!(check(vec![rule(Whom::Member(String::new()), Preference::Never)]).is_err());
        assert!(check(vec![rule(zone("a"), Preference::Never), rule(zone("a"), Preference::Weight(1))]).is_err());
        let many = (0..=MAX_RULES).map(|n| rule(zone(&format!("z{n}")), Preference::Never)).collect();
        assert!(check(many).is_err());
        assert!(with(vec![], MIN_CALM_MS - 1).check().is_err() && with(vec![], MAX_CALM_MS + 1).check().is_err());
        assert_eq!(PlacementPolicy::default().check(), Ok(()));
    }

    #[test]
    fn labels() {
        assert_eq!(parse_label("zone=a"), Ok(("zone".into(), "a".into())));
        assert_eq!(parse_label("topology.io/zone=eu-1"), Ok(("topology.io/zone".into(), "eu-1".into())));
        for bad in
            ["", "zone", "=a", "zone=", "1=a", "zo ne=a", "zone=a b", "zone=a=b", &format!("z={}", "x".repeat(64))]
        {
            assert!(parse_label(bad).is_err(), "{bad:?}");
        }
        let many: Labels = (0..=MAX_LABELS).map(|n| (format!("l{n}"), "v".into())).collect();
        assert!(check_labels(&many).is_err());
    }
}
