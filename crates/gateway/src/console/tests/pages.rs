//! What pages show, whatever the names are, and that they are bounded.

use super::{Solo, rows};
use conclave_state::{
    Acquire, Claim, CoordBody, Enqueue, Enter, LockMode, LockPart, Name, QueueKind, RequestTransfer, Twin,
};
use conclave_state::{Command, DeleteRange, KeyRange, Op, Txn};

/// Closes everything that a page could have open.
const HOSTILE: &str = "\"'></bdi></td></pre></main><script>alert(1)</script>&amp;\u{202e}\n\0é";

fn name(name: &str) -> Name {
    Name { namespace: "default".into(), name: name.into() }
}

fn enter(election: &str, candidate: &str) -> CoordBody {
    CoordBody::Enter(Enter { election: name(election), candidate: candidate.into(), ..Enter::default() })
}

fn acquire(lock: &str, owner: &str, mode: LockMode) -> CoordBody {
    let parts = vec![LockPart { lock: name(lock), mode }];
    CoordBody::Acquire(Acquire { parts, owner: owner.into(), ..Acquire::default() })
}

fn claim(of: &str, holder: &str) -> CoordBody {
    CoordBody::Claim(vec![Claim {
        claim: name(of),
        holder: holder.into(),
        instance: "i".into(),
        duration_ms: 60_000,
        twin: Twin::Deny,
        wait: true,
        wait_ms: 0,
    }])
}

fn enqueue(queue: &str, lease: i64, value: &str) -> Command {
    let (name, value) = (queue.to_owned().into(), value.to_owned().into());
    Command::Enqueue(Enqueue { kind: QueueKind::Election, name, lease, grant_ttl_ms: 0, value, attempt: 0 })
}

/// As part of an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn hostile_names_and_values_are_text_everywhere() {
    let solo = Solo::start(|_| {}).await;
    for lease in [0x7f, 0x80] {
        solo.lease(lease).await;
    }
    solo.put(HOSTILE.as_bytes(), HOSTILE.as_bytes(), 0x7f).await;
    solo.put(HOSTILE.as_bytes(), format!("{HOSTILE}\nanother line").as_bytes(), 0x7f).await;
    solo.put(b"folder<b>/x", b"<b>line", 0).await;
    solo.put(b"folder<b>/x", b"<b>line\nand <i>more", 0).await;
    let text = HOSTILE.replace('\0', "");
    let label = ("l<b>".to_owned(), "v<b>".to_owned());
    let first = Enter {
        election: name(&text),
        candidate: text.clone(),
        instance: text.clone(),
        value: HOSTILE.into(),
        labels: vec![label],
        ..Enter::default()
    };
    solo.coord(0x7f, CoordBody::Enter(first)).await;
    solo.coord(0x80, enter(&text, "<i>second")).await;
    let to = "<i>second".to_owned();
    let transfer = RequestTransfer { election: name(&text), to, deadline_ms: 0, force: false };
    solo.coord(0, CoordBody::RequestTransfer(transfer)).await;
    for lease in [0x7f, 0x80] {
        solo.coord(lease, acquire(&text, &text, LockMode::Exclusive)).await;
        solo.coord(lease, claim(&text, &format!("{text}{lease}"))).await;
        solo.propose(enqueue(HOSTILE, lease, HOSTILE)).await;
    }
    let (of, bytes) = (encoded(&text), encoded(HOSTILE));
    let addresses = [
        "".to_owned(),
        "coordination".to_owned(),
        "coordination?kind=lock".to_owned(),
        "coordination?kind=claim".to_owned(),
        "coordination?kind=queue".to_owned(),
        format!("coordination?namespace=default&prefix={of}"),
        format!("coordination?kind=queue&prefix={bytes}"),
        format!("name?kind=election&namespace=default&name={of}"),
        format!("name?kind=lock&namespace=default&name={of}"),
        format!("name?kind=claim&namespace=default&name={of}"),
        format!("name?kind=queue&name={bytes}"),
        "sessions".to_owned(),
        "session?id=7f".to_owned(),
        "keys".to_owned(),
        format!("keys?prefix={bytes}"),
        "keys?prefix=folder%3cb%3e/".to_owned(),
        format!("key?key={bytes}"),
        "key?key=folder%3cb%3e/x".to_owned(),
    ];
    for address in addresses {
        let page = solo.page(&format!("/ui/{address}")).await;
        assert_eq!(page.matches("<script").count(), 1, "{address}: {page}");
        assert_eq!(page.matches("</main>").count(), 1, "{address}: {page}");
        for tag in ["<b>", "<i>", "\u{202e}"] {
            assert!(!page.contains(tag), "{address} has {tag:?}: {page}");
        }
        // The root of the tree shows that key up to its first `/` alone.
        let about_it = !["", "sessions", "keys"].contains(&address.as_str()) && !address.contains("folder");
        assert!(!about_it || page.contains("&lt;script&gt;"), "{address}: {page}");
    }
    // That it is shown, too: a leader, one that waits, a request for a transfer.
    let page = solo.page(&format!("/ui/name?kind=election&namespace=default&name={of}")).await;
    for part in ["&lt;i&gt;second", "Transfer asked for", "begins", ">7f<"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = solo.page("/ui/key?key=folder%3cb%3e/x").await;
    assert!(page.contains("<ins>+ and &lt;i&gt;more\n</ins>"), "{page}");
}

