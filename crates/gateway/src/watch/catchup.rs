//! Reading history for the watchers of one stream that are behind: one pass for all of them.
//!
//! A page is read from one view, so it is of one point in time: the view's own compacted revision
//! decides whose history is gone, and everything above that is complete in it.
//!
//! A page is bounded twice: in what is read ([`Portion`]), and in what is made of it for the
//! watchers, whose events may be many times as much. Nothing is made that the stream's queue has no
//! room for; who gets nothing of a page stays where it is, and is served by the next one, as those
//! who were served are past it then.

use super::encode::{Chunk, Encoder};
use super::groups::Groups;
use super::registry::{Late, Page, Served};
use crate::follow::StateSource;
use crate::follow::history;
use conclave_state::Event;
use conclave_state::read::Portion;
use conclave_state::view::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For more watchers than that nothing is read on the event loop itself.
const INLINE_WATCHERS: usize = 1024;

/// What to read.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) late: Vec<Late>,
    /// The hub's revision: everything up to here is in the store.
    pub(crate) to: i64,
    pub(crate) response_bytes: usize,
    /// How many bytes of events the stream's queue may take.
    pub(crate) room: usize,
}

/// Responses for all who stand at the same revision.
#[derive(Clone)]
struct Made {
    chunks: Arc<Vec<Chunk>>,
    /// The revision that comes after them.
    next: i64,
}

impl Made {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.data.len()).sum()
    }
}

impl Replay {
    /// Whether it may be little enough to read it on the event loop itself.
    pub(crate) fn is_short(&self) -> bool {
        let from = self.late.iter().map(|late| late.next).min().unwrap_or(self.to);
        history::is_short(from, self.to) && self.late.len() <= INLINE_WATCHERS
    }

    /// Reads one page. `None` if a strict portion is too small for the first revision.
    pub(crate) fn read(&self, source: &dyn StateSource, portion: Portion) -> Result<Option<Page>, Fault> {
        let state = source.open()?;
        let compacted = state.bounds().compacted;
        let Some(from) = self.late.iter().map(|late| late.next).filter(|&next| next >= compacted).min() else {
            let served = self.late.iter().map(|_| Served::Lost).collect();
            return Ok(Some(Page { served, compacted, header: self.to }));
        };
        let Some((events, next)) = history::events(&*state, from, self.to, portion)? else { return Ok(None) };
        let served = self.match_up(&events, next, compacted, source)?;
        Ok(Some(Page { served, compacted, header: self.to }))
    }

    /// What each watcher gets of `events`, which are all below `next`.
    fn match_up(
        &self,
        events: &[Event],
        next: i64,
        compacted: i64,
        source: &dyn StateSource,
    ) -> Result<Vec<Served>, Fault> {
        let mut groups = Groups::default();
        let mut served = Vec::with_capacity(self.late.len());
        for (at, late) in self.late.iter().enumerate() {
            if late.next < compacted {
                served.push(Served::Lost);
            } else {
                groups.join(&late.interest, at);
                served.push(Served::Given { chunks: Arc::default(), next: next.max(late.next) });
            }
        }
        let open = || source.open();
        let mut encoder = Encoder::new(events, &open);
        let mut room = self.room;
        for (group, wanted) in groups.matching(events) {
            let (interest, members) = groups.get(group);
            // Members that stand at the same revision get the same bytes.
            let mut by_next: BTreeMap<i64, Made> = BTreeMap::new();
            for &member in members {
                let from = self.late[member].next;
                let made = match by_next.get(&from) {
                    Some(made) => made.clone(),
                    None => {
                        let rest = wanted.partition_point(|&at| events[at].kv.mod_revision < from);
                        let (rest, previous) = (&wanted[rest..], interest.previous);
                        let (chunks, taken) = encoder.chunks(rest, previous, self.response_bytes, room)?;
                        let next = rest.get(taken).map_or(next, |&at| events[at].kv.mod_revision);
                        let made = Made { chunks: Arc::new(chunks), next };
                        by_next.insert(from, made.clone());
                        made
                    }
                };
                room = room.saturating_sub(made.bytes());
                served[member] = Served::Given { next: made.next.max(from), chunks: made.chunks };
            }
        }
        Ok(served)
    }
}
