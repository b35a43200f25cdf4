//! Sets of keys as sorted, disjoint intervals.

use crate::key_range::KeyRange;
use bytes::Bytes;

/// `[from, below)`; without a bound, everything from `from` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Bytes,
    pub(super) below: Option<Bytes>,
}

impl Interval {
    /// The keys of a range. An end of `\0` means no bound, here and nowhere later.
    pub(super) fn of(range: &KeyRange) -> Interval {
        let below = match &range.end[..] {
            b"" => Some(after(&range.key)),
            b"\0" => None,
            _ => Some(range.end.clone()),
        };
        Interval { from: range.key.clone(), below }
    }

    pub(super) fn prefix(prefix: &[u8]) -> Interval {
        Interval::of(&crate::keys::prefix_range(prefix))
    }

    fn ends_by(&self, below: Option<&Bytes>) -> bool {
        match (&self.below, below) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(below)) => own <= below,
        }
    }
}

/// The first key after `key`.
fn after(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<Interval>);

impl Intervals {
    /// The union. Intervals that touch become one.
    pub(super) fn union(mut parts: Vec<Interval>) -> Intervals {
        parts.sort_by(|a, b| a.from.cmp(&b.from));
        let mut union: Vec<Interval> = Vec::with_capacity(parts.len());
        for part in parts {
            match union.last_mut() {
                Some(last) if last.below.as_ref().is_none_or(|below| *below >= part.from) => {
                    if !part.ends_by(last.below.as_ref()) {
                        last.below = part.below;
                    }
                }
                _ => union.push(part),
            }
        }
        Intervals(union)
    }

    /// Whether one interval holds all of `wanted`. The empty interval needs the one in which it
    /// begins.
    pub(super) fn contain(&self, wanted: &Interval) -> bool {
        let behind = self.0.partition_point(|own| own.from <= wanted.from);
        let Some(own) = behind.checked_sub(1).map(|at| &self.0[at]) else { return false };
        own.below.as_ref().is_none_or(|below| wanted.from < *below) && wanted.ends_by(own.below.as_ref())
    }

    /// What lies between, before and behind the intervals.
    pub(super) fn gaps(&self) -> Vec<Interval> {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut from = Some(Bytes::new());
        for own in &self.0 {
            if let Some(from) = from.filter(|from| *from < own.from) {
                gaps.push(Interval { from, below: Some(own.from.clone()) });
            }
            from = own.below.clone();
        }
        gaps.extend(from.map(|from| Interval { from, below: None }));
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range() -> impl Strategy<Value = KeyRange> {
        let key = prop_oneof![3 => "[a-d]{0,2}".prop_map(String::into_bytes), 1 => Just(vec![0])];
        (key.clone(), key).prop_map(|(key, end)| KeyRange { key: key.into(), end: end.into() })
    }

    /// All keys of up to three letters, and some beyond.
    fn keys() -> Vec<Bytes> {
        let letters = [b"\0", b"a", b"b", b"c", b"d", b"e"];
        let mut keys = vec![Bytes::new()];
        for round in 0..3 {
            let longest: Vec<Bytes> = keys.iter().filter(|key| key.len() == round).cloned().collect();
            for key in longest {
                keys.extend(letters.iter().map(|letter| Bytes::from([&key[..], &letter[..]].concat())));
            }
        }
        keys
    }

    fn within(range: &KeyRange, key: &[u8]) -> bool {
        match &range.end[..] {
            b"" => key == range.key,
            b"\0" => *key >= range.key[..],
            end => *key >= range.key[..] && key < end,
        }
    }

    proptest! {
        /// Against key by key.
        #[test]
        fn a_union_holds_a_range_exactly_if_it_holds_each_key(parts in prop::collection::vec(range(), 0..6), wanted in range()) {
            let union = Intervals::union(parts.iter().map(Interval::of).filter(not_empty).collect());
            let keys = keys();
            let inside = |key: &Bytes| parts.iter().any(|part| within(part, key));
            let asked = Interval::of(&wanted);
            if not_empty(&asked) {
                let all = keys.iter().filter(|key| within(&wanted, key)).all(inside);
                prop_assert_eq!(union.contain(&asked), all);
            }
            for key in &keys {
                let gap = union.gaps().iter().any(|gap| {
                    *key >= gap.from && gap.below.as_ref().is_none_or(|below| key < below)
                });
                prop_assert_eq!(gap, !inside(key), "{:?}", key);
            }
        }
    }

    fn not_empty(interval: &Interval) -> bool {
        interval.below.as_ref().is_none_or(|below| interval.from < *below)
    }
}
