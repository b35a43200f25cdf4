//! The answers of a stream, each a line of JSON.
//!
//! 1. One answer is one piece of the body, with its newline, and leaves at once: clients read line
//!    by line, and some piece by piece.
//! 2. The head of the response waits for the first answer. So a call that is refused has the status
//!    of HTTP that says so.
//! 3. What ends the stream with an error is its last line.

use super::failure::{failure, internal};
use super::{Routed, ended};
use bytes::Bytes;
use conclave_json::{Failure, Form, Frames, Method};
use conclave_net::admission::Busy;
use hyper::body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(crate) struct Lines {
    method: &'static Method,
    form: Form,
    frames: Frames,
    /// `None`: it has ended.
    body: Option<Routed>,
    /// A line that is not sent yet.
    first: Option<Bytes>,
    /// Their connection is in use.
    busy: Option<Busy>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// The answers, when the first is there; why there are none.
    pub(super) async fn begin(method: &'static Method, form: Form, body: Routed) -> Result<Lines, Failure> {
        let mut lines = Lines { method, form, frames: Frames::default(), body: Some(body), first: None, busy: None };
        if let Some(first) = poll_fn(|cx| lines.poll_answer(cx)).await {
            lines.first = Some(first?);
        }
        Ok(lines)
    }

    pub(crate) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// The next line to send; `None` at the end.
    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let answer = ready!(self.poll_answer(cx));
        Poll::Ready(answer.map(|answer| answer.unwrap_or_else(|failure| failure.line().into())))
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            if let Some(message) = self.frames.take() {
                let line = self.method.line(message, self.form).whole();
                return Poll::Ready(Some(match line {
                    Ok(line) => Ok(line.into()),
                    Err(_) => {
                        self.body = None;
                        Err(internal("an answer that cannot be written as JSON"))
                    }
                }));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let failed = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.frames.push(data);
                        continue;
                    }
                    Err(frame) => frame.trailers_ref().and_then(ended).and_then(Result::err),
                },
                Some(Err(status)) => Some(failure(status)),
                None => None,
            };
            self.body = None;
            return Poll::Ready(failed.map(Err));
        }
    }
}
