//! The body of every response on a client address.

use super::json::Lines;
use super::large::Large;
use super::timed::{Last, Timed};
use crate::gateway::Gateway;
use crate::http::PageBody;
use crate::metrics::CountedBody;
use crate::service::etcd::watch::WatchBody;
use bytes::Bytes;
use conclave_net::admission::Busy;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tonic::Status;

#[derive(Debug, Default)]
pub(super) struct Reply(Part);

/// What is left to send.
#[derive(Debug, Default)]
enum Part {
    /// The message of a unary call that went well, and then its trailers.
    Message(Bytes),
    /// The same for a large one: the beginning, and what follows in pieces.
    Large(Bytes, Box<Large>),
    Trailers,
    #[default]
    Nothing,
    Watch(CountedBody<WatchBody<Gateway>>),
    Routed(CountedBody<tonic::body::Body>),
    Page(PageBody),
    /// A large page in pieces, and that its connection is in use.
    LargePage(Box<Large>, Option<Busy>),
    Lines(Box<Lines>),
    /// Any of those that take time, up to its client's deadline.
    Timed(Box<Timed<Reply>>),
}

impl Reply {
    pub(super) fn message(data: Bytes) -> Reply {
        Reply(Part::Message(data))
    }

    pub(super) fn large(prefix: Bytes, rest: Large) -> Reply {
        Reply(Part::Large(prefix, Box::new(rest)))
    }

    pub(super) fn watch(body: CountedBody<WatchBody<Gateway>>) -> Reply {
        Reply(Part::Watch(body))
    }

    pub(super) fn routed(body: CountedBody<tonic::body::Body>) -> Reply {
        Reply(Part::Routed(body))
    }

    pub(super) fn page(body: PageBody) -> Reply {
        Reply(Part::Page(body))
    }

    pub(super) fn large_page(body: Large) -> Reply {
        Reply(Part::LargePage(Box::new(body), None))
    }

    pub(super) fn lines(body: Lines) -> Reply {
        Reply(Part::Lines(Box::new(body)))
    }

    /// The same, which ends at the moment up to which its client waits.
    pub(super) fn until(mut self, deadline: Instant) -> Reply {
        if matches!(self.0, Part::Message(_) | Part::Trailers | Part::Nothing | Part::Page(_)) {
            // It is there as a whole.
            return self;
        }
        if let Part::Large(_, rest) | Part::LargePage(rest, _) = &mut self.0 {
            rest.end_at(deadline);
        }
        Reply(Part::Timed(Box::new(Timed::new(self, deadline))))
    }

    /// How it says that it is cut off.
    pub(super) fn last(&self) -> Last {
        match &self.0 {
            Part::Lines(_) => Last::Line,
            Part::Page(_) | Part::LargePage(..) => Last::Broken,
            _ => Last::Trailers,
        }
    }

    /// The same, with the message of a usual answer as `count` gives it back.
    pub(super) fn counted(mut self, count: impl FnOnce(Bytes) -> Bytes) -> Reply {
        if let Part::Message(data) = &mut self.0 {
            *data = count(std::mem::take(data));
        }
        self
    }

    /// The same, with a connection that is in use until it is sent.
    pub(super) fn holding(mut self, busy: Busy) -> Reply {
        match &mut self.0 {
            Part::LargePage(_, slot) => *slot = Some(busy),
            Part::Lines(lines) => lines.hold(busy),
            Part::Timed(timed) => timed.rest = std::mem::take(&mut timed.rest).holding(busy),
            // What is in memory as a whole.
            _ => {}
        }
        self
    }
}

fn all_went_well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let part = &mut self.get_mut().0;
        match part {
            Part::Message(data) => {
                let data = std::mem::take(data);
                *part = Part::Trailers;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Part::Large(prefix, _) if !prefix.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(prefix))))),
            Part::Large(_, rest) => match rest.next() {
                Some(piece) => Poll::Ready(Some(piece.map(Frame::data))),
                None => {
                    *part = Part::Nothing;
                    Poll::Ready(Some(Ok(Frame::trailers(all_went_well()))))
                }
            },
            Part::Trailers => {
                *part = Part::Nothing;
                Poll::Ready(Some(Ok(Frame::trailers(all_went_well()))))
            }
            Part::Nothing => Poll::Ready(None),
            Part::Watch(body) => Pin::new(body).poll_frame(cx),
            Part::Routed(body) => Pin::new(body).poll_frame(cx),
            Part::Page(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Part::LargePage(page, _) => match page.next() {
                Some(piece) => Poll::Ready(Some(piece.map(Frame::data))),
                None => {
                    *part = Part::Nothing;
                    Poll::Ready(None)
                }
            },
            Part::Lines(lines) => Poll::Ready(ready!(lines.poll_line(cx)).map(|line| Ok(Frame::data(line)))),
            Part::Timed(timed) => match timed.poll(cx) {
                Some(polled) => polled,
                None => {
                    let last = timed.rest.last().frame();
                    *part = Part::Nothing;
                    Poll::Ready(Some(last))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Part::Message(_) | Part::Large(..) | Part::Trailers | Part::LargePage(..) | Part::Lines(_) => false,
            Part::Nothing => true,
            Part::Timed(timed) => timed.rest.is_end_stream(),
            Part::Watch(body) => body.is_end_stream(),
            Part::Routed(body) => body.is_end_stream(),
            Part::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Part::Message(_) | Part::Large(..) | Part::Trailers | Part::Watch(_) => SizeHint::default(),
            Part::LargePage(..) | Part::Lines(_) | Part::Timed(_) => SizeHint::default(),
            Part::Nothing => SizeHint::with_exact(0),
            Part::Routed(body) => body.size_hint(),
            Part::Page(body) => body.size_hint(),
        }
    }
}
