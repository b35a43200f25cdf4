//! Who holds what: elections, locks, claims and etcd's queues, a page at a time.

use crate::kind::{Kind, Name};
use crate::layout::{Frame, Section, page};
use crate::link::{self, Link};
use crate::parts::{badge, dash, left, linked, number, paging, since, table, text};
use crate::shown::editable;
use crate::time::{Left, Since};
use maud::{Markup, html};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Search {
    pub kind: Kind,
    /// Empty: all.
    pub namespace: String,
    /// What the names begin with.
    pub prefix: Vec<u8>,
    /// Whether this is not the first page.
    pub goes_on: bool,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub name: Name,
    pub holder: Option<String>,
    /// Holders of a shared lock or a semaphore beside that one.
    pub others: u32,
    pub fence: Option<i64>,
    pub since: Option<Since>,
    pub left: Left,
    pub waiting: Waiting,
    pub notes: Vec<String>,
}

/// The length of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Exactly(u64),
    /// It was not counted any further.
    MoreThan(u64),
}

impl Waiting {
    pub(crate) fn shown(self) -> Markup {
        match self {
            Waiting::Exactly(count) => number(count),
            Waiting::MoreThan(count) => html! { "over " (number(count)) },
        }
    }
}

#[must_use]
pub fn coordination(frame: &Frame, search: &Search, rows: &[Row], next: Option<&Name>) -> String {
    let kind = search.kind;
    let content = html! {
        h1 { "Coordination" }
        nav class="tabs" aria-label="Kinds" {
            ul {
                @for of in Kind::ALL {
                    li { a href=[Link::to("coordination").with("kind", of.word()).address()]
                        aria-current=[(of == kind).then_some("true")] { (of.plural()) } }
                }
            }
        }
        p class="hint" { (kind.about()) }
        (form(search))
        (list(search, rows))
        (paging(
            search.goes_on.then(|| listed(search)),
            next.map(|next| listed(search).some("after-namespace", &next.namespace).with("after", &next.name)),
        ))
    };
    page(frame, Some(Section::Coordination), kind.plural(), &content)
}

fn listed(search: &Search) -> Link {
    let link = Link::to("coordination").with("kind", search.kind.word());
    link.some("namespace", &search.namespace).some("prefix", &search.prefix)
}

fn form(search: &Search) -> Markup {
    let (namespace, prefix) = (editable(search.namespace.as_bytes()), editable(&search.prefix));
    html! {
        form class="search" role="search" action="coordination" {
            input type="hidden" name="kind" value=(search.kind.word());
            @if search.kind != Kind::Queue {
                label { "Namespace " input type="text" name="namespace" value=(namespace) maxlength="512"; }
            }
            label { "Names beginning with " input type="search" name="prefix" value=(prefix) maxlength="1024"; }
            button type="submit" { "Show" }
        }
    }
}

fn list(search: &Search, rows: &[Row]) -> Markup {
    let kind = search.kind;
    let heads = ["Name", kind.holder(), "Since", "Fence", "Time left", "Waiting"];
    let row = |row: &Row| {
        vec![
            html! {
                (linked(link::name(kind, &row.name), &text(&row.name.name)))
                @if kind != Kind::Queue { br; span class="aside" { "in " (text(&row.name.namespace)) } }
            },
            html! {
                @match &row.holder {
                    Some(holder) => { (text(holder)) @if row.others > 0 { " and " (number(row.others)) " more" } }
                    None => { (badge("none", "warn")) }
                }
                @for note in &row.notes { " " (badge(note, "plain")) }
            },
            row.since.map_or_else(dash, since),
            row.fence.map_or_else(dash, number),
            if row.holder.is_some() { left(row.left) } else { dash() },
            row.waiting.shown(),
        ]
    };
    let none = match search.prefix.is_empty() && search.namespace.is_empty() && !search.goes_on {
        true => "There are none.",
        false => "There are none that fit.",
    };
    table(kind.plural(), &heads, &rows.iter().map(row).collect::<Vec<_>>(), none)
}
