//! What those who are behind read from the store. All reading of history is bounded here: watches
//! and subscriptions share its turns.

use super::source::{StateAt, StateSource};
use super::topic::batches;
use super::{Batch, Ended, Span};
use conclave_node::read_slots::{ReadSlot, ReadSlots};
use conclave_state::read::Portion;
use conclave_state::{Event, Fault};
use std::sync::Arc;

/// Reads that may run beside the event loop at once, for the whole node.
const READERS: usize = 2;

/// Over so many revisions it is not even tried to read history on the event loop itself.
const INLINE_REVISIONS: i64 = 64;

/// What may be read there: others wait for it. More is read beside it, a [`PAGE`] at a time.
pub(crate) const INLINE: Portion = Portion { events: 256, bytes: 256 << 10, strict: true };

pub(crate) const PAGE: Portion = Portion { events: 1024, bytes: 512 << 10, strict: false };

pub struct History {
    source: Arc<dyn StateSource>,
    readers: ReadSlots,
}

/// What was found, and the revision that comes next.
pub(super) struct Page {
    pub(super) batches: Vec<Batch>,
    pub(super) next: i64,
}

impl History {
    #[must_use]
    pub fn new(source: Arc<dyn StateSource>) -> Arc<History> {
        Arc::new(History { source, readers: ReadSlots::new(READERS) })
    }

    pub(crate) fn source(&self) -> &dyn StateSource {
        &*self.source
    }

    /// Waits for a turn to read beside the event loop.
    pub(crate) fn turn(&self) -> impl Future<Output = ReadSlot> + Send + 'static {
        self.readers.slot()
    }

    /// The first page of the revisions `from..=to`: a small one is read on the event loop itself.
    pub(super) async fn page(&self, span: &Span, from: i64, to: i64) -> Result<Page, Ended> {
        if is_short(from, to)
            && let Some(page) = page(self.source(), span, from, to, INLINE)?
        {
            return Ok(page);
        }
        let (source, span) = (self.source.clone(), span.clone());
        let page = self.readers.read(move || page(&*source, &span, from, to, PAGE));
        let lost = || Ended::Fault("a read of history was lost".into());
        page.await.map_err(|_| lost())??.ok_or_else(lost)
    }
}

/// Whether these revisions may be few enough to be read on the event loop itself.
pub(crate) fn is_short(from: i64, to: i64) -> bool {
    to - from < INLINE_REVISIONS
}

/// The events of the revisions `from..=to`, as many as `portion` says, and the revision that comes
/// next. `None` if a strict portion is too small for the first revision.
pub(crate) fn events(
    state: &dyn StateAt,
    from: i64,
    to: i64,
    portion: Portion,
) -> Result<Option<(Vec<Event>, i64)>, Fault> {
    let (events, next) = state.events(from, to, portion)?;
    if portion.strict && next <= from {
        return Ok(None);
    }
    // A store that does not move on would be read for ever.
    Ok(Some((events, next.clamp(from + 1, to + 1))))
}

fn page(source: &dyn StateSource, span: &Span, from: i64, to: i64, portion: Portion) -> Result<Option<Page>, Ended> {
    let fault = |fault: Fault| Ended::Fault(fault.to_string());
    let state = source.open().map_err(fault)?;
    let compacted = state.bounds().compacted;
    if from < compacted {
        return Err(Ended::Compacted(compacted));
    }
    let Some((events, next)) = events(&*state, from, to, portion).map_err(fault)? else { return Ok(None) };
    let batches = batches(events.iter().filter(|event| span.contains(&event.kv.key)));
    Ok(Some(Page { batches, next }))
}
