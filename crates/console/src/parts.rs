//! The parts that pages are made of.

use crate::link::{self, Link};
use crate::shown::{NAME, shown};
use crate::time::{Age, Left, Since, duration};
use maud::{Markup, html};
use std::time::Duration;

/// A table with a caption, in a region that scrolls by itself where it is too wide. `none`: what is
/// said if there are no rows. The roles are those that the elements have by themselves: on a small
/// screen the style lays a table out as blocks, and some browsers would forget that it is one.
pub(crate) fn table(caption: &str, heads: &[&str], rows: &[Vec<Markup>], none: &str) -> Markup {
    html! {
        @if rows.is_empty() {
            section class="table" { h2 { (caption) } p class="empty" { (none) } }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label=(caption) {
                table role="table" {
                    caption { (caption) }
                    thead role="rowgroup" {
                        tr role="row" { @for head in heads { th scope="col" role="columnheader" { (head) } } }
                    }
                    tbody role="rowgroup" {
                        @for row in rows {
                            tr role="row" {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at == 0 { th scope="row" role="rowheader" { div { (cell) } } }
                                    @else {
                                        td role="cell" data-label=(heads.get(at).copied().unwrap_or_default()) {
                                            div { (cell) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Facts as pairs of a term and what it is.
pub(crate) fn facts(all: &[(&str, Markup)]) -> Markup {
    html! { dl class="facts" { @for (term, what) in all { div { dt { (term) } dd { (what) } } } } }
}

/// A name from outside.
pub(crate) fn text(text: impl AsRef<[u8]>) -> Markup {
    html! { bdi { (shown(text.as_ref(), NAME)) } }
}

/// A name from outside, or a dash.
pub(crate) fn some(from: &str) -> Markup {
    if from.is_empty() { dash() } else { text(from) }
}

pub(crate) fn dash() -> Markup {
    html! { span class="none" { "–" } }
}

pub(crate) fn number(number: impl std::fmt::Display) -> Markup {
    html! { span class="number" { (grouped(&number.to_string())) } }
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A link, or only what it would say.
pub(crate) fn linked(to: Link, what: &Markup) -> Markup {
    match to.address() {
        Some(address) => html! { a href=(address) { (what) } },
        None => html! { (what) },
    }
}

/// A lease that something depends on.
pub(crate) fn lease(id: i64) -> Markup {
    match id {
        0 => dash(),
        id => linked(link::lease(id), &html! { code { (format!("{id:x}")) } }),
    }
}

pub(crate) fn since(since: Since) -> Markup {
    html! { (age(since.age)) " " span class="aside" { "rev. " (since.revision) } }
}

pub(crate) fn age(age: Age) -> Markup {
    html! { span class="time" { (age.words()) } }
}

pub(crate) fn left(left: Left) -> Markup {
    html! { span class="time" { (left.words()) } }
}

pub(crate) fn millis(millis: u64) -> Markup {
    html! { span class="time" { (duration(Duration::from_millis(millis))) } }
}

/// A state in a word; the class gives a colour beside it.
pub(crate) fn badge(word: &str, class: &'static str) -> Markup {
    html! { span class={ "badge " (class) } { (shown(word.as_bytes(), NAME)) } }
}

pub(crate) fn bytes(bytes: u64) -> Markup {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = None;
    let mut tenths = u128::from(bytes) * 10;
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1_024;
        unit = Some(name);
    }
    html! {
        span class="number" {
            @match unit {
                None => { (bytes) " B" }
                Some(unit) => { (tenths / 10) "." (tenths % 10) " " (unit) }
            }
        }
    }
}

/// The way to the first page and to the next, if there are others.
pub(crate) fn paging(first: Option<Link>, next: Option<Link>) -> Markup {
    let address = |link: Option<Link>| link.and_then(Link::address);
    let (first, next) = (address(first), address(next));
    html! {
        @if first.is_some() || next.is_some() {
            nav class="paging" aria-label="Further entries" {
                @if let Some(first) = first { a href=(first) { "First page" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_groups() {
        for (digits, expected) in [("1", "1"), ("123", "123"), ("-1234567", "-1\u{202f}234\u{202f}567")] {
            assert_eq!(grouped(digits), expected);
        }
        let sizes = [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (u64::MAX, "16383.9 PiB")];
        for (size, expected) in sizes {
            assert!(bytes(size).into_string().contains(expected), "{}", bytes(size).into_string());
        }
    }
}
