//! The body of a request: JSON, that becomes the messages of a call.
//!
//! 1. A body, or one value of a stream, has at most `limit` bytes.
//! 2. A client has [`PATIENCE`] for the body of a unary call, and for the first value of a stream.
//!    A stream may rest after that.
//! 3. The end of the body is the end of the requests, and no reason to end the answers.

use super::{Cause, LONG, failure, internal};
use bytes::{Bytes, BytesMut};
use conclave_json::{Failure, Form, Method, Values, framed};
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Frame};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

/// For a request to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Requests<B> {
    body: B,
    method: &'static Method,
    form: Form,
    limit: usize,
    values: Values,
}

impl<B> Requests<B>
where
    B: HttpBody<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
{
    pub(super) fn new(body: B, method: &'static Method, form: Form, limit: usize) -> Requests<B> {
        Requests { body, method, form, limit, values: Values::new(limit) }
    }

    /// The message of a unary call, framed for gRPC.
    pub(super) async fn only(mut self) -> Result<Bytes, Failure> {
        let json = in_time(self.whole()).await?;
        self.message(json).await
    }

    /// The messages of a stream, of which the first has arrived.
    pub(super) async fn stream(mut self) -> Result<Body, Failure> {
        let first = match in_time(self.value()).await? {
            Some(json) => self.message(json).await?,
            None => return Err(invalid("conclave: the body has no request")),
        };
        let rest = stream::try_unfold(self, |mut requests| async move {
            let Some(json) = requests.value().await.map_err(status)? else { return Ok(None) };
            let message = requests.message(json).await.map_err(status)?;
            Ok(Some((Frame::data(message), requests)))
        });
        let first = stream::once(async move { Ok::<_, Status>(Frame::data(first)) });
        Ok(Body::new(StreamBody::new(futures::StreamExt::chain(first, rest))))
    }

    // `&mut`: it waits, and nobody shares a body.
    async fn message(&mut self, json: Bytes) -> Result<Bytes, Failure> {
        let (method, form) = (self.method, self.form);
        let read = match json.len() > LONG {
            false => method.request(&json, form),
            true => spawn_blocking(move || method.request(&json, form)).await.map_err(internal)?,
        };
        framed(&read.map_err(invalid)?).ok_or_else(|| self.too_large())
    }

    async fn whole(&mut self) -> Result<Bytes, Failure> {
        // Said before it is sent: a client that waits for `100 Continue` sends nothing then.
        if self.body.size_hint().lower() > self.limit as u64 {
            return Err(self.too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(data) = self.data().await? {
            if whole.len() + data.len() > self.limit {
                return Err(self.too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// The next value of a stream; `None` at the end of the body.
    async fn value(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(value) = self.values.take().map_err(|_| self.too_large())? {
                return Ok(Some(value));
            }
            match self.data().await? {
                Some(data) => self.values.push(&data),
                None => return Ok(self.values.rest()),
            }
        }
    }

    async fn data(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| failure(Status::from_error(error.into())))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn too_large(&self) -> Failure {
        let limit = self.limit;
        Failure::new(Failure::RESOURCE_EXHAUSTED, format!("conclave: the body of a request may have {limit} bytes"))
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || {
        let seconds = PATIENCE.as_secs();
        let text = format!("conclave: the request did not arrive within {seconds} seconds");
        Failure::new(Failure::DEADLINE_EXCEEDED, text)
    };
    timeout(PATIENCE, request).await.unwrap_or_else(|_| Err(late()))
}

fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(Failure::INVALID_ARGUMENT, text)
}

fn status(failure: Failure) -> Status {
    Status::new(Code::from(failure.code), failure.message)
}
