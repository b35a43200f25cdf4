//! A machine on memory that remembers what was deleted, and counts what is read.
//!
//! A deleted row is not gone: a database passes over it in every scan until it is compacted away.
//! So a view here counts what a scan shows and what it passes over.

use bytes::Bytes;
use conclave_state::view::Fault;
use conclave_state::*;
use std::cell::Cell;
use std::collections::BTreeSet;

/// Memory with the graves of what was deleted from it.
#[derive(Default)]
pub(crate) struct Graveyard {
    pub(crate) rows: MemoryView,
    pub(crate) graves: BTreeSet<(usize, Vec<u8>)>,
    pub(crate) gets: Cell<usize>,
    pub(crate) scanned: Cell<usize>,
}

impl Graveyard {
    pub(crate) fn write(&mut self, changes: &Changes) {
        for (table, key, value) in changes.writes.iter() {
            let row = (table as usize, key.to_vec());
            if value.is_some() {
                self.graves.remove(&row);
            } else {
                self.graves.insert(row);
            }
        }
        self.rows.write(&changes.writes);
    }

    fn passes(&self, table: Table, from: &[u8], to: &[u8]) {
        let range = (table as usize, from.to_vec())..(table as usize, to.to_vec().max(from.to_vec()));
        self.scanned.set(self.scanned.get() + self.graves.range(range).count());
    }
}

impl View for Graveyard {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.gets.set(self.gets.get() + 1);
        self.rows.get(table, key)
    }

    fn version<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        // Rows of one key are deleted by sweeps alone, which these tests do not have.
        self.scanned.set(self.scanned.get() + 1);
        self.rows.version(prefix, from, read)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        below: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<view::Step, Fault>,
    ) -> Result<(), Fault> {
        let (mut at, mut over) = (from.to_vec(), false);
        self.rows.scan(table, from, below, &mut |key, value| {
            self.passes(table, &at, key);
            self.scanned.set(self.scanned.get() + 1);
            let step = visit(key, value)?;
            over = step == view::Step::Stop;
            at = match &step {
                view::Step::Seek(to) if to.as_slice() > key => to.clone(),
                _ => key.to_vec(),
            };
            Ok(step)
        })?;
        if !over {
            self.passes(table, &at, below);
        }
        Ok(())
    }
}

pub(crate) struct Node {
    pub(crate) view: Graveyard,
    pub(crate) machine: Machine,
}

impl Node {
    pub(crate) fn new(sessions: i64) -> Node {
        let view = Graveyard::default();
        let machine = Machine::load(&view).expect("memory can be read");
        let mut node = Node { view, machine };
        for id in 1..=sessions {
            node.apply(Command::LeaseGrant(LeaseGrant { id, ttl_ms: 60_000 }));
        }
        node
    }

    pub(crate) fn apply(&mut self, command: Command) -> Response {
        let mut batch = self.machine.begin(&self.view);
        let at = Position { index: 1, term: 1 };
        let outcome = batch.apply(at, &command, true).expect("memory can be read");
        let changes = batch.finish();
        self.view.write(&changes);
        outcome.result.expect("nothing in these tests is refused")
    }

    /// Many at once, which is faster.
    pub(crate) fn apply_all(&mut self, commands: impl Iterator<Item = Command>) {
        let mut batch = self.machine.begin(&self.view);
        for command in commands {
            let outcome = batch.apply(Position { index: 1, term: 1 }, &command, false).expect("memory can be read");
            outcome.result.expect("nothing in these tests is refused");
        }
        let changes = batch.finish();
        self.view.write(&changes);
    }

    pub(crate) fn coord(&mut self, session: i64, body: CoordBody) -> Response {
        self.apply(coord(session, body))
    }

    /// Point reads and rows scanned by what is done.
    pub(crate) fn cost(&mut self, work: impl FnOnce(&mut Node)) -> (usize, usize) {
        let before = (self.view.gets.get(), self.view.scanned.get());
        work(self);
        (self.view.gets.get() - before.0, self.view.scanned.get() - before.1)
    }
}

pub(crate) fn coord(session: i64, body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session, dedupe: None, expect: None, body }))
}

/// Rows written, point reads and rows scanned by a command.
pub(crate) fn written(node: &mut Node, command: &Command) -> (usize, usize, usize) {
    let before = (node.view.gets.get(), node.view.scanned.get());
    let mut batch = node.machine.begin(&node.view);
    let outcome = batch.apply(Position { index: 1, term: 1 }, command, true).expect("memory can be read");
    let changes = batch.finish();
    let cost = (changes.writes.len(), node.view.gets.get() - before.0, node.view.scanned.get() - before.1);
    node.view.write(&changes);
    outcome.result.expect("nothing in these tests is refused");
    cost
}

pub(crate) const LINE: i64 = 1_000;

pub(crate) fn name() -> Name {
    Name { namespace: "n".into(), name: "x".into() }
}

pub(crate) fn enter(node: &mut Node, who: i64, priority: i64) {
    let candidate = format!("c{who:05}");
    node.coord(who, CoordBody::Enter(Enter { election: name(), candidate, priority, ..Enter::default() }));
}

pub(crate) fn leave(node: &mut Node, who: i64) {
    let candidate = format!("c{who:05}");
    node.coord(who, CoordBody::Leave(Leave { election: name(), candidate, ..Leave::default() }));
}
