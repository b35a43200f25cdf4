//! What one page of history may cost.

use super::super::catchup::Replay;
use super::super::groups::Interest;
use super::super::registry::{Late, Page, Served};
use super::*;
use crate::follow::Span;
use crate::follow::history::PAGE;

fn late(slot: usize, key: &str, next: i64, previous: bool) -> Late {
    // Distinct ranges that hold the same keys.
    let end = Some(Bytes::from(format!("z{slot:06}")));
    let span = Span::Range { start: Bytes::copy_from_slice(key.as_bytes()), end };
    Late { slot, interest: Arc::new(Interest { span, no_put: false, no_delete: false, previous }), next }
}

fn read(world: &World, late: Vec<Late>, room: usize) -> Page {
    let to = world.store.lock().machine.revision();
    let source = Source::of(world.store.clone(), world.inline.clone());
    Replay { late, to, response_bytes: 10_000, room }.read(&source, PAGE).unwrap().unwrap()
}

/// The bytes for each watcher, and up to where it is served then.
fn given(page: &Page) -> Vec<(usize, i64)> {
    let of = |served: &Served| match served {
        Served::Lost => panic!("nothing is compacted"),
        Served::Given { chunks, next } => (chunks.iter().map(|chunk| chunk.data.len()).sum(), *next),
    };
    page.served.iter().map(of).collect()
}

fn bytes(page: &Page) -> usize {
    given(page).iter().map(|(bytes, _)| bytes).sum()
}

#[test]
fn no_more_is_made_than_the_queue_may_take() {
    let world = World::new();
    let value = "v".repeat(10_000);
    for _ in 0..64 {
        world.apply(&[put("a", &value)]);
    }
    let page = read(&world, (0..400).map(|slot| late(slot, "a", 2, false)).collect(), 1 << 20);
    assert!(bytes(&page) < 2 << 20, "{}", bytes(&page));
    // Who gets nothing stays where it is; who gets something goes on after it.
    let (served, rest): (Vec<_>, Vec<_>) = given(&page).into_iter().partition(|(bytes, _)| *bytes > 0);
    assert!(!served.is_empty() && rest.iter().all(|watcher| *watcher == (0, 2)));
    assert!(served.iter().all(|(bytes, next)| *next == 2 + (bytes / 10_000) as i64));
}

#[test]
fn previous_values_count() {
    let world = World::new();
    let value = "v".repeat(100_000);
    for _ in 0..64 {
        world.apply(&[put("a", &value), put("a", "")]);
    }
    let page = read(&world, vec![late(0, "a", 2, true)], 1 << 20);
    assert!(bytes(&page) < 2 << 20, "{}", bytes(&page));
}

#[tokio::test]
async fn a_large_revision_is_not_read_on_the_event_loop() {
    let world = World::new();
    let ops = (0..5000).map(|n| Op::Put(op_put(&format!("k{n:05}"), ""))).collect();
    world.apply(&[txn(ops)]);
    let large = "v".repeat(100_000);
    world.apply(&[txn((0..300).map(|n| Op::Put(op_put(&format!("l{n:05}"), &large))).collect())]);
    for (start, key) in [(2, "k00000"), (3, "l00000")] {
        world.inline.take();
        let mut client = world.client();
        client.create(from(start, watch(key)));
        let (_, frame) = (client.responses.next().await, client.responses.next().await);
        assert!(!frame.unwrap().unwrap().data.is_empty());
        let rows = world.inline.take();
        assert!(rows < 1000, "{rows}");
    }
}
