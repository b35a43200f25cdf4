//! What is found in the state, before it is known when things were and what is left of them.

use super::ends::Ends;
use conclave_console::coordination::{Row, Waiting};
use conclave_console::name::{History, Page};
use conclave_console::{Kind, Name};

/// A row of a list, and what ends its holder's tenure.
pub(super) struct Listed {
    pub(super) row: Row,
    pub(super) ends: Ends,
}

/// A page about one name, and what ends the tenure of each holder.
pub(super) struct Found {
    pub(super) page: Page,
    pub(super) ends: Vec<Ends>,
}

/// A page about a name with nobody in it.
pub(super) fn empty(kind: Kind, name: Name, waiting: Waiting) -> Page {
    Page {
        kind,
        name,
        holders: Vec::new(),
        more_holders: false,
        waiting,
        facts: Vec::new(),
        notes: Vec::new(),
        queue: Vec::new(),
        goes_on: false,
        next: None,
        history: History::default(),
    }
}
