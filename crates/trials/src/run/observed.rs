//! What the harness sees by itself, as facts of the history.

use crate::history::{Entry, Fact, Journal, Process};

fn myself() -> Process {
    Process::Harness("observer".into())
}

pub(super) fn write(journal: &Journal, node: usize, fact: Fact) {
    // A history that cannot be written is found out by who reads it.
    let _ = journal.write(&myself(), Some(node as u32 + 1), Entry::Fact(fact));
}
