//! Policies of placement as messages.

use conclave_api::conclave::v1::placement::{Rule, rule};
use conclave_api::conclave::v1::{self};
use conclave_state::placement::{PlacementPolicy, PlacementRule, Preference, Whom, parse_label};

/// The policy of a request, or why it is none.
pub fn policy(placement: v1::Placement) -> Result<PlacementPolicy, String> {
    let rules = placement.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    let calm_ms = match placement.calm_ms {
        0 => PlacementPolicy::default().calm_ms,
        calm_ms => calm_ms,
    };
    let policy = PlacementPolicy { rules, calm_ms };
    policy.check().map_err(|why| format!("placement: {why}"))?;
    Ok(policy)
}

fn rule(rule: Rule) -> Result<PlacementRule, String> {
    let whom = match rule.whom {
        Some(rule::Whom::Member(name)) => Whom::Member(name),
        Some(rule::Whom::Label(label)) => {
            let (name, value) = parse_label(&label).map_err(|why| format!("placement.rules.label: {why}"))?;
            Whom::Label { name, value }
        }
        None => return Err("placement.rules: a rule names a member or a label".into()),
    };
    let preference = match rule.preference {
        Some(rule::Preference::Never(true)) => Preference::Never,
        Some(rule::Preference::Weight(weight)) => Preference::Weight(weight),
        _ => return Err("placement.rules: a rule has a weight or `never`".into()),
    };
    Ok(PlacementRule { whom, preference })
}

pub fn message(policy: PlacementPolicy) -> v1::Placement {
    let rule = |PlacementRule { whom, preference }| Rule {
        whom: Some(match whom {
            Whom::Member(name) => rule::Whom::Member(name),
            Whom::Label { name, value } => rule::Whom::Label(format!("{name}={value}")),
        }),
        preference: Some(match preference {
            Preference::Never => rule::Preference::Never(true),
            Preference::Weight(weight) => rule::Preference::Weight(weight),
        }),
    };
    v1::Placement { rules: policy.rules.into_iter().map(rule).collect(), calm_ms: policy.calm_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(whom: Option<rule::Whom>, preference: Option<rule::Preference>) -> Result<PlacementPolicy, String> {
        policy(v1::Placement { rules: vec![Rule { whom, preference }], calm_ms: 0 })
    }

    #[test]
    fn policies_there_and_back() {
        let member = || Some(rule::Whom::Member("a".into()));
        let label = |label: &str| Some(rule::Whom::Label(label.into()));
        for (whom, preference) in
            [(member(), rule::Preference::Never(true)), (label("zone=a"), rule::Preference::Weight(7))]
        {
            let read = of(whom, Some(preference)).expect("a policy");
            assert_eq!(read.calm_ms, PlacementPolicy::default().calm_ms);
            assert_eq!(policy(message(read.clone())), Ok(read));
        }
        let weight = Some(rule::Preference::Weight(7));
        for bad in [
            of(None, weight),
            of(member(), None),
            of(member(), Some(rule::Preference::Never(false))),
            of(member(), Some(rule::Preference::Weight(0))),
            of(label("zone"), weight),
            policy(v1::Placement { rules: vec![], calm_ms: 5 }),
        ] {
            assert!(bad.expect_err("refused").starts_with("placement"));
        }
    }
}
