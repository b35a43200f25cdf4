use super::super::opening::Opening;
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn taken(pool: &Pool) -> Place {
    pool.take().expect("there is room")
}

/// Closes when asked to, as real connections do.
fn open(pool: &Pool) -> tokio::task::JoinHandle<()> {
    let place = taken(pool);
    place.spoken().note();
    tokio::spawn(async move { place.over().await })
}

#[tokio::test(start_paused = true)]
async fn who_was_idle_for_longest_makes_room() {
    let pool = Pool::new("test", 3);
    let (first, second) = (open(&pool), open(&pool));
    let busy = taken(&pool);
    let request = busy.activity().begin();
    let new = pool.admit().await.expect("the first one goes");
    assert!(first.is_finished() && !second.is_finished());
    assert_eq!((pool.open(), pool.refused()), (3, 1));
    // Now the idle connection is in use, and the other one is idle.
    let _in_use = new.activity().begin();
    drop(request);
    let _again = pool.admit().await.expect("the second one goes: it is idle for longer");
    assert!(second.is_finished());
    assert_eq!(pool.open(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_stays_and_the_new_one_goes() {
    let pool = Pool::new("test", 2);
    let places = [taken(&pool), taken(&pool)];
    places.iter().for_each(|place| place.activity().keep());
    assert!(pool.admit().await.is_none());
    assert!(places.iter().all(|place| !place.connection.evicted.is_cancelled()));
    drop(places);
    assert!(pool.admit().await.is_some());
    assert_eq!(pool.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_go_keeps_its_place() {
    let pool = Pool::new("test", 1);
    let _stuck = taken(&pool);
    assert!(pool.admit().await.is_none(), "the number is never exceeded");
    assert_eq!(pool.open(), 1);
}

/// Sends only these bytes; returns whether the connection is closed because of that.
async fn closed_after(bytes: &[u8]) -> bool {
    let pool = Pool::new("test", 1);
    let place = taken(&pool);
    let (mut client, server) = duplex(1 << 10);
    let mut server = Opening::new(server, place.spoken());
    let mut over = std::pin::pin!(place.over());
    client.write_all(bytes).await.unwrap();
    let mut buffer = [0; 5];
    let read = async { while server.read(&mut buffer).await.is_ok_and(|n| n > 0) {} };
    tokio::select! {
        () = read => unreachable!("the client holds its end"),
        () = &mut over => true,
        () = tokio::time::sleep(FIRST_WORDS * 100) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn silence_and_half_a_preface_have_a_deadline() {
    assert!(closed_after(b"").await);
    assert!(closed_after(b"P").await);
    assert!(closed_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r").await);
    assert!(!closed_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
    assert!(!closed_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore").await);
    assert!(!closed_after(b"GET / HTTP/1.1\r\n").await, "HTTP/1 has a deadline of its own");
    assert!(!closed_after(b"PRX").await);
}
