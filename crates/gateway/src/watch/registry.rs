//! Every watcher of the node and the phase it is in. All of it stands under the hub's lock.
//!
//! # Invariants
//!
//! 1. A *live* watcher was given every event up to `revision`, and sits in the group of its
//!    interest.
//! 2. A *waiting* watcher's `next` is more than one past `revision`; it stands in `waiting` under
//!    that.
//! 3. A watcher *behind* was given every event below its `next`, and stands in its stream's
//!    `behind`.

use super::encode::{Chunk, Encoder};
use super::groups::{Groups, Interest, Seat};
use super::outbox::{Frame, NoRoom, Note, Outbox};
use crate::follow::{EmptyRange, Span, StateSource};
use crate::status::text;
use conclave_state::Changes;
use conclave_state::read::Bounds;
use conclave_state::view::Fault;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

/// The watch id of what is not about one watcher.
pub(crate) const NO_WATCHER: i64 = -1;

/// Previous values that a batch may read while it is handed out; apply waits for them. Groups that
/// want more fall behind.
const MOST_READS: usize = 1024;

// Go clients match these texts.
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = text::COMPACTED.message;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Create {
    pub(crate) span: Result<Span, EmptyRange>,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) previous: bool,
    /// First revision wanted; 0 is the next one.
    pub(crate) start: i64,
    /// 0 leaves the choice to the stream.
    pub(crate) id: i64,
    pub(crate) fragment: bool,
    pub(crate) progress: bool,
}

#[derive(Debug)]
enum Phase {
    Live(Seat),
    Waiting { next: i64 },
    Behind { next: i64 },
}

struct Watcher {
    stream: usize,
    outbox: Arc<Outbox>,
    id: i64,
    interest: Arc<Interest>,
    start: i64,
    fragment: bool,
    progress: bool,
    /// No event since the last tick of the progress timer.
    quiet: bool,
    phase: Phase,
}

impl Watcher {
    /// Queues a chunk whole, or not at all.
    fn offer(&self, chunk: &Chunk, revision: i64) -> Result<Option<Waker>, NoRoom> {
        if !self.fragment || chunk.cuts.is_empty() {
            return self.outbox.offer([self.frame(revision, Note::Events, chunk.data.clone())]);
        }
        let last = chunk.cuts.len();
        self.outbox.offer(
            chunk
                .fragments()
                .enumerate()
                .map(|(at, data)| self.frame(revision, if at == last { Note::Events } else { Note::Fragment }, data)),
        )
    }

    fn frame(&self, revision: i64, note: Note, data: bytes::Bytes) -> Frame {
        Frame { watch_id: self.id, revision, note, data }
    }
}

struct StreamEntry {
    outbox: Arc<Outbox>,
    watchers: BTreeMap<i64, usize>,
    behind: BTreeSet<i64>,
    /// Watchers whose start was yet to come when they were created, by that.
    starts: BTreeSet<(i64, usize)>,
    next_id: i64,
}

/// A watcher behind, as catch-up sees it.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) slot: usize,
    pub(crate) interest: Arc<Interest>,
    pub(crate) next: i64,
}

/// What a page holds for one watcher.
#[derive(Debug)]
pub(crate) enum Served {
    /// Its history is gone.
    Lost,
    /// With these it was given everything below `next`.
    Given { chunks: Arc<Vec<Chunk>>, next: i64 },
}

/// One page of history for the watchers of a stream that are behind.
#[derive(Debug)]
pub(crate) struct Page {
    /// For each of those that it was read for, in their order.
    pub(crate) served: Vec<Served>,
    pub(crate) compacted: i64,
    /// The header's revision: what was current when the page was asked for.
    pub(crate) header: i64,
}

pub(crate) struct Registry {
    /// About how large a response may be.
    response_bytes: usize,
    pub(crate) revision: i64,
    compacted: i64,
    watchers: Slab<Watcher>,
    streams: Slab<StreamEntry>,
    groups: Groups,
    waiting: BTreeSet<(i64, usize)>,
    /// Events handed to watchers so far.
    pub(crate) delivered: u64,
}

