//! What watches told of each queue election, merged in the order of revisions.

use super::super::case::Case;
use crate::history::{Event, QueueEvent, QueueEventKind};
use std::collections::BTreeMap;

/// Events by revision, each with the record that told it first.
pub(super) type Events<'a> = BTreeMap<i64, (&'a QueueEvent, usize)>;

/// Snapshots are left out: they repeat what an event told.
pub(super) fn elections<'a>(case: &Case<'a>) -> BTreeMap<&'a str, Events<'a>> {
    let mut found: BTreeMap<&str, Events<'_>> = BTreeMap::new();
    for streamed in case.run.events() {
        let Event::Queue(event) = streamed.event else { continue };
        if event.kind != QueueEventKind::Snapshot {
            found.entry(&event.election).or_default().entry(event.revision).or_insert((event, streamed.index));
        }
    }
    found
}
