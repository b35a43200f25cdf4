//! What is read of the applied state: the node's, or one in memory in tests.

use bytes::Bytes;
use conclave_state::read::{self, Bounds, Portion};
use conclave_state::view::{Fault, View};
use conclave_state::{Event, KeyValue, queue};
use conclave_storage::StateHandle;

/// The applied state, as far as those who follow it need it.
pub trait StateSource: Send + Sync + 'static {
    fn bounds(&self) -> Bounds;
    /// A point in time; holds at least everything that was applied before the call.
    fn open(&self) -> Result<Box<dyn StateAt>, Fault>;
}

pub trait StateAt: Send {
    fn bounds(&self) -> Bounds;
    /// The events of `[from, to]` in order, whole revisions, as many as `portion` says, and the
    /// next revision to ask for: `from` if not even that is within a strict portion.
    fn events(&self, from: i64, to: i64, portion: Portion) -> Result<(Vec<Event>, i64), Fault>;
    /// What `key` held at `revision`; nothing if it did not exist, or if that is compacted.
    fn value_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault>;
    /// The first place of a queue of the etcd wire among those created at `from` or later: its
    /// create revision and its key.
    fn first_place(&self, name: &[u8], from: i64) -> Result<Option<(i64, Bytes)>, Fault>;
}

/// Any [`View`] of the state.
pub struct ViewAt<V> {
    view: V,
    bounds: Bounds,
}

impl<V: View> ViewAt<V> {
    pub fn new(view: V) -> Result<Self, Fault> {
        // From the view itself: the handle's figures may be of another moment.
        let meta = read::meta(&view)?;
        Ok(ViewAt { view, bounds: Bounds { current: meta.revision, compacted: meta.compacted } })
    }
}

impl<V: View + Send> StateAt for ViewAt<V> {
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

    fn first_place(&self, name: &[u8], from: i64) -> Result<Option<(i64, Bytes)>, Fault> {
        queue::first(&self.view, name, from)
    }
}

impl StateSource for StateHandle {
    fn bounds(&self) -> Bounds {
        StateHandle::bounds(self)
    }

    fn open(&self) -> Result<Box<dyn StateAt>, Fault> {
        Ok(Box::new(ViewAt::new(self.view())?))
    }
}
