//! A unary gRPC call with nothing between it and the HTTP/2 stream: the message is decoded from the
//! bytes that arrived, and the reply is one frame of data and its trailers. A large one is many
//! frames (`large`).
//!
//! What goes wrong with the framing is answered with the codes that gRPC libraries give it.

use super::large::Large;
use super::pieces::InPieces;
use super::reply::Reply;
use crate::metrics::CallMetrics;
use crate::outflow::{MOST, Share};
use crate::status::{received_too_large, sent_too_large};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Body;
use prost::Message;
use std::time::Duration;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Before every message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// How long a client may take to send the one message of a call: a stream that it opens and
/// abandons ends.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Answers one call; `limit` bounds its message. Not an `async fn`: what the call keeps while it
/// waits is what is taken apart here, and none of it twice.
pub(super) fn answer<B, T, U, F>(
    request: Request<B>,
    limit: usize,
    counted: CallMetrics,
    call: impl FnOnce(tonic::Request<T>) -> F,
) -> impl Future<Output = Response<Reply>>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
    T: Message + Default,
    U: InPieces,
    F: Future<Output = Result<tonic::Response<U>, Status>>,
{
    let (head, mut body) = request.into_parts();
    let (headers, extensions) = (head.headers, head.extensions);
    async move {
        let received = timeout(PATIENCE, receive(&mut body, limit)).await;
        let message = received.unwrap_or_else(|_| Err(abandoned())).and_then(decode);
        let called = match message {
            Ok(message) => {
                let metadata = MetadataMap::from_headers(headers);
                call(tonic::Request::from_parts(metadata, extensions, message)).await
            }
            Err(status) => Err(status),
        };
        let replied = match called {
            Ok(answer) => reply(answer).await,
            Err(status) => Err(status),
        };
        match replied {
            Ok(reply) => {
                counted.ended(Code::Ok);
                reply
            }
            Err(status) => {
                counted.ended(status.code());
                status.into_http()
            }
        }
    }
}

#[cold]
fn abandoned() -> Status {
    Status::deadline_exceeded("conclave: the message of the request did not arrive within a minute")
}

fn decode<T: Message + Default>(message: Bytes) -> Result<T, Status> {
    T::decode(message).map_err(|error| Status::internal(error.to_string()))
}

async fn reply<U: InPieces>(answer: tonic::Response<U>) -> Result<Response<Reply>, Status> {
    let (metadata, message, mut extensions) = answer.into_parts();
    let reply = match extensions.remove::<Share>() {
        Some(share) => {
            let prefix = prefix(share.size)?.to_vec().into();
            // On the heap, so that the future of a usual call has no room for it.
            Reply::large(prefix, Box::pin(Large::new(message, share)).await?)
        }
        None => {
            let length = message.encoded_len();
            let mut data = BytesMut::with_capacity(PREFIX + length);
            data.put_slice(&prefix(length)?);
            message.encode_raw(&mut data);
            Reply::message(data.freeze())
        }
    };
    let mut response = Response::new(reply);
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(response)
}

/// Of a message that is not compressed.
fn prefix(length: usize) -> Result<[u8; PREFIX], Status> {
    let size = u32::try_from(length).ok().filter(|_| length <= MOST).ok_or_else(|| sent_too_large(length, MOST))?;
    let [a, b, c, d] = size.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// The one message of a request. Usually it is all in the first frame, and is not copied.
async fn receive<B>(body: &mut B, limit: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
{
    let first = data(body).await?.ok_or_else(|| Status::internal("Missing request message."))?;
    let message = match end(&first, limit)? {
        Some(end) if end <= first.len() => first.slice(PREFIX..end),
        _ => gather(first, body, limit).await?,
    };
    // What else the client says makes no difference, but it must have said all before it gets the
    // answer.
    while !body.is_end_stream() && data(body).await?.is_some() {}
    Ok(message)
}

/// A message in several frames.
async fn gather<B>(first: Bytes, body: &mut B, limit: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
{
    let mut gathered = BytesMut::from(first);
    loop {
        if let Some(end) = end(&gathered, limit)? {
            if end <= gathered.len() {
                return Ok(gathered.freeze().slice(PREFIX..end));
            }
            gathered.reserve(end - gathered.len());
        }
        let more = data(body).await?.ok_or_else(|| Status::internal("Unexpected EOF decoding stream."))?;
        gathered.extend_from_slice(&more);
    }
}

/// The next bytes of a request, or nothing at its end.
async fn data<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Where the message ends, as soon as its prefix is there.
fn end(bytes: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::internal("a message is marked as compressed, and no grpc-encoding says how"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(received_too_large(length, limit));
    }
    Ok(Some(PREFIX + length))
}

#[cfg(test)]
#[path = "unary_tests.rs"]
mod tests;
