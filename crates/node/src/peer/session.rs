//! One append session: sends openraft's requests and receives the peer's replies, in one stream
//! that owns both.
//!
//! 1. openraft's request stream holds a lock that the next session needs. It is owned by the reply
//!    stream and dropped with it, at once. The transport holds only the far end of a small channel,
//!    however long it takes to notice.
//! 2. While a reply is due (or the end of the replies, after the last request), some reply must
//!    come within [`Session::patience`], or the session ends with an error. Without that, a hung
//!    peer would keep the leader's log from being purged for ever.
//! 3. At most a few requests wait for the transport; the rest waits in openraft.
//! 4. An unexpected reply, or one that claims more than was sent, ends the session.
//! 5. A request that only brings a newer commit index is quiet: it needs no reply. With one write
//!    at a time that is every other request, and each reply would wake the leader.

use super::pb;
use super::transport::{AppendReplies, PeerError};
use futures::channel::mpsc;
use futures::{Sink, Stream, StreamExt};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Requests queued for the transport (in addition to its own buffers).
const QUEUED: usize = 2;

/// Checks a reply to a request after which the log ends at this position, from a leader of this
/// term.
pub(super) type Check = Box<dyn Fn(&pb::AppendReply, Option<pb::LogId>, u64) -> Result<(), PeerError> + Send>;

pub(super) struct Session<S> {
    requests: Option<S>,
    out: mpsc::Sender<pb::AppendRequest>,
    replies: AppendReplies,
    due: usize,
    /// End positions of unanswered requests, without quiet ones.
    asked: VecDeque<Option<pb::LogId>>,
    /// End position of the last request.
    sent: Option<pb::LogId>,
    /// The leader's term in the last request.
    term: u64,
    check: Check,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

/// The end of the log if the request is accepted.
fn last(request: &pb::AppendRequest) -> Option<pb::LogId> {
    match request.entries.last() {
        Some(entry) => Some(pb::LogId { term: entry.term, index: entry.index }),
        None => request.previous,
    }
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
        check: Check,
        patience: Duration,
    ) -> Session<S> {
        Session {
            requests: Some(requests),
            out,
            replies,
            due: 0,
            asked: VecDeque::new(),
            sent: None,
            term: 0,
            check,
            patience,
            timer: Box::pin(tokio::time::sleep(patience)),
            ended: false,
        }
    }

    /// Checks that the reply fits a request. Accepting replies come in order; a refusal is the last
    /// reply.
    fn judge(&mut self, reply: &pb::AppendReply) -> Result<(), PeerError> {
        let accepts = reply.higher.is_none() && reply.conflict.is_none();
        let last = if accepts { self.asked.pop_front().ok_or(PeerError::Unknown)? } else { self.sent };
        (self.check)(reply, last, self.term)
    }

