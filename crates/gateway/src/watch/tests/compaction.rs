//! Compaction, and snapshots that replace the state.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_compacted_start_is_created_and_then_cancelled() {
    let world = World::new();
    world.apply(&[put("a", "1"), put("a", "2"), put("a", "3")]);
    world.compact(3);
    let mut client = world.client();
    assert_eq!(client.created(from(2, watch("a"))).await, 0);
    let response = client.next().await;
    assert_eq!((response.watch_id, response.created, response.canceled), (0, false, true));
    assert_eq!((response.compact_revision, response.cancel_reason.as_str()), (3, ""));
    assert_eq!(client.created(watch("a")).await, 1);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_at_the_compacted_revision_still_sees_its_tombstone() {
    let world = World::new();
    world.apply(&[put("a", "1"), delete("a"), put("b", "1")]);
    world.compact(3);
    let mut client = world.client();
    client.created(from(3, watch_all())).await;
    assert_eq!(events(&client.next().await), ["-a@3", "b@4"]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn compaction_reaches_a_slow_watcher_later() {
    let world = World::with(WatchConfig { buffer_bytes: 1000, ..Default::default() });
    let mut client = world.client();
    client.created(watch("a")).await;
    client.created(watch("b")).await;
    for _ in 0..50 {
        world.apply(&[put("a", "value")]);
    }
    world.compact(40);
    let mut seen = 0;
    let canceled = loop {
        let response = client.next().await;
        seen += response.events.len();
        if response.canceled {
            break response;
        }
    };
    assert!(seen < 39, "it was slow");
    assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 40));
    assert_eq!(canceled.cancel_reason, "");
    // The other one had nothing to be slow about.
    world.apply(&[put("a", ""), put("b", "")]);
    assert_eq!(events(&client.next().await), ["b@53"]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_snapshot_watchers_go_on_without_gap_or_repetition() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch("a")).await;
    client.created(from(6, watch("a"))).await;
    client.created(from(100, watch("a"))).await;
    world.apply(&[put("a", "2")]);
    assert_eq!(events(&client.next().await), ["a@2"]);
    world.apply_unseen(&[put("a", "3"), put("b", "4"), put("a", "5"), put("a", "6")]);
    world.hub.reset();
    let mut both = [client.next().await, client.next().await].map(|r| (r.watch_id, events(&r).join(" ")));
    both.sort();
    assert_eq!(both, [(0, "a@3 a@5 a@6".to_owned()), (1, "a@6".to_owned())]);
    world.apply(&[put("a", "7")]);
    assert_eq!(events(&client.next().await), ["a@7"]);
    assert_eq!(events(&client.next().await), ["a@7"]);
    client.quiet().await;
    assert_eq!(world.hub.stats().behind, 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_lacks_the_history_cancels() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch("a")).await;
    world.apply_unseen(&[put("a", "2"), put("a", "3"), put("a", "4"), Command::Compact { revision: 4 }]);
    world.hub.reset();
    let response = client.next().await;
    assert_eq!((response.canceled, response.compact_revision), (true, 4));
    client.quiet().await;
}
