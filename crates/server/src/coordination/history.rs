//! What a subscription that is behind reads from the store.

use super::topic::batches;
use super::{Batch, Ended, Span};
use crate::watch::source::HistorySource;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Up to here a page is read on the event loop itself.
const INLINE_REVISIONS: i64 = 64;
/// Events a page, of all keys.
const PAGE: usize = 512;
/// Reads that may run beside the event loop at once, for the whole node.
const READERS: usize = 2;

pub(super) struct History {
    source: Arc<dyn HistorySource>,
    readers: Semaphore,
}

/// What was found, and the revision that comes next.
pub(super) struct Page {
    pub(super) batches: Vec<Batch>,
    pub(super) next: i64,
}

impl History {
    pub(super) fn new(source: Arc<dyn HistorySource>) -> History {
        History { source, readers: Semaphore::new(READERS) }
    }

    pub(super) fn current(&self) -> i64 {
        self.source.bounds().current
    }

    /// The first page of the revisions `from..=to`.
    pub(super) async fn page(&self, span: &Span, from: i64, to: i64) -> Result<Page, Ended> {
        if to - from < INLINE_REVISIONS {
            return read(&*self.source, span, from, to);
        }
        let _permit = self.readers.acquire().await;
        let (source, span) = (self.source.clone(), span.clone());
        let page = tokio::task::spawn_blocking(move || read(&*source, &span, from, to)).await;
        page.map_err(|_| Ended::Fault("a read of history was lost".into()))?
    }
}

fn read(source: &dyn HistorySource, span: &Span, from: i64, to: i64) -> Result<Page, Ended> {
    let fault = |fault: conclave_state::Fault| Ended::Fault(fault.to_string());
    let view = source.open().map_err(fault)?;
    let compacted = view.bounds().compacted;
    if from < compacted {
        return Err(Ended::Compacted(compacted));
    }
    let (events, next) = view.events(from, to, PAGE).map_err(fault)?;
    // A store that does not move on would be read for ever.
    let next = next.clamp(from + 1, to + 1);
    Ok(Page { batches: batches(events.iter().filter(|event| span.contains(&event.kv.key))), next })
}
