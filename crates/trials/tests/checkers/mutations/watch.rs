//! Of watches.

use super::changed;
use conclave_trials::history::*;

/// Messages of watches that bring something: index, revisions.
pub(super) fn messages(run: &Run) -> Vec<(usize, &str, &Vec<Change>)> {
    let found = run.events().filter_map(|streamed| match streamed.event {
        Event::Watch(WatchEvent { stream, what: WatchMessage::Changes { changes, .. }, .. }) => {
            Some((streamed.index, stream.as_str(), changes))
        }
        _ => None,
    });
    found.collect()
}

pub(super) fn with_changes(run: &Run, index: usize, change: impl FnOnce(&mut Vec<Change>)) -> Vec<Record> {
    changed(run, index, |entry| {
        if let Entry::Event(Event::Watch(WatchEvent { what: WatchMessage::Changes { changes, .. }, .. })) = entry {
            change(changes);
        }
    })
}

/// A message that brings at least three revisions.
pub(super) fn long_message(run: &Run) -> Option<usize> {
    let long =
        |changes: &[Change]| changes.len() >= 3 && changes.windows(2).all(|pair| pair[0].modified < pair[1].modified);
    messages(run).into_iter().find(|(_, _, changes)| long(changes)).map(|(index, ..)| index)
}

pub(super) fn dropped_event(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| drop(changes.remove(1))))
}

pub(super) fn left_out_previous(run: &Run) -> Option<Vec<Record>> {
    let (index, at) = messages(run).into_iter().find_map(|(index, _, changes)| {
        changes.iter().position(|change| change.prev.is_some()).map(|at| (index, at))
    })?;
    Some(with_changes(run, index, |changes| changes[at].prev = None))
}

pub(super) fn duplicated_event(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| changes.insert(1, changes[0].clone())))
}

pub(super) fn swapped_events(run: &Run) -> Option<Vec<Record>> {
    Some(with_changes(run, long_message(run)?, |changes| changes.swap(0, 1)))
}

pub(super) fn split_event(run: &Run) -> Option<Vec<Record>> {
    for (index, _, changes) in messages(run) {
        let Some(at) = changes.windows(2).position(|pair| pair[0].modified == pair[1].modified) else { continue };
        let mut records = with_changes(run, index, |changes| changes.truncate(at + 1));
        let mut rest = run.records[index].clone();
        if let Entry::Event(Event::Watch(WatchEvent { what: WatchMessage::Changes { changes, .. }, .. })) =
            &mut rest.entry
        {
            changes.drain(..=at);
        }
        records.insert(index + 1, rest);
        return Some(records);
    }
    None
}

pub(super) fn late_resumption(run: &Run) -> Option<Vec<Record>> {
    for (index, stream, changes) in messages(run) {
        // The first message after a resumption that brings more than one revision.
        let opened = run.ops.iter().rfind(|op| {
            op.index < index && matches!(&op.call, Call::Watch(call) if call.stream == stream && call.resumes)
        });
        let Some(opened) = opened else { continue };
        let between =
            messages(run).iter().any(|(other, of, _)| *of == stream && *other > opened.index && *other < index);
        if !between && changes.first()?.modified < changes.last()?.modified {
            let first = changes[0].modified;
            return Some(with_changes(run, index, |changes| changes.retain(|change| change.modified > first)));
        }
    }
    None
}

pub(super) fn early_progress(run: &Run) -> Option<Vec<Record>> {
    let all = messages(run);
    let (index, stream, changes) = all.iter().find(|(_, _, changes)| !changes.is_empty())?;
    let mut records = run.records.clone();
    let mut progress = run.records[*index].clone();
    let revision = changes.last()?.modified;
    let stream = (*stream).to_owned();
    progress.entry = Entry::Event(Event::Watch(WatchEvent { stream, revision, what: WatchMessage::Progress }));
    records.insert(*index, progress);
    Some(records)
}
