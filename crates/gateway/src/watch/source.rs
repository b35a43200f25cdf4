//! Where history is read from.

use conclave_state::read::{self, Bounds, Portion};
use conclave_state::view::{Fault, View};
use conclave_state::{Event, KeyValue};
use conclave_storage::StateHandle;

/// Over so many revisions it is not even tried to read history on the event loop itself.
pub(crate) const INLINE_REVISIONS: i64 = 64;

/// What may be read there: others wait for it. More is read beside it, a [`PAGE`] at a time.
pub(crate) const INLINE: Portion = Portion { events: 256, bytes: 256 << 10, strict: true };

pub(crate) const PAGE: Portion = Portion { events: 1024, bytes: 512 << 10, strict: false };

/// The applied state, as far as watches need it.
pub trait HistorySource: Send + Sync + 'static {
    fn bounds(&self) -> Bounds;
    /// A point in time; holds at least everything that was applied before the call.
    fn open(&self) -> Result<Box<dyn HistoryView>, Fault>;
}

pub trait HistoryView: Send {
    fn bounds(&self) -> Bounds;
    /// The events of `[from, to]` in order, whole revisions, as many as `portion` says, and the next revision to ask for: `from` if not
    /// even that is within a strict portion.
    fn events(&self, from: i64, to: i64, portion: Portion) -> Result<(Vec<Event>, i64), Fault>;
    /// What `key` held at `revision`; nothing if it did not exist, or if that is compacted.
    fn value_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault>;
}

/// Reads any [`View`] of the state.
pub(crate) struct ViewHistory<V> {
    view: V,
    bounds: Bounds,
}

impl<V: View> ViewHistory<V> {
    pub(crate) fn new(view: V) -> Result<Self, Fault> {
        // From the view itself: the handle's figures may be of another moment.
        let meta = read::meta(&view)?;
        Ok(ViewHistory { view, bounds: Bounds { current: meta.revision, compacted: meta.compacted } })
    }
}

impl<V: View + Send> HistoryView for ViewHistory<V> {
    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn events(&self, from: i64, to: i64, portion: Portion) -> Result<(Vec<Event>, i64), Fault> {
        read::history_portion(&self.view, from, to, portion)
    }

    fn value_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault> {
        if revision < self.bounds.compacted {
            return Ok(None);
        }
        read::version_at(&self.view, key, revision)
    }
}

impl HistorySource for StateHandle {
    fn bounds(&self) -> Bounds {
        StateHandle::bounds(self)
    }

    fn open(&self) -> Result<Box<dyn HistoryView>, Fault> {
        Ok(Box::new(ViewHistory::new(self.view())?))
    }
}
