//! What a subscription that is behind reads from the store.

use super::topic::batches;
use super::{Batch, Ended, Span};
use crate::watch::source::{HistorySource, INLINE, INLINE_REVISIONS, PAGE};
use conclave_node::turns::Turns;
use conclave_state::read::Portion;
use std::sync::Arc;

/// Reads that may run beside the event loop at once, for the whole node.
const READERS: usize = 2;

pub(super) struct History {
    source: Arc<dyn HistorySource>,
    readers: Turns,
}

/// What was found, and the revision that comes next.
pub(super) struct Page {
    pub(super) batches: Vec<Batch>,
    pub(super) next: i64,
}

impl History {
    pub(super) fn new(source: Arc<dyn HistorySource>) -> History {
        History { source, readers: Turns::new(READERS) }
    }

    pub(super) fn current(&self) -> i64 {
        self.source.bounds().current
    }

    /// The first page of the revisions `from..=to`: a small one is read on the event loop itself.
    pub(super) async fn page(&self, span: &Span, from: i64, to: i64) -> Result<Page, Ended> {
        if to - from < INLINE_REVISIONS
            && let Some(page) = read(&*self.source, span, from, to, INLINE)?
        {
            return Ok(page);
        }
        let (source, span) = (self.source.clone(), span.clone());
        let page = self.readers.read(move || read(&*source, &span, from, to, PAGE));
        let lost = || Ended::Fault("a read of history was lost".into());
        page.await.map_err(|_| lost())??.ok_or_else(lost)
    }
}

/// `None` if a strict portion is too small for the first revision.
fn read(source: &dyn HistorySource, span: &Span, from: i64, to: i64, portion: Portion) -> Result<Option<Page>, Ended> {
    let fault = |fault: conclave_state::Fault| Ended::Fault(fault.to_string());
    let view = source.open().map_err(fault)?;
    let compacted = view.bounds().compacted;
    if from < compacted {
        return Err(Ended::Compacted(compacted));
    }
    let (events, next) = view.events(from, to, portion).map_err(fault)?;
    if portion.strict && next <= from {
        return Ok(None);
    }
    // A store that does not move on would be read for ever.
    let next = next.clamp(from + 1, to + 1);
    Ok(Some(Page { batches: batches(events.iter().filter(|event| span.contains(&event.kv.key))), next }))
}