#[tokio::test]
async fn an_empty_cluster_says_so() {
    let solo = Solo::start(|_| {}).await;
    for kind in ["election", "lock", "claim", "queue"] {
        let page = solo.page(&format!("/ui/coordination?kind={kind}")).await;
        assert!(page.contains("There are none."), "{page}");
    }
    assert!(solo.page("/ui/sessions").await.contains("There are none."));
    assert!(solo.page("/ui/keys").await.contains("There are no keys"));
    let page = solo.page("/ui/").await;
    for part in ["solo", "leader", "this one", "no others to talk to"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn lists_come_in_pages_of_a_hundred() {
    const MANY: usize = 250;
    let solo = Solo::start(|_| {}).await;
    for n in 0..MANY {
        let lease = n as i64 + 1;
        solo.lease(lease).await;
        solo.put(format!("keys/{n:03}").as_bytes(), b"v", 1).await;
        solo.put(format!("folders/{n:03}/x").as_bytes(), b"v", 0).await;
        solo.coord(1, enter(&format!("e{n:03}"), "c")).await;
        solo.coord(lease, enter("crowd", &format!("c{n:03}"))).await;
        solo.coord(lease, acquire("crowd", &format!("c{n:03}"), LockMode::Exclusive)).await;
        solo.coord(lease, claim("crowd", &format!("c{n:03}"))).await;
        solo.propose(enqueue("crowd", lease, &format!("c{n:03}"))).await;
        solo.propose(enqueue(&format!("q{n:03}"), 1, "first")).await;
    }
    let lists = [
        ("keys?prefix=keys/", MANY),
        ("keys?prefix=folders/", MANY),
        ("sessions", MANY),
        ("coordination?prefix=e", MANY),
        ("coordination?kind=queue&prefix=q", MANY),
        ("coordination?kind=queue", MANY + 1),
        ("coordination?kind=lock", 1),
    ];
    for (address, entries) in lists {
        let pages = solo.pages(&format!("/ui/{address}")).await;
        let found: Vec<usize> = pages.iter().map(|page| rows(page)).collect();
        assert_eq!(found.iter().sum::<usize>(), entries, "{address}: {found:?}");
        assert!(found.iter().all(|rows| *rows <= 100), "{address}: {found:?}");
    }
    // One leads or holds, the others wait.
    for kind in ["election", "lock", "claim", "queue"] {
        let of = if kind == "queue" { String::new() } else { "&namespace=default".to_owned() };
        let pages = solo.pages(&format!("/ui/name?kind={kind}{of}&name=crowd")).await;
        assert_eq!(pages.len(), 3, "{kind}");
        for n in 0..MANY {
            let on = pages.iter().filter(|page| page.contains(&format!(">c{n:03}<"))).count();
            assert_eq!(on, if n == 0 { 3 } else { 1 }, "{kind} c{n:03}");
        }
        let last = ">249</span></div></th>";
        assert!(pages[2].contains(last) && !pages[1].contains(last), "{kind}: {}", pages[2]);
    }
    // All keys of a lease.
    let keys: usize = solo.pages("/ui/session?id=1").await.iter().map(|page| rows(page)).sum();
    assert!(keys > 2 * MANY, "{keys}");
}

#[tokio::test]
async fn a_key_with_its_versions() {
    let solo = Solo::start(|_| {}).await;
    for value in [&b"one\ntwo"[..], b"one\n2", b"\0\x01\xff"] {
        solo.put(b"k", value, 0).await;
    }
    let range = KeyRange { key: "k".into(), end: "".into() };
    let success = vec![Op::DeleteRange(DeleteRange { range, prev_kv: false })];
    solo.propose(Command::Txn(Txn { success, ..Txn::default() })).await;
    solo.put(b"k", &vec![b'x'; 100_000], 0).await;
    let last = solo.gateway.node.state.revision();
    let page = solo.page("/ui/key?key=k").await;
    assert!(page.contains("bytes are shown") && page.len() < 40_000, "{} bytes", page.len());
    assert!(page.contains("deleted"));
    let at = async |revision: i64| solo.page(&format!("/ui/key?key=k&revision={revision}")).await;
    let page = at(last - 1).await;
    assert!(page.contains("It was deleted.") && page.contains("earlier version"), "{page}");
    let page = at(last - 2).await;
    assert!(page.contains("000000  00 01 ff") && page.contains("hexadecimal"), "{page}");
    let page = at(last - 3).await;
    assert!(page.contains("<del>- two\n</del>") && page.contains("<ins>+ 2\n</ins>"), "{page}");
    // What a compaction takes is not shown.
    solo.propose(Command::Compact { revision: last }).await;
    assert_eq!(solo.get(&format!("/ui/key?key=k&revision={}", last - 1)).await.status, 404);
    assert_eq!(rows(&solo.page("/ui/key?key=k").await), 1);
}

#[tokio::test]
async fn who_led_when_with_which_fence() {
    let solo = Solo::start(|_| {}).await;
    for lease in 1..=3 {
        solo.lease(lease).await;
        solo.coord(lease, enter("e", &format!("c{lease}"))).await;
        solo.coord(lease, acquire("l", &format!("c{lease}"), LockMode::Exclusive)).await;
        solo.coord(lease, claim("c", &format!("c{lease}"))).await;
        solo.propose(enqueue("q", lease, &format!("c{lease}"))).await;
    }
    for lease in 1..=2 {
        solo.propose(Command::LeaseRevoke { id: lease }).await;
    }
    for (kind, of) in [("election", "e"), ("lock", "l"), ("queue", "q")] {
        let page = solo.page(&format!("/ui/name?kind={kind}&namespace=default&name={of}")).await;
        let (_, timeline) = page.split_once("<caption>Timeline").unwrap_or_else(|| panic!("{kind}: {page}"));
        // The latest first: c3 holds, after c2, after c1.
        let places = ["c3", "c2", "c1"].map(|who| timeline.find(&format!(">{who}<")));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{kind}: {places:?} in {timeline}");
        assert_eq!(
            (timeline.matches("begins").count(), timeline.matches("ends").count()),
            (3, 2),
            "{kind}: {timeline}"
        );
    }
    let page = solo.page("/ui/name?kind=election&namespace=default&name=e").await;
    assert!(page.contains("session closed"), "{page}");
}
