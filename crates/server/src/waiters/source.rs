//! Where the waiters' queue view comes from: the node's applied state, or a map in tests.

use conclave_state::view::{Fault, View};
use conclave_state::{KeyValue, QueueIndex, read};
use conclave_storage::StateHandle;

pub trait Source: Send + Sync + 'static {
    /// The state at one point in time, not older than what was observed last.
    fn look(&self) -> Result<Box<dyn Look>, Fault>;
}

pub trait Look {
    fn revision(&self) -> i64;

    /// Reads the queue `prefix` into the index if it does not hold it yet.
    fn ensure(&self, index: &mut QueueIndex, prefix: &[u8]) -> Result<(), Fault>;

    /// The key as it was at a revision.
    fn version_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault>;
}

struct ViewLook<V> {
    view: V,
    revision: i64,
}

impl<V: View> Look for ViewLook<V> {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn ensure(&self, index: &mut QueueIndex, prefix: &[u8]) -> Result<(), Fault> {
        index.ensure(&self.view, prefix)
    }

    fn version_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fault> {
        read::version_at(&self.view, key, revision)
    }
}

/// A look through any view of the state.
pub fn look<V: View + 'static>(view: V) -> Result<Box<dyn Look>, Fault> {
    let revision = read::meta(&view)?.revision;
    Ok(Box::new(ViewLook { view, revision }))
}

impl Source for StateHandle {
    fn look(&self) -> Result<Box<dyn Look>, Fault> {
        look(self.view())
    }
}
