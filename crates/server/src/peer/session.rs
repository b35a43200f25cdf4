//! One append session: openraft's requests out, the peer's replies in, in one stream that owns both.
//!
//! 1. The request stream that openraft gives holds a lock which the next session needs. It lives in here and dies with the reply
//!    stream, at once: the transport only ever holds the far end of a small channel, however long it takes to notice.
//! 2. While a reply is due, some reply must come within [`Session::patience`], or the session ends with an error. Without it a
//!    hung peer would keep the leader's log from being purged for ever.
//! 3. At most a few requests wait for the transport; the rest waits in openraft.

use super::pb;
use super::transport::{AppendReplies, PeerError};
use futures::channel::mpsc;
use futures::{Sink, Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Requests on their way to the transport (its own buffers come on top).
const QUEUED: usize = 2;

pub(super) struct Session<S> {
    requests: Option<S>,
    out: mpsc::Sender<pb::AppendRequest>,
    replies: AppendReplies,
    due: usize,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

/// The two ends of a session's request channel.
pub(super) fn channel() -> (mpsc::Sender<pb::AppendRequest>, mpsc::Receiver<pb::AppendRequest>) {
    mpsc::channel(QUEUED)
}

impl<S: Stream<Item = pb::AppendRequest> + Unpin> Session<S> {
    pub(super) fn new(
        requests: S,
        out: mpsc::Sender<pb::AppendRequest>,
        replies: AppendReplies,
        patience: Duration,
    ) -> Session<S> {
        let timer = Box::pin(tokio::time::sleep(patience));
        Session { requests: Some(requests), out, replies, due: 0, patience, timer, ended: false }
    }

    /// Moves requests to the transport until it has enough or there are none.
    fn pump(&mut self, cx: &mut Context<'_>) {
        while let Some(requests) = &mut self.requests {
            match self.out.poll_ready(cx) {
                Poll::Pending => return,
                // The transport dropped its end: the reply stream says why.
                Poll::Ready(Err(_)) => {
                    self.requests = None;
                    return;
                }
                Poll::Ready(Ok(())) => {}
            }
            match requests.poll_next_unpin(cx) {
                Poll::Pending => {
                    // The slot stays reserved for the next request; what is queued must go out now.
                    let _ = Pin::new(&mut self.out).poll_flush(cx);
                    return;
                }
                Poll::Ready(None) => {
                    self.requests = None;
                    self.out.close_channel();
                }
                Poll::Ready(Some(request)) => {
                    if self.due == 0 {
                        self.timer.as_mut().reset(Instant::now() + self.patience);
                    }
                    self.due += 1;
                    if self.out.start_send(request).is_err() {
                        self.requests = None;
                    }
                }
            }
        }
    }
}

impl<S: Stream<Item = pb::AppendRequest> + Unpin> Stream for Session<S> {
    type Item = Result<pb::AppendReply, PeerError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        this.pump(cx);
        match this.replies.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(reply))) => {
                this.due = this.due.saturating_sub(1);
                this.timer.as_mut().reset(Instant::now() + this.patience);
                return Poll::Ready(Some(Ok(reply)));
            }
            Poll::Ready(other) => {
                this.ended = true;
                this.requests = None;
                return Poll::Ready(other);
            }
            Poll::Pending if this.due == 0 => return Poll::Pending,
            Poll::Pending => {}
        }
        ready!(this.timer.as_mut().poll(cx));
        this.ended = true;
        this.requests = None;
        Poll::Ready(Some(Err(PeerError::Unknown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use std::sync::Arc;

    fn request(index: u64) -> pb::AppendRequest {
        pb::AppendRequest { previous: Some(pb::LogId { term: 1, index }), ..Default::default() }
    }

    fn echo(requests: mpsc::Receiver<pb::AppendRequest>) -> AppendReplies {
        requests.map(|r| Ok(pb::AppendReply { matched: r.previous, ..Default::default() })).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn replies_come_in_order_and_end_with_the_requests() {
        let (out, far) = channel();
        let requests = stream::iter((0..100).map(request));
        let session = Session::new(requests, out, echo(far), Duration::from_secs(1));
        let indexes: Vec<u64> = session.map(|r| r.unwrap().matched.unwrap().index).collect().await;
        assert_eq!(indexes, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_hangs_ends_the_session_but_idleness_does_not() {
        let (out, _far) = channel();
        let patience = Duration::from_secs(1);
        let mut idle = Session::new(stream::pending(), out, stream::pending().boxed(), patience);
        assert!(tokio::time::timeout(Duration::from_secs(60), idle.next()).await.is_err());

        let (out, _far) = channel();
        let requests = stream::iter([request(1)]).chain(stream::pending());
        let mut hung = Session::new(requests, out, stream::pending().boxed(), patience);
        assert_eq!(hung.next().await, Some(Err(PeerError::Unknown)));
        assert_eq!(hung.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_session_drops_the_requests() {
        let held = Arc::new(());
        let in_stream = held.clone();
        let requests = stream::repeat_with(move || {
            let _ = &in_stream;
            request(1)
        });
        let (out, far) = channel();
        let mut session = Session::new(requests, out, stream::pending().boxed(), Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_millis(1), session.next()).await.is_err());
        drop(session);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(far.count().await, QUEUED + 1);
    }
}
