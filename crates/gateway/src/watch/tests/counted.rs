//! A view that counts what is read of it on the event loop: in a test, on the thread that everything but blocking tasks runs on.

use bytes::Bytes;
use conclave_state::{Fault, MemoryView, Step, Table, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

#[derive(Clone)]
pub(crate) struct Inline {
    thread: ThreadId,
    rows: Arc<AtomicUsize>,
}

impl Inline {
    /// Counts from now on what the calling thread reads.
    pub(crate) fn new() -> Inline {
        Inline { thread: std::thread::current().id(), rows: Arc::default() }
    }

    /// Rows read since it was asked last.
    pub(crate) fn take(&self) -> usize {
        self.rows.swap(0, Ordering::Relaxed)
    }

    fn row(&self) {
        if std::thread::current().id() == self.thread {
            self.rows.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) struct CountedView {
    pub(crate) view: MemoryView,
    pub(crate) inline: Inline,
}

impl View for CountedView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.inline.row();
        self.view.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.inline.row();
        self.view.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.view.scan(table, from, below, &mut |key, value| {
            self.inline.row();
            visit(key, value)
        })
    }
}
