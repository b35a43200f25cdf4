//! Keys as a tree, and one key with its versions.

use crate::diff::{self, Line};
use crate::layout::{Frame, Section, page};
use crate::link::{self, Link};
use crate::parts::{badge, bytes, dash, facts, lease, linked, number, paging, since, table, text};
use crate::shown::{as_text, editable};
use crate::time::Since;
use maud::{Markup, html};
use std::fmt::Write;

/// Bytes of a value that are shown.
pub const MOST_SHOWN: usize = 16 << 10;

/// What is directly below a prefix.
#[derive(Clone, Debug)]
pub enum Child {
    Folder(Vec<u8>),
    Key {
        key: Vec<u8>,
        /// `None`: it was not read, because others before it were large.
        about: Option<About>,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct About {
    pub modified: Since,
    pub version: i64,
    pub lease: i64,
    pub bytes: u64,
}

#[must_use]
pub fn keys(frame: &Frame, prefix: &[u8], children: &[Child], goes_on: bool, next: Option<&[u8]>) -> String {
    let row = |child: &Child| match child {
        Child::Folder(folder) => vec![
            html! { span class="folder" { (linked(link::folder(folder), &text(rest(prefix, folder)))) } },
            dash(),
            dash(),
            dash(),
            dash(),
        ],
        Child::Key { key, about } => {
            let name = rest(prefix, key);
            let name = if name.is_empty() {
                html! { "(the prefix itself)" }
            } else {
                text(name)
            };
            let name = linked(link::key(key), &name);
            match about {
                None => vec![name, dash(), dash(), dash(), dash()],
                Some(about) => {
                    vec![name, since(about.modified), number(about.version), bytes(about.bytes), lease(about.lease)]
                }
            }
        }
    };
    let content = html! {
        h1 { "Keys" }
        (crumbs(prefix))
        form class="search" role="search" action="keys" {
            label { "Keys beginning with "
                input type="search" name="prefix" value=(editable(prefix)) maxlength="1024"; }
            button type="submit" { "Show" }
        }
        (table(
            "Keys",
            &["Key", "Changed", "Version", "Value", "Lease"],
            &children.iter().map(row).collect::<Vec<_>>(),
            "There are no keys that begin so.",
        ))
        (paging(
            goes_on.then(|| link::folder(prefix)),
            next.map(|next| Link::to("keys").some("prefix", prefix).with("after", next)),
        ))
    };
    page(frame, Some(Section::Keys), "Keys", &content)
}

fn rest<'a>(prefix: &[u8], key: &'a [u8]) -> &'a [u8] {
    key.get(prefix.len()..).unwrap_or_default()
}

/// The most parts of a path that are linked one by one.
const PARTS: usize = 16;

/// The way down to a key, each folder a link.
fn crumbs(path: &[u8]) -> Markup {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    let folders: Vec<(usize, usize)> =
        ends.take(PARTS).scan(0, |begin, end| Some((std::mem::replace(begin, end), end))).collect();
    let last = folders.last().map_or(0, |(_, end)| *end);
    html! {
        nav class="crumbs" aria-label="Path" {
            ol {
                li { a href="keys" { "All keys" } }
                @for (begin, end) in &folders {
                    li { (linked(link::folder(&path[..*end]), &text(&path[*begin..*end]))) }
                }
                @if last < path.len() { li { (text(&path[last..])) } }
            }
        }
    }
}

/// One version of a key.
#[derive(Clone, Debug)]
pub struct Version {
    pub at: Since,
    /// 0: it was deleted then.
    pub version: i64,
    pub lease: i64,
    pub value: Vec<u8>,
}

impl Version {
    fn is_deletion(&self) -> bool {
        self.version == 0
    }
}

/// A key with the versions that are kept, the newest first.
#[derive(Clone, Debug)]
pub struct Key {
    pub key: Vec<u8>,
    pub versions: Vec<Version>,
    /// Which of them is shown.
    pub chosen: usize,
    /// There are older ones that are not shown, or were compacted.
    pub is_cut: bool,
    pub created: Option<i64>,
}

