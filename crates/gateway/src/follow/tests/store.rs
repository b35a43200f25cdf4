//! The state machine in memory, as those who follow it see it.

use super::super::source::{StateAt, StateSource, ViewAt};
use bytes::Bytes;
use conclave_state::read::{self, Bounds};
use conclave_state::{Changes, Command, Fault, Machine, MemoryView, Outcome, Position, Step, Table, View, sweep};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

pub(crate) struct Store {
    pub(crate) machine: Machine,
    pub(crate) view: Rows,
    /// Read without the store's lock, like the atomics of the node's state.
    bounds: Arc<Mutex<Bounds>>,
    index: u64,
}

impl Store {
    pub(crate) fn new() -> Store {
        let view = Rows::default();
        let bounds = Arc::new(Mutex::new(read::meta(&view).unwrap().bounds()));
        Store { machine: Machine::load(&view).unwrap(), view, bounds, index: 0 }
    }

    /// Applies one batch.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> (Vec<Outcome>, Changes) {
        let mut batch = self.machine.begin(&self.view);
        let mut outcomes = Vec::new();
        for command in commands {
            self.index += 1;
            outcomes.push(batch.apply(Position { index: self.index, term: 1 }, command, true).unwrap());
        }
        let changes = batch.finish();
        Arc::make_mut(&mut self.view.rows).write(&changes.writes);
        *self.bounds.lock() = read::meta(&self.view).unwrap().bounds();
        (outcomes, changes)
    }

    /// Removes what a compaction left.
    pub(crate) fn sweep(&mut self, revision: i64) {
        let (rows, next) = sweep::sweep(&self.view, 0, revision, usize::MAX).unwrap();
        assert_eq!(next, None);
        Arc::make_mut(&mut self.view.rows).remove(&rows);
    }
}

/// The state of a store. What is read of it on the event loop is counted.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) inline: Inline,
    bounds: Arc<Mutex<Bounds>>,
}

impl Source {
    pub(crate) fn new() -> Source {
        Source::of(Arc::new(Mutex::new(Store::new())), Inline::new())
    }

    pub(crate) fn of(store: Arc<Mutex<Store>>, inline: Inline) -> Source {
        let bounds = store.lock().bounds.clone();
        Source { store, inline, bounds }
    }
}

impl StateSource for Source {
    fn bounds(&self) -> Bounds {
        *self.bounds.lock()
    }

    fn open(&self) -> Result<Box<dyn StateAt>, Fault> {
        let rows = self.store.lock().view.rows.clone();
        Ok(Box::new(ViewAt::new(Rows { rows, inline: Some(self.inline.clone()) })?))
    }
}

/// Counts what one thread reads: in a test, the one that everything but blocking tasks runs on.
#[derive(Clone)]
pub(crate) struct Inline {
    thread: ThreadId,
    rows: Arc<AtomicUsize>,
}

impl Inline {
    /// Counts from now on what the calling thread reads.
    fn new() -> Inline {
        Inline { thread: std::thread::current().id(), rows: Arc::default() }
    }

    /// Rows read since it was asked last.
    pub(crate) fn take(&self) -> usize {
        self.rows.swap(0, Ordering::Relaxed)
    }
}

/// Rows that cost nothing to copy.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    rows: Arc<MemoryView>,
    inline: Option<Inline>,
}

impl Rows {
    fn row(&self) {
        if let Some(inline) = self.inline.as_ref().filter(|inline| std::thread::current().id() == inline.thread) {
            inline.rows.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl View for Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.row();
        self.rows.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.row();
        self.rows.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<Step, Fault>,
    ) -> Result<(), Fault> {
        self.rows.scan(table, from, below, &mut |key, value| {
            self.row();
            visit(key, value)
        })
    }
}