    /// One more reply is due.
    fn owe(&mut self) {
        if self.due == 0 {
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
        self.due += 1;
    }

    /// Whether the reply to an earlier request also answers this one.
    fn covers(&self, request: &pb::AppendRequest) -> bool {
        request.entries.is_empty() && self.sent.is_some() && self.sent == request.previous
    }

    /// Moves requests to the transport until it is full or there are none.
    fn pump(&mut self, cx: &mut Context<'_>) {
        while let Some(requests) = &mut self.requests {
            match self.out.poll_ready(cx) {
                Poll::Pending => return,
                // The transport dropped its end; the reply stream has the error.
                Poll::Ready(Err(_)) => {
                    self.requests = None;
                    return;
                }
                Poll::Ready(Ok(())) => {}
            }
            match requests.poll_next_unpin(cx) {
                Poll::Pending => {
                    // The slot stays reserved for the next request, and queued requests must go out
                    // now.
                    let _ = Pin::new(&mut self.out).poll_flush(cx);
                    return;
                }
                Poll::Ready(None) => {
                    self.requests = None;
                    self.out.close_channel();
                    self.owe();
                }
                Poll::Ready(Some(mut request)) => {
                    request.quiet = self.covers(&request);
                    self.sent = last(&request);
                    self.term = request.vote.as_ref().map_or(0, |vote| vote.term);
                    if !request.quiet {
                        self.asked.push_back(self.sent);
                        self.owe();
                    }
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
        let reply = this.replies.poll_next_unpin(cx);
        let reply = reply.map(|reply| reply.map(|reply| reply.and_then(|reply| this.judge(&reply).map(|()| reply))));
        match reply {
            Poll::Ready(Some(Ok(reply))) => {
                this.due = this.due.saturating_sub(1);
                this.timer.as_mut().reset(Instant::now() + this.patience);
                return Poll::Ready(Some(Ok(reply)));
            }
            Poll::Ready(other) => {
                // Only the end of the stream is due, or the due replies will not come.
                let ended = other.is_none() && this.requests.is_none() && this.due <= 1;
                this.ended = true;
                this.requests = None;
                return Poll::Ready(if ended { None } else { other.or(Some(Err(PeerError::Unknown))) });
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

    fn unchecked() -> Check {
        Box::new(|_, _, _| Ok(()))
    }

    fn echo(requests: mpsc::Receiver<pb::AppendRequest>) -> AppendReplies {
        requests.map(|r| Ok(pb::AppendReply { matched: r.previous, ..Default::default() })).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn replies_come_in_order_and_end_with_the_requests() {
        let (out, far) = channel();
        let requests = stream::iter((0..100).map(request));
        let session = Session::new(requests, out, echo(far), unchecked(), Duration::from_secs(1));
        let indexes: Vec<u64> = session.map(|r| r.unwrap().matched.unwrap().index).collect().await;
        assert_eq!(indexes, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_hangs_ends_the_session_but_idleness_does_not() {
        let (out, _far) = channel();
        let patience = Duration::from_secs(1);
        let mut idle = Session::new(stream::pending(), out, stream::pending().boxed(), unchecked(), patience);
        assert!(tokio::time::timeout(Duration::from_secs(60), idle.next()).await.is_err());

        let (out, _far) = channel();
        let requests = stream::iter([request(1)]).chain(stream::pending());
        let mut hung = Session::new(requests, out, stream::pending().boxed(), unchecked(), patience);
        assert_eq!(hung.next().await, Some(Err(PeerError::Unknown)));
        assert_eq!(hung.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_only_a_commit_is_quiet_and_nobody_waits_for_its_reply() {
        let with_entry = |index| pb::AppendRequest {
            entries: vec![pb::Entry { term: 1, index: index + 1, payload: None }],
            ..request(index)
        };
        // The first request of a session needs a reply, whatever it brings. So does a later empty
        // one.
        let requests = [request(4), request(4), with_entry(4), request(5), request(5), request(6), with_entry(6)];
        let (out, mut far) = channel();
        let requests = stream::iter(requests).chain(stream::pending());
        let (replies, answers) = mpsc::unbounded();
        let mut session = Session::new(requests, out, answers.boxed(), unchecked(), Duration::from_secs(1));
        let mut seen = Vec::new();
        for _ in 0..7 {
            let pump = tokio::time::timeout(Duration::from_millis(1), session.next());
            assert!(pump.await.is_err(), "no reply was sent");
            seen.push(far.next().await.unwrap().quiet);
        }
        assert_eq!(seen, [false, true, false, true, true, false, false]);
        // After four replies the session may idle without a limit.
        for _ in 0..4 {
            replies.unbounded_send(Ok(pb::AppendReply::default())).unwrap();
            assert_eq!(session.next().await, Some(Ok(pb::AppendReply::default())));
        }
        assert!(tokio::time::timeout(Duration::from_secs(60), session.next()).await.is_err());
        // A refusal may come even if no reply is due.
        let refusal = pb::AppendReply { conflict: Some(pb::LogId { term: 1, index: 2 }), ..Default::default() };
        replies.unbounded_send(Ok(refusal.clone())).unwrap();
        assert_eq!(session.next().await, Some(Ok(refusal)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_waited_for_no_longer_than_a_reply_and_comes_after_all_of_them() {
        let patience = Duration::from_secs(1);
        let (out, _far) = channel();
        let silent = stream::iter([Ok(pb::AppendReply::default())]).chain(stream::pending());
        let mut session = Session::new(stream::iter([request(1)]), out, silent.boxed(), unchecked(), patience);
        assert_eq!(session.next().await, Some(Ok(pb::AppendReply::default())));
        assert_eq!(session.next().await, Some(Err(PeerError::Unknown)), "the far end never closes");

        for (requests, pending) in [(2, false), (1, true)] {
            let (out, _far) = channel();
            let more = if pending { stream::pending().boxed() } else { stream::empty().boxed() };
            let requests = stream::iter((0..requests).map(request)).chain(more);
            let replies = stream::iter([Ok(pb::AppendReply::default())]);
            let mut session = Session::new(requests, out, replies.boxed(), unchecked(), patience);
            assert_eq!(session.next().await, Some(Ok(pb::AppendReply::default())));
            assert_eq!(session.next().await, Some(Err(PeerError::Unknown)), "it ends too early");
            assert_eq!(session.next().await, None);
        }
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
        let mut session = Session::new(requests, out, stream::pending().boxed(), unchecked(), Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_millis(1), session.next()).await.is_err());
        drop(session);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(far.count().await, QUEUED + 1);
    }
}
