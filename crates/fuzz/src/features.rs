//! What is new about an answer: which words stand in it, next to which, and how deep. Numbers and
//! texts do not count.
//!
//! There are only so many of these *features*, since words are names of variants and fields, and
//! words of messages. So the samples stay few, however long a run takes.

use std::hash::{DefaultHasher, Hash, Hasher};

/// How much of an answer is looked at.
const LONGEST: usize = 4_000;
/// What lies deeper counts as this deep.
const DEEPEST: u32 = 6;

/// A number for each word of an answer with the word before it and its depth.
pub(crate) fn features(answer: &str) -> impl Iterator<Item = u64> {
    let mut features = Vec::new();
    let (mut before, mut word, mut depth, mut quoted, mut escaped) = (0, String::new(), 0, false, false);
    for c in answer.chars().take(LONGEST).chain([' ']) {
        if quoted || c == '"' {
            quoted = c != '"' || escaped || !quoted;
            escaped = quoted && c == '\\' && !escaped;
            continue;
        }
        if c.is_alphabetic() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            features.push(number((before, &word, depth)));
            before = number(&word);
            word.clear();
        }
        match c {
            '(' | '[' | '{' => depth = (depth + 1).min(DEEPEST),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    features.into_iter()
}

fn number(value: impl Hash) -> u64 {
    let mut hash = DefaultHasher::new();
    value.hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(answer: &str) -> BTreeSet<u64> {
        features(answer).collect()
    }

    #[test]
    fn numbers_and_texts_are_no_features() {
        assert_eq!(set(r#"Put { key: "a", lease: 1 }"#), set(r#"Put { key: "b \" c", lease: 977 }"#));
        assert_eq!(set("[Put { lease: 1 }, Put { lease: 2 }, Put { lease: 2 }]").len(), 3);
        assert_eq!(set("Ok(1, 2, 3)"), set("Ok(1)"));
    }

    #[test]
    fn words_their_neighbours_and_their_depth_are() {
        assert_ne!(set("Some(1)"), set("None"));
        assert_ne!(set("Put { key: 1 }"), set("Get { key: 1 }"));
        assert_ne!(set("A(B)"), set("A((B))"));
        assert!(set("too short").is_disjoint(&set("short too")));
    }
}
