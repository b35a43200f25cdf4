//! What is new in one span of keys, for all who follow it.

use super::{Batch, Span};
use conclave_state::Event;
use parking_lot::Mutex;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// Bounds of what a topic keeps for those who are behind; the newest batch is always kept.
pub(crate) const MOST_BATCHES: usize = if cfg!(test) { 4 } else { 1024 };
pub(crate) const MOST_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) span: Span,
    pub(super) news: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recent: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// `recent` is all there is from here on.
    from: i64,
    /// The next revision that each subscription wants.
    cursors: Slab<i64>,
}

/// What a subscription finds.
#[derive(Debug)]
pub(super) enum Found {
    Batch(Arc<Batch>),
    Nothing,
    /// These revisions are in the store only.
    Behind {
        from: i64,
        to: i64,
    },
}

impl Topic {
    pub(super) fn new(span: Span, from: i64) -> Topic {
        let state = State { recent: VecDeque::new(), bytes: 0, from, cursors: Slab::new() };
        Topic { span, news: Notify::new(), state: Mutex::new(state) }
    }

    pub(super) fn join(&self, cursor: i64) -> usize {
        self.state.lock().cursors.insert(cursor)
    }

    /// Whether nobody is left.
    pub(super) fn leave(&self, seat: usize) -> bool {
        let mut state = self.state.lock();
        state.cursors.remove(seat);
        state.cursors.is_empty()
    }

    /// The next batch of a subscription, which is then past it.
    pub(super) fn take(&self, seat: usize) -> Found {
        let mut state = self.state.lock();
        let cursor = state.cursors[seat];
        if cursor < state.from {
            return Found::Behind { from: cursor, to: state.from - 1 };
        }
        let at = state.recent.partition_point(|batch| batch.revision < cursor);
        let Some(batch) = state.recent.get(at).cloned() else { return Found::Nothing };
        state.cursors[seat] = batch.revision + 1;
        Found::Batch(batch)
    }

    /// Moves a subscription forward.
    pub(super) fn forward(&self, seat: usize, next: i64) {
        let cursor = &mut self.state.lock().cursors[seat];
        *cursor = next.max(*cursor);
    }

    /// Adds what one batch of commands did in the span. The waiters are notified apart from it.
    pub(super) fn add<'e>(&self, events: impl Iterator<Item = &'e Event>) {
        let mut state = self.state.lock();
        state.drop_seen();
        for batch in batches(events) {
            state.bytes += weight(&batch);
            state.recent.push_back(Arc::new(batch));
        }
        state.bound();
    }

    /// The state was replaced: it is at `revision` now, and was at `before`.
    pub(super) fn reset(&self, before: i64, revision: i64) {
        let mut state = self.state.lock();
        let State { recent, from, cursors, bytes } = &mut *state;
        let newest = recent.back().map_or(i64::MIN, |batch| batch.revision);
        for (_, cursor) in cursors.iter_mut() {
            // A follower that has seen everything need not read it again.
            if *cursor >= *from && *cursor > newest {
                *cursor = (before + 1).max(*cursor);
            }
        }
        recent.clear();
        (*bytes, *from) = (0, revision + 1);
    }
}

impl State {
    fn drop_seen(&mut self) {
        let least = self.cursors.iter().map(|(_, cursor)| *cursor).min().unwrap_or(i64::MAX);
        while self.recent.front().is_some_and(|batch| batch.revision < least) {
            self.drop_oldest();
        }
    }

    fn bound(&mut self) {
        if self.is_over() {
            self.advance();
        }
        while self.is_over() {
            self.drop_oldest();
        }
    }

    fn is_over(&self) -> bool {
        self.recent.len() > 1 && (self.recent.len() > MOST_BATCHES || self.bytes > MOST_BYTES)
    }

    /// Moves every subscription that reads here to the next batch there is for it. Nothing of its
    /// is before that, so it need not read history for it, which may be long, or gone.
    fn advance(&mut self) {
        let State { recent, from, cursors, .. } = self;
        for (_, cursor) in cursors.iter_mut().filter(|(_, cursor)| **cursor >= *from) {
            let at = recent.partition_point(|batch| batch.revision < *cursor);
            if let Some(batch) = recent.get(at) {
                *cursor = batch.revision;
            }
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(batch) = self.recent.pop_front() {
            self.bytes -= weight(&batch);
            self.from = batch.revision + 1;
        }
    }
}

fn weight(batch: &Batch) -> usize {
    batch.events.iter().map(|event| 128 + event.kv.key.len() + event.kv.value.len()).sum()
}

/// Events in the order of revisions, one batch a revision.
pub(super) fn batches<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for event in events {
        let revision = event.kv.mod_revision;
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event.clone()),
            _ => batches.push(Batch { revision, events: vec![event.clone()] }),
        }
    }
    batches
}
