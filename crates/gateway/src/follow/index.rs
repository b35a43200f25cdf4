//! From a key to its followers: those of single keys by hash, those of ranges by [`Intervals`].

use super::intervals::Intervals;
use super::span::Span;
use bytes::Bytes;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: HashMap<Bytes, Vec<usize>>,
    ranges: Intervals,
}

impl Index {
    pub(crate) fn insert(&mut self, span: &Span, id: usize) {
        match span {
            Span::Key(key) => self.keys.entry(key.clone()).or_default().push(id),
            Span::Range { start, end } => self.ranges.insert(start, end, id),
        }
    }

    pub(crate) fn remove(&mut self, span: &Span, id: usize) {
        match span {
            Span::Key(key) => {
                let Some(ids) = self.keys.get_mut(key) else { return };
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    self.keys.remove(key);
                }
            }
            Span::Range { start, end } => self.ranges.remove(start, end, id),
        }
    }

    /// Shows every id whose span holds `key`, each once.
    pub(crate) fn at(&self, key: &[u8], mut found: impl FnMut(usize)) {
        if let Some(ids) = self.keys.get(key) {
            ids.iter().for_each(|&id| found(id));
        }
        self.ranges.at(key, &mut found);
    }
}
