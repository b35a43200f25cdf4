//! Reading history for the watchers of one stream that are behind: one pass for all of them.
//!
//! A page is read from one view, so it is of one point in time: the view's own compacted revision decides whose history is gone, and
//! everything above that is complete in it.

use super::encode::{Chunk, Encoder};
use super::groups::Groups;
use super::registry::{Deliveries, Late, Page};
use super::source::HistorySource;
use conclave_state::Event;
use conclave_state::view::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Up to here a page is read on the event loop itself.
const INLINE_REVISIONS: i64 = 64;

/// How many events to read at once: many if they are small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(usize);

impl Pace {
    const START: usize = 64;
    const MOST: usize = 1024;
    const FEW_BYTES: usize = 128 << 10;
    const MANY_BYTES: usize = 512 << 10;

    pub(crate) fn new() -> Self {
        Pace(Self::START)
    }

    fn learn(&mut self, bytes: usize) {
        if bytes < Self::FEW_BYTES {
            self.0 = (self.0 * 2).min(Self::MOST);
        } else if bytes > Self::MANY_BYTES {
            self.0 = (self.0 / 4).max(1);
        }
    }
}

/// What to read.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) late: Vec<Late>,
    /// The hub's revision: everything up to here is in the store.
    pub(crate) to: i64,
    pub(crate) pace: Pace,
    pub(crate) response_bytes: usize,
}

impl Replay {
    pub(crate) fn is_short(&self) -> bool {
        let from = self.late.iter().map(|late| late.next).min().unwrap_or(self.to);
        self.to - from < INLINE_REVISIONS
    }

    /// Reads one page. Changes `pace` by what it saw.
    pub(crate) fn read(&mut self, source: &dyn HistorySource) -> Result<Page, Fault> {
        let view = source.open()?;
        let compacted = view.bounds().compacted;
        let lost = self.late.iter().filter(|late| late.next < compacted).map(|late| late.slot).collect();
        let mut page = Page { chunks: Vec::new(), lost, compacted, next: self.to + 1, header: self.to };
        let Some(from) = self.late.iter().map(|late| late.next).filter(|&next| next >= compacted).min() else {
            return Ok(page);
        };
        let (events, next) = view.events(from, self.to, self.pace.0)?;
        // A store that does not move on would be read for ever.
        page.next = next.clamp(from + 1, self.to + 1);
        let read: usize = events.iter().map(|event| event.kv.key.len() + event.kv.value.len()).sum();
        page.chunks = self.match_up(&events, compacted, source)?;
        let made: usize = page.chunks.iter().flat_map(|(_, chunks)| chunks.iter()).map(|chunk| chunk.data.len()).sum();
        self.pace.learn(read.max(made));
        Ok(page)
    }

    fn match_up(&self, events: &[Event], compacted: i64, source: &dyn HistorySource) -> Result<Deliveries, Fault> {
        let mut groups = Groups::default();
        for (at, late) in self.late.iter().enumerate().filter(|(_, late)| late.next >= compacted) {
            groups.join(&late.interest, at);
        }
        let open = || source.open();
        let mut encoder = Encoder::new(events, &open);
        let mut result = Vec::new();
        for (group, wanted) in groups.matching(events) {
            let group = groups.get(group);
            // Members that stand at the same revision get the same bytes.
            let mut by_next: BTreeMap<i64, Arc<Vec<Chunk>>> = BTreeMap::new();
            for &member in &group.members {
                let Late { slot, next, .. } = self.late[member];
                let chunks = match by_next.get(&next) {
                    Some(chunks) => chunks.clone(),
                    None => {
                        let rest = wanted.partition_point(|&at| events[at].kv.mod_revision < next);
                        let previous = group.interest.previous;
                        let chunks = Arc::new(encoder.chunks(&wanted[rest..], previous, self.response_bytes)?);
                        by_next.insert(next, chunks.clone());
                        chunks
                    }
                };
                if !chunks.is_empty() {
                    result.push((slot, chunks));
                }
            }
        }
        Ok(result)
    }
}
