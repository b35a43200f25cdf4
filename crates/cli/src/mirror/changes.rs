//! Changes on their way: what is to be written, joined and split into transactions.

use bytes::Bytes;
use conclave_client::{Delete, Event, EventKind, KeyValue, Op, Put};
use std::collections::BTreeMap;

/// Bytes of keys and values in one transaction; etcd takes 1.5 MiB unless it is set up otherwise.
/// One key may be larger.
const BYTES: usize = 1 << 20;

/// What becomes of a key of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put { value: Bytes, lease: i64 },
    Delete,
}

impl Change {
    pub(super) fn put(kv: &KeyValue) -> Self {
        Self::Put { value: kv.value.clone(), lease: kv.lease }
    }

    fn of(event: &Event) -> Self {
        match event.kind {
            EventKind::Put => Self::put(&event.kv),
            EventKind::Delete => Self::Delete,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete => 0,
        }
    }

    /// The operation; `lease` gives the lease of the destination for one of the source.
    pub(super) fn op(&self, key: Bytes, lease: impl Fn(i64) -> i64) -> Op {
        match self {
            Self::Put { value, lease: id } => Put::new(key, value.clone()).lease(lease(*id)).into(),
            Self::Delete => Delete::new(key).into(),
        }
    }
}

/// A change with its key.
pub(super) type Keyed = (Bytes, Change);

/// Changes of whole revisions that are written together: the last one of each key.
#[derive(Debug, Default)]
pub(super) struct Changes {
    of: BTreeMap<Bytes, Change>,
    bytes: usize,
}

impl Changes {
    pub(super) fn add(&mut self, key: Bytes, change: Change) {
        self.bytes += key.len() + change.size();
        // What it replaces is still counted: the sum is a bound.
        self.of.insert(key, change);
    }

    pub(super) fn add_event(&mut self, key: Bytes, event: &Event) {
        self.add(key, Change::of(event));
    }

    /// Whether there is as much as one transaction takes.
    pub(super) fn full(&self, most: usize) -> bool {
        self.of.len() >= most || self.bytes >= BYTES
    }

    /// Whether further changes can go into the same transaction.
    pub(super) fn takes(&self, more: &Self, most: usize) -> bool {
        self.of.len() + more.of.len() <= most && self.bytes + more.bytes <= BYTES
    }

    pub(super) fn append(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.of.extend(more.of);
    }

    /// All of it, in pieces that one transaction takes. What is more than one piece is not written
    /// at one moment.
    pub(super) fn take(&mut self, most: usize) -> Vec<Vec<Keyed>> {
        self.bytes = 0;
        let mut pieces: Vec<Vec<Keyed>> = Vec::new();
        let mut bytes = 0;
        for (key, change) in std::mem::take(&mut self.of) {
            let size = key.len() + change.size();
            match pieces.last_mut() {
                Some(piece) if piece.len() < most && bytes + size <= BYTES => {
                    bytes += size;
                    piece.push((key, change));
                }
                _ => {
                    bytes = size;
                    pieces.push(vec![(key, change)]);
                }
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(size: usize) -> Change {
        Change::Put { value: vec![b'v'; size].into(), lease: 0 }
    }

    #[test]
    fn the_last_change_of_a_key_counts() {
        let (mut changes, mut later) = (Changes::default(), Changes::default());
        changes.add("a".into(), put(1));
        changes.add("b".into(), put(1));
        later.add("a".into(), Change::Delete);
        assert!(changes.takes(&later, 3) && !changes.takes(&later, 2));
        changes.append(later);
        assert_eq!(changes.take(9), [vec![(Bytes::from("a"), Change::Delete), (Bytes::from("b"), put(1))]]);
        assert!(changes.take(9).is_empty());
    }

    #[test]
    fn pieces_are_bounded_by_number_and_by_size() {
        let fill = |sizes: &[usize]| {
            let mut changes = Changes::default();
            sizes.iter().enumerate().for_each(|(i, size)| changes.add(format!("{i}").into(), put(*size)));
            changes
        };
        let lengths = |mut changes: Changes, most| changes.take(most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(fill(&[1; 7]), 3), [3, 3, 1]);
        // A value that is larger than a piece goes by itself.
        assert_eq!(lengths(fill(&[BYTES / 2, BYTES / 2 - 9, 2 * BYTES, 1]), 9), [2, 1, 1]);
        assert!(fill(&[BYTES]).full(9) && fill(&[1; 9]).full(9) && !fill(&[1; 8]).full(9));
    }
}