#[must_use]
pub fn key(frame: &Frame, of: &Key) -> String {
    let chosen = of.versions.get(of.chosen);
    let before = of.versions.get(of.chosen + 1);
    let content = html! {
        (crumbs(&of.key))
        h1 { "Key " bdi { (crate::shown(&of.key, 400)) } }
        @if of.chosen > 0 { p class="alert" { "This is an earlier version." } }
        @if let Some(version) = chosen {
            (facts(&[
                ("Changed", since(version.at)),
                ("Created", of.created.map_or_else(dash, |at| html! { "rev. " (at) })),
                ("Version", number(version.version)),
                ("Lease", lease(version.lease)),
                ("Value", bytes(version.value.len() as u64)),
            ]))
            (value(version))
            @if let Some(before) = before { (difference(before, version)) }
        }
        (versions(of))
    };
    page(frame, Some(Section::Keys), &crate::shown(&of.key, 80), &content)
}

fn value(of: &Version) -> Markup {
    let part = of.value.get(..MOST_SHOWN).unwrap_or(&of.value);
    // A cut may be within a character.
    let whole = std::str::from_utf8(part).map_or_else(|error| error.valid_up_to(), str::len);
    let part = if part.len() < of.value.len() && part.len() - whole < 4 { &part[..whole] } else { part };
    html! {
        section {
            h2 { "Value" }
            @if of.is_deletion() { p class="empty" { "It was deleted." } }
            @else if of.value.is_empty() { p class="empty" { "It is empty." } }
            @else {
                @match as_text(part) {
                    Some(text) => { pre tabindex="0" class="value" aria-label="Value as text" { (text) } }
                    None => { pre tabindex="0" class="value" aria-label="Value in hexadecimal" { (hex(part)) } }
                }
                @if part.len() < of.value.len() {
                    p class="hint" { "Only the first " (number(part.len())) " bytes are shown." }
                }
            }
        }
    }
}

/// Lines of sixteen bytes, each with its offset and what is text in it.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 5);
    for (at, line) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:06x} ", at * 16);
        for byte in line {
            let _ = write!(text, " {byte:02x}");
        }
        let _ = write!(text, "{:width$}  ", "", width = (16 - line.len()) * 3);
        text.extend(line.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }));
        text.push('\n');
    }
    text
}

fn difference(before: &Version, after: &Version) -> Markup {
    if before.value.len().max(after.value.len()) > MOST_SHOWN || before.is_deletion() || after.is_deletion() {
        return html! {};
    }
    let (Some(old), Some(new)) = (as_text(&before.value), as_text(&after.value)) else { return html! {} };
    let Some(lines) = diff::lines(old, new) else { return html! {} };
    html! {
        section {
            h2 { "Changed from revision " (before.at.revision) }
            @if lines.is_empty() { p class="empty" { "Nothing: it was written again as it was." } }
            @else {
                pre tabindex="0" class="diff" aria-label="Changed lines" {
                    @for line in &lines {
                        @match line {
                            Line::Same(text) => { span { "  " (text) "\n" } }
                            Line::Gone(text) => { del { "- " (text) "\n" } }
                            Line::New(text) => { ins { "+ " (text) "\n" } }
                            Line::Omitted(count) => { span class="aside" { "  … " (count) " equal lines\n" } }
                        }
                    }
                }
            }
        }
    }
}

fn versions(of: &Key) -> Markup {
    let row = |(at, version): (usize, &Version)| {
        let revision = html! { (version.at.revision) };
        let to = link::key(&of.key).with("revision", version.at.revision.to_string());
        vec![
            html! { (linked(to, &revision)) @if at == of.chosen { " " (badge("shown", "plain")) } },
            crate::parts::age(version.at.age),
            if version.is_deletion() { badge("deleted", "warn") } else { number(version.version) },
            if version.is_deletion() { dash() } else { bytes(version.value.len() as u64) },
            lease(version.lease),
        ]
    };
    let rows: Vec<_> = of.versions.iter().enumerate().map(row).collect();
    html! {
        (table("Versions", &["Revision", "Changed", "Version", "Value", "Lease"], &rows, "None are kept."))
        @if of.is_cut { p class="hint" { "Earlier versions are not shown, or were compacted." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(
            hex(b"\0conclave\xff and more"),
            "000000  00 63 6f 6e 63 6c 61 76 65 ff 20 61 6e 64 20 6d  .conclave. and m\n\
             000010  6f 72 65                                         ore\n"
        );
    }

    #[test]
    fn a_path_has_a_link_for_each_folder() {
        let path = crumbs(b"/a/b c/d").into_string();
        for part in ["href=\"keys?prefix=/\"", "href=\"keys?prefix=/a/\"", "href=\"keys?prefix=/a/b%20c/\"", ">d<"] {
            assert!(path.contains(part), "{path}");
        }
    }
}
