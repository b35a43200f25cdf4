//! A response that ends at its client's deadline, wherever it has come to.
//!
//! The head of a response comes before the deadline, or the call fails with its status. What
//! follows the head (the messages of a stream, the pieces of a large message) is under the same
//! deadline: the client has given up by then, and what is held for it is let go. gRPC says so in
//! trailers, a stream of JSON in its last line; a page that is cut off has no other word than a
//! broken stream.

use super::json::failure;
use crate::status::text;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

#[derive(Debug)]
pub(super) struct Timed<B> {
    pub(super) rest: B,
    end: Pin<Box<Sleep>>,
}

/// How a response says that it is cut off.
pub(super) enum Last {
    Trailers,
    Line,
    Broken,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Timed<B> {
    pub(super) fn new(rest: B, deadline: Instant) -> Self {
        Timed { rest, end: Box::pin(sleep_until(deadline)) }
    }

    /// The next frame; `None` when the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Polled> {
        match self.end.as_mut().poll(cx) {
            Poll::Pending => Some(Pin::new(&mut self.rest).poll_frame(cx)),
            Poll::Ready(()) => None,
        }
    }
}

impl Last {
    /// What a response ends with whose deadline has passed.
    pub(super) fn frame(self) -> Result<Frame<Bytes>, Status> {
        let late: Status = text::DEADLINE_EXCEEDED.into();
        match self {
            Last::Trailers => {
                let mut trailers = HeaderMap::with_capacity(2);
                late.add_header(&mut trailers)?;
                Ok(Frame::trailers(trailers))
            }
            Last::Line => Ok(Frame::data(failure(late).line().into())),
            Last::Broken => Err(late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::GrpcMetrics;
    use crate::outflow::{Measured, Outflow};
    use crate::serve::large::Large;
    use crate::serve::reply::Reply;
    use conclave_api::etcdserverpb::RangeResponse;
    use conclave_api::mvccpb::KeyValue;
    use http_body_util::{BodyExt, StreamBody};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(250)
    }

    fn endless() -> Reply {
        let frames = futures::stream::pending::<Result<Frame<Bytes>, Status>>();
        let body = tonic::body::Body::new(StreamBody::new(frames));
        let metrics = GrpcMetrics::default();
        Reply::routed(metrics.method("/a/b").begin(None).body(body))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_the_deadline_with_its_status() {
        let deadline = soon();
        let mut stream = endless().until(deadline);
        let frame = stream.frame().await.expect("it says why").expect("in trailers");
        assert_eq!(Instant::now(), deadline);
        let trailers = frame.into_trailers().expect("no data comes");
        assert_eq!(trailers["grpc-status"], "4");
        assert_eq!(trailers["grpc-message"], "context%20deadline%20exceeded");
        assert!(stream.frame().await.is_none() && stream.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_before_the_deadline_is_as_it_was() {
        let collected = Reply::message(Bytes::from_static(b"m")).until(soon()).collect().await.expect("it is whole");
        assert_eq!(collected.trailers().expect("its own")["grpc-status"], "0");
        let outflow = Outflow::with_budget(6 << 20);
        let whole = Reply::large(Bytes::from_static(b"p"), large(&outflow).await).until(soon()).collect().await;
        let whole = whole.expect("it is whole");
        assert_eq!(whole.trailers().expect("its own")["grpc-status"], "0");
        assert!(whole.to_bytes().len() > 4 << 20);
    }

    async fn large(outflow: &Outflow) -> Large {
        let kv = KeyValue { value: vec![7; 1 << 20].into(), ..Default::default() };
        let made = Measured::new(RangeResponse { kvs: vec![kv; 4], ..Default::default() });
        let (_, message, mut extensions) = outflow.admit(made).await.expect("not refused").into_parts();
        Large::new(message, extensions.remove().expect("it is large")).await.expect("no panic")
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_is_cut_off_at_the_deadline_and_its_share_is_free() {
        let outflow = Outflow::with_budget(6 << 20);
        let deadline = soon();
        let mut reply = Reply::large(Bytes::from_static(b"p"), large(&outflow).await).until(deadline);
        for _ in 0..2 {
            assert!(reply.frame().await.expect("a frame").expect("in time").is_data());
        }
        // Nobody takes the rest, and nobody asks for it.
        let next = tokio::time::timeout_at(deadline + Duration::from_millis(1), large(&outflow)).await;
        drop(next.expect("the share was given back at the deadline, not after a minute"));
        let frame = reply.frame().await.expect("it says why").expect("in trailers");
        assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], "4");
        assert!(reply.frame().await.is_none());
    }
}
