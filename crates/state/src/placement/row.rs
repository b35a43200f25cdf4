//! The rows of labels and of the policy.

use super::{Labels, PlacementPolicy, PlacementRule, Preference, Whom};
use crate::view::Fault;

const OF_MEMBER: u8 = 0;
const OF_LABEL: u8 = 1;
const NEVER: u32 = u32::MAX;

pub(crate) fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut row = Vec::new();
    for (name, value) in labels {
        push_text(&mut row, name);
        push_text(&mut row, value);
    }
    row
}

pub(crate) fn decode_labels(mut row: &[u8]) -> Result<Labels, Fault> {
    let mut labels = Labels::new();
    while !row.is_empty() {
        let name = take_text(&mut row)?;
        labels.insert(name, take_text(&mut row)?);
    }
    Ok(labels)
}

pub(crate) fn encode_policy(policy: &PlacementPolicy) -> Vec<u8> {
    let mut row = policy.calm_ms.to_be_bytes().to_vec();
    for PlacementRule { whom, preference } in &policy.rules {
        row.push(if matches!(whom, Whom::Member(_)) { OF_MEMBER } else { OF_LABEL });
        let weight = match preference {
            Preference::Never => NEVER,
            Preference::Weight(weight) => *weight,
        };
        row.extend_from_slice(&weight.to_be_bytes());
        match whom {
            Whom::Member(name) => push_text(&mut row, name),
            Whom::Label { name, value } => {
                push_text(&mut row, name);
                push_text(&mut row, value);
            }
        }
    }
    row
}

pub(crate) fn decode_policy(row: &[u8]) -> Result<PlacementPolicy, Fault> {
    let (calm, mut rest) = row.split_first_chunk().ok_or_else(unreadable)?;
    let mut rules = Vec::new();
    while let Some((kind, tail)) = rest.split_first() {
        let (weight, tail) = tail.split_first_chunk().ok_or_else(unreadable)?;
        rest = tail;
        let preference = match u32::from_be_bytes(*weight) {
            NEVER => Preference::Never,
            weight => Preference::Weight(weight),
        };
        let whom = match *kind {
            OF_MEMBER => Whom::Member(take_text(&mut rest)?),
            OF_LABEL => Whom::Label { name: take_text(&mut rest)?, value: take_text(&mut rest)? },
            _ => return Err(unreadable()),
        };
        rules.push(PlacementRule { whom, preference });
    }
    Ok(PlacementPolicy { rules, calm_ms: u64::from_be_bytes(*calm) })
}

fn push_text(row: &mut Vec<u8>, text: &str) {
    let len = u32::try_from(text.len()).expect("names and labels are short");
    row.extend_from_slice(&len.to_be_bytes());
    row.extend_from_slice(text.as_bytes());
}

fn take_text(row: &mut &[u8]) -> Result<String, Fault> {
    let (len, rest) = row.split_first_chunk().ok_or_else(unreadable)?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(unreadable)?;
    *row = rest;
    String::from_utf8(text.to_vec()).map_err(|_| unreadable())
}

fn unreadable() -> Fault {
    Fault::Corrupt("a row of the placement of leadership cannot be read".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_as_written() {
        let labels = Labels::from([("region".into(), "eu".into()), ("zone".into(), "a".into())]);
        for labels in [labels, Labels::new()] {
            assert_eq!(decode_labels(&encode_labels(&labels)).unwrap(), labels);
        }
        let rules = vec![
            PlacementRule { whom: Whom::Member("n1".into()), preference: Preference::Never },
            PlacementRule {
                whom: Whom::Label { name: "zone".into(), value: "a".into() },
                preference: Preference::Weight(7),
            },
        ];
        let policy = PlacementPolicy { rules, calm_ms: 5_000 };
        let row = encode_policy(&policy);
        assert_eq!(decode_policy(&row).unwrap(), policy);
        // Nothing but whole rules can be read.
        let whole = (0..row.len()).filter(|cut| decode_policy(&row[..*cut]).is_ok());
        assert_eq!(whole.collect::<Vec<_>>(), [8, 8 + 5 + 6]);
        assert!(decode_labels(&[0; 3]).is_err() && decode_labels(&[0, 0, 0, 1, 0xff, 0, 0, 0, 0]).is_err());
    }
}
