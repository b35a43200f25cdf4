//! Creating and cancelling.

use super::*;

#[tokio::test(start_paused = true)]
async fn now_is_what_follows() {
    let world = World::new();
    world.apply(&[put("a", "1")]);
    let mut client = world.client();
    client.create(watch("a"));
    let created = client.next().await;
    assert_eq!((created.created, created.canceled, created.watch_id), (true, false, 0));
    assert_eq!(created.header.unwrap(), ResponseHeader { cluster_id: 1, member_id: 2, revision: 2, raft_term: 3 });
    client.quiet().await;
    world.apply(&[put("a", "2")]);
    world.apply(&[put("b", "x")]);
    let response = client.next().await;
    assert_eq!((events(&response), response.header.unwrap().revision), (vec!["a@3".to_owned()], 3));
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn the_past_is_read_and_then_joins_the_present() {
    let world = World::new();
    for n in 0..300 {
        world.apply(&[put("a", &n.to_string()), put("b", "")]);
    }
    let mut client = world.client();
    client.created(from(2, watch("a"))).await;
    world.apply(&[put("a", "live")]);
    let mut seen = Vec::new();
    while seen.len() < 301 {
        let response = client.next().await;
        assert!(response.header.unwrap().revision >= 601);
        seen.extend(events(&response));
    }
    let mut expected: Vec<String> = (0..300).map(|n| format!("a@{}", 2 + 2 * n)).collect();
    expected.push("a@602".to_owned());
    assert_eq!(seen, expected);
    world.apply(&[put("a", "last")]);
    let response = client.next().await;
    assert_eq!((events(&response), response.header.unwrap().revision), (vec!["a@603".to_owned()], 603));
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_future_revision_is_waited_for() {
    let world = World::new();
    let mut client = world.client();
    client.created(from(5, watch("a"))).await;
    client.created(from(2, watch("a"))).await;
    world.apply(&[put("a", "2"), put("a", "3")]);
    assert_eq!(events(&client.next().await), ["a@2", "a@3"]);
    // One batch crosses the start: only its rest is wanted.
    world.apply(&[put("a", "4"), put("a", "5"), put("a", "6")]);
    let mut both = [client.next().await, client.next().await].map(|r| (r.watch_id, events(&r)));
    both.sort();
    let text = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(both, [(0, text(&["a@5", "a@6"])), (1, text(&["a@4", "a@5", "a@6"]))]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_negative_start_is_refused_at_once() {
    let mut client = World::new().client();
    client.create(from(-1, watch("a")));
    let response = client.next().await;
    assert_eq!((response.watch_id, response.created, response.canceled), (-1, true, true));
    assert_eq!(response.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(client.created(watch("a")).await, 0);
}

#[tokio::test(start_paused = true)]
async fn ids_are_chosen_by_the_stream_or_by_the_client() {
    let world = World::new();
    let mut client = world.client();
    assert_eq!(client.created(watch("a")).await, 0);
    assert_eq!(client.created(WatchCreateRequest { watch_id: 1, ..watch("a") }).await, 1);
    assert_eq!(client.created(WatchCreateRequest { watch_id: 7, ..watch("a") }).await, 7);
    assert_eq!(client.created(watch("a")).await, 2);
    client.create(WatchCreateRequest { watch_id: 7, ..watch("b") });
    let refused = client.next().await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    // Another stream has ids of its own, and a cancelled one is free again.
    assert_eq!(world.client().created(watch("a")).await, 0);
    client.cancel(7);
    assert!(client.next().await.canceled);
    assert_eq!(client.created(WatchCreateRequest { watch_id: 7, ..watch("a") }).await, 7);
}

#[tokio::test(start_paused = true)]
async fn an_empty_range_is_refused() {
    let mut client = World::new().client();
    for end in ["a", "b"] {
        client.create(WatchCreateRequest { range_end: Bytes::from_static(b"a"), ..watch(end) });
        let refused = client.next().await;
        assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
        assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_id_zero_answers_and_an_unknown_id_does_not() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch("a")).await;
    client.cancel(5);
    client.cancel(0);
    let response = client.next().await;
    assert_eq!((response.watch_id, response.created, response.canceled), (0, false, true));
    assert_eq!((response.cancel_reason.as_str(), response.compact_revision), ("", 0));
    client.cancel(0);
    world.apply(&[put("a", "1")]);
    client.quiet().await;
    assert_eq!(world.hub.stats().watchers, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_request_is_passed_over() {
    let mut client = World::new().client();
    client.requests.as_ref().unwrap().send(Ok(WatchRequest { request_union: None })).unwrap();
    client.created(watch("a")).await;
}

#[tokio::test(start_paused = true)]
async fn watchers_outlive_the_requests_and_end_with_the_responses() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch("a")).await;
    client.created(from(9, watch("a"))).await;
    client.requests = None;
    client.quiet().await;
    world.apply(&[put("a", "1")]);
    assert_eq!(events(&client.next().await), ["a@2"]);
    drop(client);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stats = world.hub.stats();
    assert_eq!((stats.streams, stats.watchers, stats.behind, stats.delivered), (0, 0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_the_status_of_its_end_after_what_was_queued() {
    let world = World::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut client = world.client_until(async {
        let _ = stopped.await;
        Status::unavailable("etcdserver: no leader")
    });
    client.created(watch("a")).await;
    world.apply(&[put("a", "1")]);
    stop.send(()).unwrap();
    assert_eq!(events(&client.next().await), ["a@2"]);
    let status = client.poll().await.unwrap().unwrap_err().unwrap();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "etcdserver: no leader"));
    assert!(matches!(client.poll().await, Some(Err(None))));
    assert_eq!(world.hub.stats().streams, 0);
}

/// Apply hands batches over to the clients' runtime, so the state may be ahead of the watches.
#[tokio::test(start_paused = true)]
async fn a_watch_from_now_begins_after_the_state_that_its_client_may_have_read() {
    let world = World::new();
    let unseen = world.apply_unseen(&[put("a", "1")]);
    let mut client = world.client();
    client.create(watch("a"));
    let created = client.next().await;
    assert_eq!((created.created, created.header.unwrap().revision), (true, unseen.revision));
    client.ask_progress();
    client.quiet().await;
    world.hub.observe(&unseen);
    client.quiet().await;
    client.ask_progress();
    assert_eq!(client.next().await.header.unwrap().revision, unseen.revision);
    world.apply(&[put("a", "2")]);
    assert_eq!(events(&client.next().await), ["a@3"]);
    client.cancel(0);
    assert!(client.next().await.canceled);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_the_state_it_saw_can_be_cancelled() {
    let world = World::new();
    let unseen = world.apply_unseen(&[put("a", "1")]);
    let mut client = world.client();
    client.created(watch("a")).await;
    client.cancel(0);
    assert!(client.next().await.canceled);
    world.hub.observe(&unseen);
    world.apply(&[put("a", "2")]);
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_a_reset_covered_is_not_delivered_twice() {
    let world = World::new();
    let mut client = world.client();
    client.created(watch("a")).await;
    let unseen = world.apply_unseen(&[put("a", "1")]);
    world.hub.reset();
    world.hub.observe(&unseen);
    assert_eq!(events(&client.next().await), ["a@2"]);
    client.quiet().await;
}
