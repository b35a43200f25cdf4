//! Every page with hostile, long and no data.

use conclave_console::coordination::{self, Row, Search, Waiting};
use conclave_console::name::{self, Change, History, Holder, Waiter};
use conclave_console::{Age, Frame, Kind, Left, Name, Since, cluster, keys, message, sessions};
use std::time::Duration;

/// Every page, with this text wherever a text from outside may be.
fn pages(text: &str) -> Vec<(&'static str, String)> {
    let frame = Frame {
        member: text.into(),
        cluster_id: 0xab,
        version: "1.0",
        user: Some(text.into()),
        is_led: false,
        revision: 7,
    };
    let since = Since { revision: 5, age: Age::About(Duration::from_secs(3)) };
    let of = || Name { namespace: text.into(), name: text.into() };
    let member = cluster::Member {
        name: text.into(),
        peer_urls: vec![text.into()],
        client_urls: vec![text.into(), text.into()],
        labels: vec![text.into()],
        versions: Some(text.into()),
        link: Some(cluster::Link::default()),
        ..cluster::Member::default()
    };
    let facts = cluster::Facts {
        leader: Some(text.into()),
        cluster_version: text.into(),
        downgrade_to: Some(text.into()),
        ..cluster::Facts::default()
    };
    let cluster =
        cluster::Cluster { facts, alarms: vec![("NOSPACE", text.into())], members: vec![member], leads: false };
    let row = Row {
        name: of(),
        holder: Some(text.into()),
        others: 2,
        fence: Some(9),
        since: Some(since),
        left: Left::Pinned,
        waiting: Waiting::MoreThan(3),
        notes: vec![text.into()],
    };
    let search = Search { kind: Kind::Lock, namespace: text.into(), prefix: text.into(), goes_on: true };
    let page = name::Page {
        kind: Kind::Election,
        name: of(),
        holders: vec![Holder {
            who: text.into(),
            instance: text.into(),
            part: text.into(),
            fence: 1,
            since: Some(since),
            left: Left::AtLeader,
            lease: 7,
            value: Some(text.into()),
        }],
        more_holders: true,
        waiting: Waiting::Exactly(1),
        facts: vec![("Fact", text.into())],
        notes: vec!["Note."],
        queue: vec![Waiter {
            position: 1,
            who: text.into(),
            instance: text.into(),
            part: text.into(),
            since: Some(since),
            lease: -7,
        }],
        goes_on: true,
        next: Some(vec![("after", text.into())]),
        history: History {
            changes: vec![Change {
                at: since,
                what: "begins",
                who: text.into(),
                fence: 1,
                cause: text.into(),
                about: text.into(),
            }],
            is_cut: true,
        },
    };
    let about = keys::About { modified: since, version: 1, lease: 7, bytes: 3 };
    let children = [
        keys::Child::Folder([text.as_bytes(), b"/"].concat()),
        keys::Child::Key { key: text.into(), about: Some(about) },
        keys::Child::Key { key: text.into(), about: None },
    ];
    let version = |value: String| keys::Version { at: since, version: 1, lease: 7, value: value.into() };
    let versions = vec![version(format!("{text}\na")), version(format!("{text}\nb"))];
    let key = keys::Key { key: text.into(), versions, chosen: 0, is_cut: true, created: Some(3) };
    let session = sessions::Row { id: 7, ttl_ms: 1, left: Left::Time(Duration::from_secs(1)), keys: 100 };
    let lease = sessions::Lease {
        id: 7,
        ttl_ms: 1,
        left: Left::Unlimited,
        keys: vec![text.into()],
        goes_on: true,
        next: Some(text.into()),
    };
    vec![
        ("cluster", cluster::cluster(&frame, &cluster)),
        ("coordination", coordination::coordination(&frame, &search, &[row], Some(&of()))),
        ("name", name::name(&frame, &page)),
        ("sessions", sessions::sessions(&frame, 1, &[session], true, Some(7))),
        ("session", sessions::session(&frame, &lease)),
        ("keys", keys::keys(&frame, text.as_bytes(), &children, true, Some(text.as_bytes()))),
        ("key", keys::key(&frame, &key)),
        ("message", message::message(&frame, "Title", text)),
    ]
}

