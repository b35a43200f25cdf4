//! What one watch brought to its client, over all its reconnections.
//!
//! A *part* is what came between one opening and the next. A part from revision 0 begins after the
//! revision that its creation told.

use super::super::{case::Case, timeline::Timeline};
use crate::history::{Answer, Call, Change, Event, WatchCall, WatchMessage};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub(super) name: &'a str,
    pub(super) parts: Vec<Part<'a>>,
}

#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) call: &'a WatchCall,
    /// The first revision that belongs to it.
    pub(super) from: i64,
    pub(super) index: usize,
    pub(super) messages: Vec<Message<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) index: usize,
    /// The header's.
    pub(super) revision: i64,
    pub(super) what: &'a WatchMessage,
}

impl<'a> Message<'a> {
    pub(super) fn changes(&self) -> &'a [Change] {
        if let WatchMessage::Changes { changes, .. } = self.what { changes } else { &[] }
    }
}

impl<'a> Part<'a> {
    pub(super) fn changes(&self) -> impl Iterator<Item = (usize, &'a Change)> {
        self.messages.iter().flat_map(|message| message.changes().iter().map(|change| (message.index, change)))
    }

    pub(super) fn wants(&self, key: &str) -> bool {
        if self.call.prefix { key.starts_with(&self.call.key) } else { key == self.call.key }
    }

    /// What the store changed of the watched keys in these revisions, both inclusive.
    pub(super) fn truth<'t>(
        &'t self,
        timeline: &'t Timeline<'a>,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = (i64, &'a Change)> + 't {
        let revisions = (from <= to).then(|| timeline.revisions.range(from..=to)).into_iter().flatten();
        revisions.flat_map(move |(revision, told)| {
            told.what.changes.iter().filter(|change| self.wants(&change.key)).map(move |change| (*revision, change))
        })
    }
}

/// All watches that were created, by name.
pub(super) fn streams<'a>(case: &Case<'a>) -> Vec<Stream<'a>> {
    let mut found: BTreeMap<&str, Stream<'_>> = BTreeMap::new();
    for op in &case.run.ops {
        let (Call::Watch(call), Some(Answer::Watch(answer))) = (&op.call, op.answer()) else { continue };
        let from = if call.start > 0 { call.start } else { answer.revision + 1 };
        let stream = found.entry(&call.stream).or_insert_with(|| Stream { name: &call.stream, parts: Vec::new() });
        stream.parts.push(Part { call, from, index: op.index, messages: Vec::new() });
    }
    for streamed in case.run.events() {
        let Event::Watch(event) = streamed.event else { continue };
        let Some(stream) = found.get_mut(event.stream.as_str()) else { continue };
        let Some(part) = stream.parts.iter_mut().rev().find(|part| part.index < streamed.index) else { continue };
        part.messages.push(Message { index: streamed.index, revision: event.revision, what: &event.what });
    }
    found.into_values().collect()
}

/// A change without what was told only where it was asked for.
pub(super) fn same(told: &Change, truth: &Change) -> bool {
    (&told.key, &told.value) == (&truth.key, &truth.value)
}

/// Whether what is told at a time to have been there before was. What is compacted when the change
/// is told is left out, as etcd does it.
pub(super) fn right_before(timeline: &Timeline<'_>, change: &Change, told: u64) -> bool {
    let before = change.modified - 1;
    match (timeline.at(&change.key, before), &change.prev) {
        (None, None) => true,
        (Some(version), Some(kv)) => Timeline::agrees(version, kv),
        (Some(_), None) => timeline.may_be_compacted(before, told),
        (None, Some(_)) => false,
    }
}
