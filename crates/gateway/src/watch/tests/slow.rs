//! Consumers that do not keep up.

use super::super::outbox::Note;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_slow_stream_is_bounded_loses_nothing_and_delays_nobody() {
    let world = World::with(WatchConfig { buffer_bytes: 4000, ..Default::default() });
    let (mut slow, mut quick) = (world.client(), world.client());
    slow.created(watch("a")).await;
    quick.created(watch("a")).await;
    let value = "v".repeat(200);
    for n in 0..500 {
        world.apply(&[put("a", &value)]);
        assert_eq!(events(&quick.next().await), [format!("a@{}", n + 2)]);
    }
    assert_eq!(world.hub.stats().behind, 1);
    let mut seen = Vec::new();
    while seen.len() < 500 {
        seen.extend(events(&slow.next().await));
    }
    assert_eq!(seen, (0..500).map(|n| format!("a@{}", n + 2)).collect::<Vec<_>>());
    slow.quiet().await;
    assert_eq!(world.hub.stats().behind, 0);
    world.apply(&[put("a", "")]);
    assert_eq!(events(&slow.next().await), ["a@502"]);
}

#[tokio::test(start_paused = true)]
async fn history_is_added_only_as_it_is_sent() {
    let world = World::with(WatchConfig { buffer_bytes: 4000, response_bytes: 1000, ..Default::default() });
    let value = "v".repeat(500);
    for _ in 0..2000 {
        world.apply(&[put("a", &value)]);
    }
    let mut client = world.client();
    client.created(from(2, watch("a"))).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Nobody reads: what was queued is the bound and one page's chunk more at most.
    assert!(world.hub.stats().delivered < 12, "{:?}", world.hub.stats());
    let mut seen = 0;
    while seen < 2000 {
        seen += client.next().await.events.len();
    }
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn requests_wait_while_the_queue_is_full() {
    let world = World::with(WatchConfig { buffer_bytes: 2000, ..Default::default() });
    let mut client = world.client();
    for _ in 0..1000 {
        client.create(watch("a"));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.hub.stats().watchers < 20);
    for id in 0..1000 {
        assert_eq!(client.next().await.watch_id, id);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_for_history_to_end() {
    let world = World::with(WatchConfig { buffer_bytes: 4000, response_bytes: 1000, ..Default::default() });
    let value = "v".repeat(500);
    for _ in 0..2000 {
        world.apply(&[put("a", &value)]);
    }
    let mut client = world.client();
    client.created(from(2, watch("a"))).await;
    client.create(watch("b"));
    client.cancel(0);
    let (mut seen, mut created) = (0, false);
    loop {
        let response = client.next().await;
        created |= response.created;
        if response.canceled {
            break;
        }
        seen += response.events.len();
    }
    assert!(created);
    assert!(seen < 30, "what was queued already, not {seen} events");
    client.ask_progress();
    assert_eq!(client.next().await.watch_id, -1);
}

#[tokio::test]
async fn requests_do_not_wait_for_a_reader() {
    let world = World::new();
    for n in 0..300 {
        world.apply(&[put("a", &n.to_string())]);
    }
    let mut clients: Vec<Client> = (0..3).map(|_| world.client()).collect();
    // While this is held, no history can be read.
    let store = world.store.clone();
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let _guard = store.lock();
        held.send(()).unwrap();
        let _ = released.recv();
    });
    is_held.await.unwrap();
    let second = Duration::from_secs(5);
    for client in &mut clients {
        client.create(from(2, watch("a")));
        let frame = tokio::time::timeout(second, client.responses.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.note, Note::Created);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clients[2].cancel(0);
    let answer = tokio::time::timeout(second, clients[2].responses.next()).await;
    release.send(()).unwrap();
    holder.join().unwrap();
    let frame = answer.expect("an answer while others read").unwrap().unwrap();
    assert_eq!(frame.note, Note::Canceled);
}

#[tokio::test]
async fn asking_for_progress_costs_the_same_however_many_watch() {
    let world = World::new();
    let mut client = world.client();
    for n in 0..20_000 {
        client.create(watch(&format!("k{n:06}")));
    }
    for _ in 0..20_000 {
        client.responses.next().await.unwrap().unwrap();
    }
    let began = std::time::Instant::now();
    for _ in 0..5000 {
        world.hub.registry().progress_of_stream(0);
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(client.responses.next().await.unwrap().unwrap().watch_id, -1);
}

#[tokio::test]
async fn many_watchers_elsewhere_cost_nothing() {
    let world = World::new();
    let mut client = world.client();
    for n in 0..50_000 {
        let request = if n % 2 == 0 {
            watch(&format!("k{n:06}"))
        } else {
            WatchCreateRequest { range_end: Bytes::from(format!("k{n:06}0")), ..watch(&format!("k{n:06}/")) }
        };
        client.create(request);
    }
    for _ in 0..50_000 {
        client.responses.next().await.unwrap().unwrap();
    }
    let began = std::time::Instant::now();
    for n in 0..2000 {
        world.apply(&[put(&format!("other{n}"), "")]);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    world.apply(&[put("k001001/x", ""), put("k001000", "")]);
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(client.responses.next().await.unwrap().unwrap().watch_id);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1000, 1001]);
}