/// The tags of a page, without their attributes; panics if something is open.
fn tags(page: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once('<') {
        // No attribute has such a sign in it: they are escaped.
        let (tag, behind) = behind.split_once('>').expect("a tag ends");
        rest = behind;
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        tags.push(name);
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "in {page}"),
            None if matches!(name, "!DOCTYPE" | "meta" | "link" | "img" | "input" | "br") => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} in {page}");
    tags
}

#[test]
fn no_text_from_outside_changes_the_structure_of_a_page() {
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;/main>--><!--{{}}<svg/onload=1>";
    // With the same slashes, which make folders of keys.
    let plain: String = hostile.chars().map(|sign| if sign == '/' { sign } else { 'x' }).collect();
    for ((name, plain), (_, page)) in pages(&plain).iter().zip(&pages(hostile)) {
        assert_eq!(tags(plain), tags(page), "{name}");
        assert!(page.contains("&lt;script&gt;"), "{name}: it is shown");
        assert!(!page.contains("javascript:") && !page.contains(" style="), "{name}");
    }
}

#[test]
fn what_is_long_stays_short() {
    let long = "lang ".repeat(100_000);
    for (name, page) in pages(&long) {
        assert!(page.len() < 64 << 10, "{name} has {} bytes", page.len());
        let addresses = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        assert!(
            addresses.clone().count() > 5 && addresses.into_iter().all(|address| address.len() < 8 << 10),
            "{name}"
        );
    }
}

#[test]
fn every_page_has_what_a_screen_reader_goes_by() {
    for (name, page) in pages("x") {
        for part in ["<html lang=\"en\">", "<title>", "name=\"viewport\"", "class=\"skip\" href=\"#content\"", "<nav "]
        {
            assert!(page.contains(part), "{name} lacks {part}");
        }
        for (once, count) in [("<main ", 1), ("<h1>", 1), ("role=\"status\"", 1), ("<script", 1)] {
            assert_eq!(page.matches(once).count(), count, "{name}: {once}");
        }
        assert_eq!(page.matches("<table").count(), page.matches("<caption>").count(), "{name}");
        assert_eq!(page.matches("<th ").count(), page.matches("<th scope=").count(), "{name}: a head without a scope");
        assert!(page.contains("No leader."), "{name}");
    }
}

#[test]
fn empty_lists_say_so() {
    let frame = Frame { is_led: true, ..Frame::default() };
    let search = Search { kind: Kind::Claim, namespace: String::new(), prefix: Vec::new(), goes_on: false };
    let empty = [
        coordination::coordination(&frame, &search, &[], None),
        sessions::sessions(&frame, 0, &[], false, None),
        keys::keys(&frame, b"", &[], false, None),
        cluster::cluster(&frame, &cluster::Cluster::default()),
    ];
    for page in empty {
        assert!(page.contains("There are no") && !page.contains("<table") && !page.contains("Next page"), "{page}");
        assert!(!page.contains("No leader."));
    }
}

#[test]
fn a_value_is_shown_up_to_a_bound_and_cut_between_characters() {
    let value = "ä".repeat(keys::MOST_SHOWN).into_bytes();
    let since = Since { revision: 5, age: Age::Over(Duration::from_secs(3)) };
    let version = keys::Version { at: since, version: 1, lease: 0, value: [b"x".to_vec(), value].concat() };
    let key = keys::Key { key: b"k".to_vec(), versions: vec![version], chosen: 0, is_cut: false, created: None };
    let page = keys::key(&Frame::default(), &key);
    assert!(page.contains("Value as text") && page.contains("bytes are shown") && page.len() < 32 << 10);
}
