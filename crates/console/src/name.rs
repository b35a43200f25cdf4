//! One election, lock, claim or queue: who holds it, who waits, and who held it before.

use crate::coordination::Waiting;
use crate::kind::{Kind, Name};
use crate::layout::{Frame, Section, page};
use crate::link::{self, Link};
use crate::parts::{age, badge, dash, facts, lease, left, number, paging, since, some, table, text};
use crate::time::{Left, Since};
use maud::{Markup, html};

#[derive(Clone, Debug)]
pub struct Page {
    pub kind: Kind,
    pub name: Name,
    pub holders: Vec<Holder>,
    /// There are more holders than are shown.
    pub more_holders: bool,
    pub waiting: Waiting,
    /// What else is to be known: a term, a reason, that nobody is installed yet.
    pub facts: Vec<(&'static str, String)>,
    pub notes: Vec<&'static str>,
    pub queue: Vec<Waiter>,
    /// Whether this is not the first page of the queue.
    pub goes_on: bool,
    /// Where the next page begins: parameters of its address.
    pub next: Option<Vec<(&'static str, Vec<u8>)>>,
    pub history: History,
}

#[derive(Clone, Debug)]
pub struct Holder {
    pub who: String,
    pub instance: String,
    /// As which part: the mode of a lock, the permits of a semaphore.
    pub part: String,
    pub fence: i64,
    pub since: Option<Since>,
    pub left: Left,
    pub lease: i64,
    /// What a leader proclaims.
    pub value: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Waiter {
    /// From 1 on.
    pub position: u64,
    pub who: String,
    pub instance: String,
    pub part: String,
    /// Since when it waits.
    pub since: Option<Since>,
    pub lease: i64,
}

/// What happened to the name, the latest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub changes: Vec<Change>,
    /// There was more, which is not shown or was compacted.
    pub is_cut: bool,
}

#[derive(Clone, Debug)]
pub struct Change {
    pub at: Since,
    /// Whether a tenure begins or ends, in a word.
    pub what: &'static str,
    pub who: String,
    pub fence: i64,
    /// Why, in a few words.
    pub cause: String,
    /// Whom else the change was about, or the reason that was given.
    pub about: String,
}

#[must_use]
pub fn name(frame: &Frame, of: &Page) -> String {
    let title = crate::shown(&of.name.name, 80);
    let content = html! {
        p class="crumbs" { a href=[listed(of.kind).address()] { (of.kind.plural()) } }
        h1 { (of.kind.title()) " " bdi { (crate::shown(&of.name.name, 400)) } }
        @if of.kind != Kind::Queue { p class="aside" { "in namespace " (text(&of.name.namespace)) } }
        @for note in &of.notes { p class="alert" { (note) } }
        @if !of.facts.is_empty() {
            (facts(&of.facts.iter().map(|(term, what)| (*term, text(what))).collect::<Vec<_>>()))
        }
        (holders(of))
        (queue(of))
        (history(of))
    };
    page(frame, Some(Section::Coordination), &title, &content)
}

fn listed(kind: Kind) -> Link {
    Link::to("coordination").with("kind", kind.word())
}

fn who(who: &str, instance: &str) -> Markup {
    html! { (some(who)) @if !instance.is_empty() { br; span class="aside" { "instance " (text(instance)) } } }
}

fn holders(of: &Page) -> Markup {
    let has_values = of.holders.iter().any(|holder| holder.value.is_some());
    let has_parts = of.holders.iter().any(|holder| !holder.part.is_empty());
    let mut heads = vec![of.kind.holder(), "Since", "Fence", "Time left", "Session"];
    if has_parts {
        heads.push("As");
    }
    if has_values {
        heads.push("Value");
    }
    let row = |holder: &Holder| {
        let mut row = vec![
            who(&holder.who, &holder.instance),
            holder.since.map_or_else(dash, since),
            number(holder.fence),
            left(holder.left),
            lease(holder.lease),
        ];
        if has_parts {
            row.push(some(&holder.part));
        }
        if has_values {
            row.push(holder.value.as_ref().map_or_else(dash, text));
        }
        row
    };
    let caption = if of.kind == Kind::Election { "Leader" } else { "Holders" };
    html! {
        (table(caption, &heads, &of.holders.iter().map(row).collect::<Vec<_>>(), "Nobody at present."))
        @if of.more_holders { p class="hint" { "There are more holders than these." } }
    }
}

fn queue(of: &Page) -> Markup {
    let has_parts = of.queue.iter().any(|waiter| !waiter.part.is_empty());
    let mut heads = vec!["Position", "Who", "Waiting for", "Session"];
    if has_parts {
        heads.push("As");
    }
    let row = |waiter: &Waiter| {
        let mut row = vec![
            number(waiter.position),
            who(&waiter.who, &waiter.instance),
            waiter.since.map_or_else(dash, |since| {
                html! {
                    (age(since.age)) " " span class="aside" { "rev. " (since.revision) }
                }
            }),
            lease(waiter.lease),
        ];
        if has_parts {
            row.push(some(&waiter.part));
        }
        row
    };
    let here = || link::name(of.kind, &of.name);
    let next = of.next.as_ref().map(|next| next.iter().fold(here(), |link, (name, value)| link.with(name, value)));
    html! {
        (table("Queue", &heads, &of.queue.iter().map(row).collect::<Vec<_>>(), "Nobody waits."))
        @if !of.queue.is_empty() { p class="hint" { "Waiting in all: " (of.waiting.shown()) } }
        (paging(of.goes_on.then(here), next))
    }
}

fn history(of: &Page) -> Markup {
    let heads = ["When", "What", of.kind.holder(), "Fence", "Cause", "About"];
    let row = |change: &Change| {
        let class = if change.what == "begins" { "good" } else { "plain" };
        vec![
            since(change.at),
            badge(change.what, class),
            some(&change.who),
            number(change.fence),
            some(&change.cause),
            some(&change.about),
        ]
    };
    let rows: Vec<_> = of.history.changes.iter().map(row).collect();
    html! {
        (table("Timeline", &heads, &rows, "Nothing is known: it was compacted, or there was too much."))
        @if of.history.is_cut { p class="hint" { "What was before is not shown, or was compacted." } }
    }
}
