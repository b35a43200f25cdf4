//! Where the waiters see the queues: the node's applied state, or a map in tests.

use bytes::Bytes;
use conclave_state::view::{Fault, View};
use conclave_state::{KeyValue, queue, read};
use conclave_storage::StateHandle;

pub trait Source: Send + Sync + 'static {
    /// The state at one point in time, not older than what was observed last.
    fn look(&self) -> Result<Box<dyn Look>, Fault>;
}

pub trait Look {
    fn revision(&self) -> i64;

    /// The first place of a queue among those created at `from` or later: its create revision and its key.
    fn first(&self, name: &[u8], from: i64) -> Result<Option<(i64, Bytes)>, Fault>;

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

    fn first(&self, name: &[u8], from: i64) -> Result<Option<(i64, Bytes)>, Fault> {
        queue::first(&self.view, name, from)
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

/// One look at a source for all who need one, taken when the first does.
pub(super) struct OneLook<'a> {
    source: &'a dyn Source,
    look: Option<Box<dyn Look>>,
}

impl<'a> OneLook<'a> {
    pub(super) fn new(source: &'a dyn Source) -> OneLook<'a> {
        OneLook { source, look: None }
    }

    pub(super) fn get(&mut self) -> Result<&dyn Look, Fault> {
        if self.look.is_none() {
            self.look = Some(self.source.look()?);
        }
        Ok(&**self.look.as_ref().expect("it was just taken"))
    }
}
