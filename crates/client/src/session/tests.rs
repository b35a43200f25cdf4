use super::{wire::Wire, *};
use crate::clock::{Clock, fake::FakeClock};
use bytes::Bytes;
use std::task::Poll;

const TTL: Duration = Duration::from_secs(9);

/// A session on a clock moved by hand, with no cluster: nothing listens where it would ask.
pub(crate) fn session() -> (Session, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::default());
    let client = Client::builder().endpoints(["127.0.0.1:9"]).clock(Arc::clone(&clock) as Arc<dyn Clock>).build();
    (Session::start(&client.expect("an address"), Wire::Etcd, 7, clock.now(), TTL), clock)
}

async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn time_alone_brings_jeopardy_and_loss_without_a_network() {
    let (session, clock) = session();
    let mut states = session.states();
    assert_eq!(states.next().await, Some(SessionState::Safe));
    clock.advance(TTL / 3 * 2);
    assert_eq!(states.next().await, Some(SessionState::Jeopardy));
    let mut lost = session.lost();
    clock.advance(TTL / 4);
    settled().await;
    assert_eq!(futures::poll!(&mut lost), Poll::Pending, "not before the deadline");
    clock.advance(TTL / 4);
    assert_eq!(lost.await, LostReason::Expired);
    assert_eq!(states.next().await, Some(SessionState::Lost(LostReason::Expired)));
    assert_eq!(states.next().await, None);
    assert_eq!(session.remaining(), Duration::ZERO);
}

#[tokio::test]
async fn a_suspend_over_the_deadline_is_a_loss_at_once_on_resume() {
    let (session, clock) = session();
    let lost = session.lost();
    clock.advance(Duration::from_secs(3600));
    // Before any task had a chance to run.
    assert_eq!(session.state(), SessionState::Lost(LostReason::Expired));
    assert_eq!(session.check().map_err(|e| e.kind()), Err(ErrorKind::SessionLost));
    assert_eq!(lost.await, LostReason::Expired);
    // The answer to a keep-alive sent before the suspend does not bring it back.
    session.shared().renewed(clock.now(), TTL);
    assert!(session.is_lost());
}

#[tokio::test]
async fn an_answer_ends_jeopardy() {
    let (session, clock) = session();
    clock.advance(TTL / 3 * 2);
    session.in_jeopardy().await;
    session.shared().renewed(clock.now(), TTL);
    assert_eq!(session.state(), SessionState::Safe);
    assert!(session.remaining() > TTL / 2);
}

#[tokio::test]
async fn work_ends_with_the_session() {
    let (session, clock) = session();
    let during = session.during(std::future::pending::<Result<(), Error>>());
    clock.advance(TTL);
    assert_eq!(during.await.map_err(|e| e.kind()), Err(ErrorKind::SessionLost));
}

#[tokio::test]
async fn a_key_has_one_user_at_a_time() {
    let (session, _clock) = session();
    let (key, other) = (Bytes::from("a"), Bytes::from("b"));
    let first = session.reserve(&key).await;
    drop(session.reserve(&other).await);
    let second = session.reserve(&key);
    let mut second = std::pin::pin!(second);
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    drop(second.await);
    drop(session.reserve(&key).await);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_it_for_all_who_watch() {
    let (session, _clock) = session();
    let (lost, clone) = (session.lost(), session.clone());
    drop(session);
    assert_eq!(clone.state(), SessionState::Safe);
    drop(clone);
    assert_eq!(lost.await, LostReason::Closed);
}
