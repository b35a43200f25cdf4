//! A stream over a websocket, as etcd's gateway has it: each message of the client is a request,
//! each answer a message of text.
//!
//! 1. The connection stays in its own task and keeps its place among the connections: HTTP ends on
//!    it, and what is left in [`Takeover`] goes on there.
//! 2. The end of the socket is the end of the call.
//! 3. A page may open a socket to any server, whatever `--cors` says to others. So the origin is
//!    checked here.

use super::{Json, refused};
use crate::serve::reply::Reply;
use bytes::Bytes;
use conclave_json::{Failure, Found, Method};
use conclave_net::admission::Busy;
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt, stream};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

/// Requests that have arrived and are not taken.
const AHEAD: usize = 16;

/// What goes on with a connection when HTTP has ended on it.
#[derive(Clone, Default)]
pub(crate) struct Takeover(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Takeover {
    pub(crate) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().take()
    }
}

/// Whether a request asks for a websocket.
pub(crate) fn is_asked<B>(request: &Request<B>) -> bool {
    let is_websocket = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    request.version() == Version::HTTP_11 && request.headers().get(UPGRADE).is_some_and(is_websocket)
}

/// Switches the connection of a request to a websocket.
pub(crate) fn open(
    json: Arc<Json>,
    found: Found,
    mut request: Request<Incoming>,
    busy: Busy,
    takeover: &Takeover,
) -> Response<Reply> {
    let method = match found {
        Found::Method(method) if method.server_streams => method,
        _ => return refused(&Failure::new(Failure::NOT_FOUND, "conclave: only streams have websockets")),
    };
    let version = request.headers().get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| version);
    let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let Some(accept) = accept else {
        return refused(&Failure::new(Failure::INVALID_ARGUMENT, "conclave: a websocket of version 13 needs its key"));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let call = request.map(drop);
    *takeover.0.lock() = Some(Box::pin(async move {
        let _busy = busy;
        serve(&json, method, call, upgraded).await;
    }));
    let mut response = Response::new(Reply::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Until the client closes the socket, or the call has ended.
async fn serve(json: &Json, method: &'static Method, call: Request<()>, upgraded: OnUpgrade) {
    let Ok(upgraded) = upgraded.await else { return };
    let limit = json.max_body();
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let (requests, body) = mpsc::channel::<Bytes>(AHEAD);
    let mut requests = Some(requests);
    let mut answers = Box::pin(answers(json, method, call, body));
    loop {
        // A message is read when there is room for it.
        let message = async {
            if let Some(requests) = &requests {
                drop(requests.reserve().await);
            }
            source.next().await
        };
        tokio::select! {
            answer = answers.next() => {
                let Some(line) = answer else { break };
                let Ok(text) = String::from_utf8(line.trim_ascii_end().to_vec()) else { break };
                if sink.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            message = message => {
                let request = match message {
                    Some(Ok(Message::Text(text))) => Bytes::from(text),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                if let Some(requests) = &requests {
                    // It fails if the call takes no more requests.
                    let _ = requests.try_send([&request[..], b"\n"].concat().into());
                }
                if !method.client_streams {
                    requests = None;
                }
            }
        }
    }
    // The client may be gone already.
    let _ = sink.close().await;
}

/// The lines that answer the requests.
fn answers(
    json: &Json,
    method: &'static Method,
    call: Request<()>,
    requests: mpsc::Receiver<Bytes>,
) -> impl futures::Stream<Item = Bytes> {
    let body = stream::unfold(requests, |mut requests| async move {
        let request = requests.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(request)), requests))
    });
    let mut call = call.map(|()| StreamBody::new(body.boxed()));
    *call.method_mut() = http::Method::POST;
    stream::once(json.answer(Found::Method(method), call)).flat_map(|response| {
        let frames = BodyStream::new(response.into_body());
        frames.filter_map(|frame| std::future::ready(frame.ok().and_then(|frame| frame.into_data().ok())))
    })
}
