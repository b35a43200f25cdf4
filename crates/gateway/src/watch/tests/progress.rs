//! Progress, asked for and by the clock.

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

fn world() -> World {
    World::with(WatchConfig { progress_interval: INTERVAL, buffer_bytes: 2000, ..Default::default() })
}

async fn one_interval() {
    tokio::time::sleep(INTERVAL + INTERVAL / 10).await;
}

#[tokio::test(start_paused = true)]
async fn by_the_clock_to_those_who_want_it_unless_they_heard_events() {
    let world = world();
    let mut client = world.client();
    client.created(WatchCreateRequest { progress_notify: true, ..watch("a") }).await;
    client.created(watch("a")).await;
    world.apply(&[put("b", "")]);
    client.quiet().await;
    one_interval().await;
    let response = client.next().await;
    assert_eq!((response.watch_id, response.events.len(), response.header.unwrap().revision), (0, 0, 2));
    assert!(!response.created && !response.canceled);
    client.quiet().await;
    world.apply(&[put("a", "")]);
    let (_, _) = (client.next().await, client.next().await);
    // Elided once, then it comes again.
    one_interval().await;
    client.quiet().await;
    one_interval().await;
    assert_eq!(client.next().await.header.unwrap().revision, 3);
}

#[tokio::test(start_paused = true)]
async fn not_before_a_future_start() {
    let world = world();
    let mut client = world.client();
    for start in [2, 3] {
        client.created(WatchCreateRequest { progress_notify: true, ..from(start, watch("a")) }).await;
    }
    one_interval().await;
    client.ask_progress();
    client.quiet().await;
    world.apply(&[put("b", "")]);
    one_interval().await;
    assert_eq!(client.next().await.watch_id, 0);
    client.ask_progress();
    client.quiet().await;
    world.apply(&[put("b", "")]);
    client.ask_progress();
    assert_eq!(client.next().await.watch_id, -1);
}

#[tokio::test(start_paused = true)]
async fn asked_for_follows_every_earlier_event() {
    let world = world();
    let mut client = world.client();
    client.ask_progress();
    client.quiet().await;
    client.created(watch("a")).await;
    client.created(watch("b")).await;
    world.apply(&[put("a", ""), put("c", "")]);
    client.ask_progress();
    assert_eq!(events(&client.next().await), ["a@2"]);
    let response = client.next().await;
    assert_eq!((response.watch_id, response.events.len(), response.header.unwrap().revision), (-1, 0, 3));
    client.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn no_progress_while_a_watcher_is_behind() {
    let world = world();
    let mut client = world.client();
    client.created(watch("a")).await;
    client.created(watch("b")).await;
    for _ in 0..50 {
        world.apply(&[put("a", "")]);
    }
    assert_eq!(world.hub.stats().behind, 1);
    world.hub.registry().progress_of_stream(0);
    let mut seen = 0;
    while let Some(response) = client.poll().await {
        let response = response.unwrap();
        assert_eq!(response.watch_id, 0);
        seen += response.events.len();
    }
    assert_eq!(seen, 50);
    client.ask_progress();
    assert_eq!((client.next().await.watch_id, world.hub.stats().behind), (-1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connection_is_not_fed_progress() {
    let world = world();
    let mut client = world.client();
    client.created(WatchCreateRequest { progress_notify: true, ..watch("a") }).await;
    for _ in 0..1000 {
        one_interval().await;
    }
    let mut frames = 0;
    while client.poll().await.is_some() {
        frames += 1;
    }
    assert!((10..20).contains(&frames), "{frames}");
}
