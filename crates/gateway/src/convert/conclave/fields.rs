//! Single fields: texts, durations, values, labels, limits of lists.

use super::{BadField, Problem};
use bytes::Bytes;
use std::collections::HashMap;

/// Names, candidates, instances, holders, owners, entities, namespaces.
const LONGEST_TEXT: usize = 256;
const LONGEST_REASON: usize = 1 << 10;
const LARGEST_VALUE: usize = 1 << 20;
const MOST_LABELS: usize = 32;
/// The largest whole number that every language's JSON still tells from its neighbours: 285,000
/// years.
const LONGEST_MILLIS: u64 = 1 << 53;
/// Of anything that is listed in pages.
pub const LARGEST_LIST: u32 = 10_000;
const USUAL_LIST: u32 = 1_000;

/// 1 to 256 bytes without control characters.
pub fn text(field: &'static str, text: String) -> Result<String, BadField> {
    if text.is_empty() { Err(Problem::Empty.of(field)) } else { bounded(field, text, LONGEST_TEXT) }
}

/// The same, or empty.
pub fn text_or_empty(field: &'static str, text: String) -> Result<String, BadField> {
    bounded(field, text, LONGEST_TEXT)
}

fn bounded(field: &'static str, text: String, most: usize) -> Result<String, BadField> {
    if text.len() > most {
        return Err(Problem::TooLong { bytes: text.len(), most }.of(field));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::ControlCharacter.of(field));
    }
    Ok(text)
}

/// Told to people: line breaks and tabs may be in it.
pub fn reason(field: &'static str, text: String) -> Result<String, BadField> {
    if text.len() > LONGEST_REASON {
        return Err(Problem::TooLong { bytes: text.len(), most: LONGEST_REASON }.of(field));
    }
    if text.chars().any(|sign| sign.is_control() && !matches!(sign, '\n' | '\r' | '\t')) {
        return Err(Problem::ControlCharacter.of(field));
    }
    Ok(text)
}

pub fn millis(field: &'static str, millis: u64) -> Result<u64, BadField> {
    if millis > LONGEST_MILLIS {
        return Err(Problem::TooLarge { value: millis, most: LONGEST_MILLIS }.of(field));
    }
    Ok(millis)
}

/// A revision or a fence; 0 is none.
pub fn revision(field: &'static str, revision: i64) -> Result<i64, BadField> {
    if revision < 0 { Err(Problem::Negative.of(field)) } else { Ok(revision) }
}

pub fn byte_value(field: &'static str, value: Bytes) -> Result<Bytes, BadField> {
    if value.len() > LARGEST_VALUE {
        return Err(Problem::TooLong { bytes: value.len(), most: LARGEST_VALUE }.of(field));
    }
    Ok(value)
}

/// In the order of their names: the same labels are the same command.
pub fn labels(field: &'static str, labels: HashMap<String, String>) -> Result<Vec<(String, String)>, BadField> {
    if labels.len() > MOST_LABELS {
        return Err(Problem::TooMany { count: labels.len(), most: MOST_LABELS }.of(field));
    }
    let pair = |(label, value)| Ok((text(field, label)?, bounded(field, value, LONGEST_REASON)?));
    let mut labels = labels.into_iter().map(pair).collect::<Result<Vec<_>, BadField>>()?;
    labels.sort_unstable();
    Ok(labels)
}

/// How many entries a page of names has.
pub fn limit(field: &'static str, limit: u32) -> Result<usize, BadField> {
    if limit > LARGEST_LIST {
        return Err(Problem::TooLarge { value: limit.into(), most: LARGEST_LIST.into() }.of(field));
    }
    Ok(if limit == 0 { USUAL_LIST } else { limit } as usize)
}