impl Registry {
    pub(crate) fn new(bounds: Bounds, response_bytes: usize) -> Self {
        Registry {
            response_bytes,
            revision: bounds.current,
            compacted: bounds.compacted,
            watchers: Slab::new(),
            streams: Slab::new(),
            groups: Groups::default(),
            waiting: BTreeSet::new(),
            delivered: 0,
        }
    }

    pub(crate) fn open(&mut self, outbox: Arc<Outbox>) -> usize {
        self.streams.insert(StreamEntry {
            outbox,
            watchers: BTreeMap::new(),
            behind: BTreeSet::new(),
            starts: BTreeSet::new(),
            next_id: 0,
        })
    }

    pub(crate) fn close(&mut self, stream: usize) {
        for slot in self.streams[stream].watchers.values().copied().collect::<Vec<_>>() {
            self.remove(slot);
        }
        self.streams.remove(stream);
    }

    /// How many a stream has.
    pub(crate) fn watchers(&self, stream: usize) -> usize {
        self.streams[stream].watchers.len()
    }

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.streams.len(), self.watchers.len(), self.streams.iter().map(|(_, stream)| stream.behind.len()).sum())
    }

    /// `current` is the state's revision, which may be newer than what was observed: a watcher
    /// without a start gets nothing that its client may have read already.
    pub(crate) fn create(&mut self, stream: usize, create: Create, current: i64) {
        let revision = self.revision.max(current);
        let entry = &mut self.streams[stream];
        let outbox = entry.outbox.clone();
        let refuse = |reason| outbox.push(Frame::note(NO_WATCHER, revision, Note::Refused(reason)));
        if create.start < 0 {
            return refuse(COMPACTED);
        }
        let Ok(span) = create.span else { return refuse(EMPTY_RANGE) };
        if create.id != 0 && entry.watchers.contains_key(&create.id) {
            return refuse(DUPLICATE_ID);
        }
        let id = if create.id != 0 { create.id } else { entry.choose_id() };
        outbox.push(Frame::note(id, revision, Note::Created));
        if create.start != 0 && create.start < self.compacted {
            return outbox.push(Frame::note(id, revision, Note::Compacted(self.compacted)));
        }
        let start = if create.start == 0 { revision + 1 } else { create.start };
        let Create { no_put, no_delete, previous, .. } = create;
        let interest = Arc::new(Interest { span, no_put, no_delete, previous });
        let slot = self.watchers.insert(Watcher {
            stream,
            outbox,
            id,
            interest,
            // One that asked for "now" may be told of progress at once.
            start: if create.start == 0 { revision } else { start },
            fragment: create.fragment,
            progress: create.progress,
            quiet: true,
            phase: Phase::Waiting { next: start },
        });
        let entry = &mut self.streams[stream];
        entry.watchers.insert(id, slot);
        let first = self.watchers[slot].start;
        if first > self.revision {
            entry.starts.insert((first, slot));
        }
        self.place(slot, start);
    }

    /// Refuses to create a watcher.
    pub(crate) fn refuse(&mut self, stream: usize, reason: &'static str) {
        self.streams[stream].outbox.push(Frame::note(NO_WATCHER, self.revision, Note::Refused(reason)));
    }

    /// Ends the watchers of a stream that may not read any more, each for its reason.
    pub(crate) fn revoke(&mut self, stream: usize, denied: impl Fn(&Span) -> Option<&'static str>) {
        let watchers = self.streams[stream].watchers.values();
        let gone = watchers.filter_map(|&slot| Some((slot, denied(&self.watchers[slot].interest.span)?)));
        for (slot, reason) in gone.collect::<Vec<_>>() {
            self.end(slot, Note::Revoked(reason));
        }
    }

    pub(crate) fn cancel(&mut self, stream: usize, id: i64) {
        let Some(&slot) = self.streams[stream].watchers.get(&id) else { return };
        self.end(slot, Note::Canceled);
    }

    /// Tells every live watcher that wants to know, and had nothing else to hear, how far it is.
    pub(crate) fn progress_tick(&mut self, stream: usize) {
        let progress = self.progress();
        for &slot in self.streams[stream].watchers.values() {
            let watcher = &mut self.watchers[slot];
            let quiet = std::mem::replace(&mut watcher.quiet, true);
            let reached = matches!(watcher.phase, Phase::Live(_)) && watcher.start <= self.revision;
            if watcher.progress && quiet && reached {
                // One whose connection is stuck hears of it another time.
                watcher.outbox.try_push(Frame::note(watcher.id, progress, Note::Events));
            }
        }
    }

    /// Says how far the stream is, if that is one figure for all of it: every watcher is live, and
    /// its start has come.
    pub(crate) fn progress_of_stream(&mut self, stream: usize) {
        let entry = &self.streams[stream];
        let started = entry.starts.last().is_none_or(|&(start, _)| start <= self.revision);
        if !entry.watchers.is_empty() && entry.behind.is_empty() && started {
            // An answer to a request, of which only as many are taken as the queue has room for.
            entry.outbox.push(Frame::note(NO_WATCHER, self.progress(), Note::Events));
        }
    }

    /// How far every live watcher is.
    fn progress(&self) -> i64 {
        self.revision
    }

    /// Hands a batch to the live watchers. The wakers are for when the lock is released.
    pub(crate) fn observe(&mut self, changes: &Changes, source: &dyn StateSource) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if let Some(compacted) = changes.compacted {
            self.compacted = self.compacted.max(compacted);
        }
        // Otherwise it is without events, or the watchers were reset to a newer state.
        if changes.revision > self.revision {
            self.deliver(changes, source, &mut wakers);
            self.revision = changes.revision;
            self.release();
        }
        wakers
    }

    fn deliver(&mut self, changes: &Changes, source: &dyn StateSource, wakers: &mut Vec<Waker>) {
        let matching = self.groups.matching(&changes.events);
        if matching.is_empty() {
            return;
        }
        let open = || source.open();
        let mut encoder = Encoder::new(&changes.events, &open);
        let mut late = Vec::new();
        for (group, wanted) in matching {
            let (interest, members) = self.groups.get(group);
            let previous = interest.previous;
            let chunks = if previous && encoder.reads + wanted.len() > MOST_READS {
                None
            } else {
                let chunks = encoder.chunks(&wanted, previous, self.response_bytes, usize::MAX);
                // Their streams meet the fault again in catch-up, and end by it.
                let failed = |fault: &Fault| tracing::error!(%fault, "reading previous values for watchers failed");
                chunks.inspect_err(failed).ok()
            };
            let Some((chunks, _)) = chunks else {
                late.extend(members.iter().map(|&slot| (slot, changes.events[wanted[0]].kv.mod_revision)));
                continue;
            };
            for &slot in members {
                let watcher = &mut self.watchers[slot];
                watcher.quiet = false;
                for chunk in &chunks {
                    match watcher.offer(chunk, chunk.last) {
                        Ok(waker) => {
                            self.delivered += chunk.events as u64;
                            wakers.extend(waker);
                        }
                        Err(NoRoom) => {
                            late.push((slot, chunk.first));
                            break;
                        }
                    }
                }
            }
        }
        for (slot, next) in late {
            self.unseat(slot);
            self.fall_behind(slot, next);
        }
    }

    /// The state was replaced by a newer one, and the events between were not seen here.
    pub(crate) fn reset(&mut self, bounds: Bounds) {
        let next = self.revision + 1;
        self.revision = bounds.current;
        self.compacted = bounds.compacted;
        for slot in self.watchers.iter().map(|(slot, _)| slot).collect::<Vec<_>>() {
            if self.unseat(slot) {
                self.place(slot, next);
            }
        }
        self.release();
    }

    /// Which watchers of the stream still need history, and up to where; none if all are live or
    /// waiting now.
    pub(crate) fn late(&mut self, stream: usize) -> Option<(i64, Vec<Late>)> {
        let entry = &self.streams[stream];
        let slots: Vec<usize> = entry.behind.iter().map(|id| entry.watchers[id]).collect();
        let mut late = Vec::new();
        for slot in slots {
            let watcher = &self.watchers[slot];
            let Phase::Behind { next } = watcher.phase else { continue };
            if next > self.revision {
                self.advance(slot, next);
            } else {
                late.push(Late { slot, interest: watcher.interest.clone(), next });
            }
        }
        (!late.is_empty()).then_some((self.revision, late))
    }

    /// Takes a page that was read for `late`. Only the stream's own task calls this, so its
    /// watchers are still there.
    pub(crate) fn accept(&mut self, late: &[Late], page: &Page) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for (&Late { slot, .. }, served) in late.iter().zip(&page.served) {
            match served {
                Served::Lost => self.end(slot, Note::Compacted(page.compacted)),
                Served::Given { chunks, next } => {
                    let refused = self.hand(slot, chunks, page.header, &mut wakers);
                    self.advance(slot, refused.unwrap_or(*next));
                }
            }
        }
        wakers
    }

    /// Queues chunks of history until there is no room. Answers with the first revision that was
    /// refused.
    fn hand(&mut self, slot: usize, chunks: &[Chunk], header: i64, wakers: &mut Vec<Waker>) -> Option<i64> {
        let watcher = &mut self.watchers[slot];
        for chunk in chunks {
            watcher.quiet = false;
            match watcher.offer(chunk, header) {
                Ok(waker) => {
                    self.delivered += chunk.events as u64;
                    wakers.extend(waker);
                }
                Err(NoRoom) => return Some(chunk.first),
            }
        }
        None
    }

    /// A watcher behind was given everything below `next`.
    fn advance(&mut self, slot: usize, next: i64) {
        let watcher = &self.watchers[slot];
        if next > self.revision {
            self.streams[watcher.stream].behind.remove(&watcher.id);
            self.place(slot, next);
        } else {
            self.watchers[slot].phase = Phase::Behind { next };
        }
    }

    /// Puts a watcher that stands nowhere where one belongs that wants events from `next` on.
    fn place(&mut self, slot: usize, next: i64) {
        if next <= self.revision {
            self.fall_behind(slot, next);
        } else if next > self.revision + 1 {
            self.waiting.insert((next, slot));
            self.watchers[slot].phase = Phase::Waiting { next };
        } else {
            let seat = self.groups.join(&self.watchers[slot].interest, slot);
            self.watchers[slot].phase = Phase::Live(seat);
        }
    }

    fn fall_behind(&mut self, slot: usize, next: i64) {
        let watcher = &mut self.watchers[slot];
        watcher.phase = Phase::Behind { next };
        self.streams[watcher.stream].behind.insert(watcher.id);
        watcher.outbox.call_task();
    }

    /// Takes a live watcher out of its group; false if it is not live.
    fn unseat(&mut self, slot: usize) -> bool {
        let Phase::Live(seat) = self.watchers[slot].phase else { return false };
        if let Some(moved) = self.groups.leave(seat) {
            self.watchers[moved].phase = Phase::Live(seat);
        }
        true
    }

    /// Places the waiting watchers whose revision has come.
    fn release(&mut self) {
        while let Some(&(start, slot)) = self.waiting.first()
            && start <= self.revision + 1
        {
            self.waiting.pop_first();
            self.place(slot, start);
        }
    }

    fn end(&mut self, slot: usize, note: Note) {
        let watcher = &self.watchers[slot];
        watcher.outbox.push(Frame::note(watcher.id, self.revision, note));
        self.remove(slot);
    }

    fn remove(&mut self, slot: usize) {
        self.unseat(slot);
        let watcher = self.watchers.remove(slot);
        if let Phase::Waiting { next } = watcher.phase {
            self.waiting.remove(&(next, slot));
        }
        let entry = &mut self.streams[watcher.stream];
        entry.watchers.remove(&watcher.id);
        entry.behind.remove(&watcher.id);
        entry.starts.remove(&(watcher.start, slot));
    }
}

impl StreamEntry {
    fn choose_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }
}
