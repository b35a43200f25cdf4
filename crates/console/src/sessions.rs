//! Sessions, which are leases: how long each lasts, and what depends on it.

use crate::layout::{Frame, Section, page};
use crate::link::{self, Link};
use crate::parts::{facts, lease, left, linked, millis, number, paging, table, text};
use crate::time::Left;
use maud::{Markup, html};

/// More keys of a lease than these are not counted in the list.
pub const MOST_COUNTED: usize = 100;

#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub ttl_ms: u64,
    pub left: Left,
    /// Counted up to [`MOST_COUNTED`].
    pub keys: usize,
}

#[must_use]
pub fn sessions(frame: &Frame, total: u64, rows: &[Row], goes_on: bool, next: Option<i64>) -> String {
    let row = |row: &Row| {
        vec![
            lease(row.id),
            millis(row.ttl_ms),
            left(row.left),
            html! { @if row.keys >= MOST_COUNTED { "at least " } (number(row.keys)) },
        ]
    };
    let content = html! {
        h1 { "Sessions and leases" }
        p class="hint" { "A session is a lease: what depends on it ends with it. Leases in all: " (number(total)) }
        (table(
            "Leases by id",
            &["Lease", "Granted for", "Time left", "Keys"],
            &rows.iter().map(row).collect::<Vec<_>>(),
            "There are none.",
        ))
        (paging(
            goes_on.then(|| Link::to("sessions")),
            next.map(|next| Link::to("sessions").with("after", format!("{next:x}"))),
        ))
    };
    page(frame, Some(Section::Sessions), "Sessions", &content)
}

/// One lease with the keys that end with it.
#[derive(Clone, Debug)]
pub struct Lease {
    pub id: i64,
    pub ttl_ms: u64,
    pub left: Left,
    pub keys: Vec<Vec<u8>>,
    pub goes_on: bool,
    /// The last key of this page, if there are others.
    pub next: Option<Vec<u8>>,
}

#[must_use]
pub fn session(frame: &Frame, of: &Lease) -> String {
    let here = || link::lease(of.id);
    let key = |key: &Vec<u8>| vec![linked(link::key(key), &text(key))];
    let content: Markup = html! {
        p class="crumbs" { a href="sessions" { "Sessions" } }
        h1 { "Lease " code { (format!("{:x}", of.id)) } }
        (facts(&[
            ("Granted for", millis(of.ttl_ms)),
            ("Time left", left(of.left)),
            ("Id in decimal", html! { (of.id) }),
        ]))
        (table("Keys that end with it", &["Key"], &of.keys.iter().map(key).collect::<Vec<_>>(), "There are none."))
        (paging(of.goes_on.then(here), of.next.as_ref().map(|next| here().with("after", next))))
    };
    page(frame, Some(Section::Sessions), &format!("Lease {:x}", of.id), &content)
}
