//! The JSON gateway: a request with JSON becomes a call of the gRPC service with the same method,
//! inside this process.
//!
//! 1. A call goes through tonic's router, with its limits and its counters. So JSON has no code in
//!    any service, and the calls of gRPC have no code for JSON.
//! 2. A call lives in the future of its answer, and a stream in the body of its answer. A
//!    connection that ends drops both: a place in a line that was asked for is given back, a watch
//!    ends.
//! 3. The body of a request has a bound in bytes ([`requests`]) and in time, a large answer its
//!    share of the budget for large responses, as with gRPC.

mod failure;
mod lines;
mod requests;
pub(super) mod websocket;

use super::gate::Gate;
use super::large::Large;
use super::reply::Reply;
use crate::audit::{Audit, Origin};
use crate::auth::{Access, ON_BEHALF_OF_JSON};
use crate::client::Client;
use crate::deadline;
use crate::http::PageBody;
use crate::metrics::{CountedBody, GrpcMetricsService};
use crate::outflow::Share;
use crate::status::{limited, received};
use bytes::Bytes;
use conclave_json::{Failure, Form, Found, Frames, Method, OPENAPI_PATH, Pieces, openapi};
pub(super) use failure::failure;
use failure::internal;
use http::header::{CONTENT_TYPE, TE, X_CONTENT_TYPE_OPTIONS};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as HttpBody;
pub(super) use lines::Lines;
use requests::Requests;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
pub(super) use websocket::Takeover;

/// JSON of more bytes than this is read and written beside the event loop.
const LONG: usize = 256 << 10;

/// The body of an answer of the router.
type Routed = CountedBody<Body>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Json {
    routes: GrpcMetricsService<Routes>,
    /// Of the message of one request.
    max_message: usize,
    access: Option<Access>,
    gate: Gate,
    audit: Audit,
}

impl Json {
    pub(super) fn new(routes: GrpcMetricsService<Routes>, max_message: usize, access: Option<Access>) -> Json {
        Json { routes, max_message, access, gate: Gate::default(), audit: Audit::default() }
    }

    pub(super) fn behind(self, gate: Gate) -> Json {
        Json { gate, ..self }
    }

    pub(super) fn recorded(self, audit: Audit) -> Json {
        Json { audit, ..self }
    }

    /// The most bytes of one request as JSON. Base64 is a third longer than its bytes, and small
    /// operations have names that are longer than they are.
    fn max_body(&self) -> usize {
        self.max_message.saturating_mul(4)
    }

    /// The answer to a request for something below the gateway's prefixes.
    pub(super) async fn answer<B>(&self, found: Found, request: Request<B>) -> Response<Reply>
    where
        B: HttpBody<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
    {
        let method = match found {
            Found::Unknown if request.method() == http::Method::GET && request.uri().path() == OPENAPI_PATH => {
                return answered(StatusCode::OK, Reply::page(PageBody::new(openapi())));
            }
            Found::Unknown => return refused(&Failure::new(Failure::NOT_FOUND, "Not Found")),
            Found::Method(_) if request.method() != http::Method::POST => {
                return refused(&Failure::new(Failure::UNIMPLEMENTED, "Method Not Allowed"));
            }
            Found::Method(method) => method,
        };
        let deadline = deadline::of(request.headers());
        let answer = self.call(method, request);
        let answered = match deadline {
            None => answer.await,
            Some(deadline) => match deadline::within(deadline, answer).await {
                Ok(answer) => answer.map(|answer| answer.map(|reply| reply.until(deadline))),
                Err(status) => Err(failure(status)),
            },
        };
        answered.unwrap_or_else(|failure| refused(&failure))
    }

    async fn call<B>(&self, method: &'static Method, request: Request<B>) -> Result<Response<Reply>, Failure>
    where
        B: HttpBody<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
    {
        if let Some(refusal) = self.gate.refusal(&method.path) {
            return Err(failure(refusal));
        }
        let (head, body) = request.into_parts();
        let form = form(&head.uri);
        let requests = Requests::new(body, method, form, self.max_body());
        let body = match method.client_streams {
            false => Body::new(Full::new(requests.only().await?)),
            true => requests.stream().await?,
        };
        let call = grpc_request(method, &head.headers, body).map_err(failure)?;
        let client = head.extensions.get::<Arc<Client>>();
        if let Some(budget) = client.and_then(|client| client.budget.as_ref()) {
            budget.request().map_err(|exceeded| failure(limited(exceeded)))?;
        }
        let response = match client.filter(|client| self.audit.is_on() || client.limits.is_on()) {
            None => self.route(method, call).await,
            Some(client) => {
                let origin = Origin::new(&self.audit, client, &method.path);
                let failure = |answer: &Result<Response<Routed>, Status>| match answer {
                    Ok(response) => Status::from_header_map(response.headers()),
                    Err(status) => Some(status.clone()),
                };
                origin.run(self.route(method, call), failure).await
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(status) if method.server_streams => return Ok(refused_stream(&failure(status))),
            Err(status) => return Err(failure(status)),
        };
        let (head, body) = response.into_parts();
        match (ended(&head.headers), method.server_streams) {
            (Some(Err(failure)), false) => Err(failure),
            (Some(Err(failure)), true) => Ok(refused_stream(&failure)),
            (_, false) => unary(method, form, head.extensions, body).await,
            (_, true) => Ok(match Lines::begin(method, form, body).await {
                Ok(lines) => answered(StatusCode::OK, Reply::lines(lines)),
                Err(failure) => refused_stream(&failure),
            }),
        }
    }

    /// Calls the service, in the name of who asks, if that may be.
    async fn route(&self, method: &'static Method, call: Request<Body>) -> Result<Response<Routed>, Status> {
        let headers = call.headers().clone();
        let routed = async { self.routes.clone().call(call).await };
        let routed = match self.access.as_ref().filter(|access| access.is_on()) {
            None => routed.await,
            Some(access) => access.run(&method.path, &headers, None, routed).await?,
        };
        match routed {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

/// `?utf8=true` asks for text instead of base64.
fn form(uri: &Uri) -> Form {
    let asked = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "utf8=true"));
    if asked { Form::Text } else { Form::Base64 }
}

/// What of a request's metadata the services look at. A field may have the prefix that grpc-gateway
/// demands.
const PASSED: [&str; 3] = ["authorization", "hasleader", "token"];
const PREFIX: &str = "grpc-metadata-";

fn grpc_request(method: &'static Method, headers: &HeaderMap, body: Body) -> Result<Request<Body>, Status> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = method.path.parse().map_err(|error| Status::internal(format!("{error}")))?;
    let into = request.headers_mut();
    into.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    into.insert(TE, HeaderValue::from_static("trailers"));
    // As grpc-gateway tells who asks: a certificate of the connection is no user here.
    into.insert(ON_BEHALF_OF_JSON, HeaderValue::from_static("*/*"));
    if let Some(timeout) = headers.get("grpc-timeout") {
        into.insert("grpc-timeout", timeout.clone());
    }
    for name in PASSED {
        if let Some(value) = headers.get(format!("{PREFIX}{name}")).or_else(|| headers.get(name)) {
            into.insert(HeaderName::from_static(name), value.clone());
        }
    }
    Ok(request)
}

/// How a call ended, if these headers or trailers tell it.
fn ended(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let status = Status::from_header_map(headers)?;
    Some(if status.code() == Code::Ok { Ok(()) } else { Err(failure(received(status))) })
}

/// The answer of a unary call.
async fn unary(
    method: &'static Method,
    form: Form,
    mut extensions: Extensions,
    body: Routed,
) -> Result<Response<Reply>, Failure> {
    let share = extensions.remove::<Share>();
    let message = match share.is_some() {
        false => message(body).await?,
        // It is encoded while it is read, all at once.
        true => {
            let runtime = Handle::current();
            spawn_blocking(move || runtime.block_on(message(body))).await.map_err(internal)??
        }
    };
    let length = message.len();
    let pieces = method.response(message, form);
    let reply = match share {
        Some(share) => Reply::large_page(Large::of(move || parts(pieces), share).await.map_err(failure)?),
        None => {
            let written = match length > LONG {
                false => pieces.whole(),
                true => spawn_blocking(move || pieces.whole()).await.map_err(internal)?,
            };
            let written = written.map_err(|_| internal("an answer that cannot be read"))?;
            Reply::page(PageBody::new(written.into()))
        }
    };
    Ok(answered(StatusCode::OK, reply))
}

/// The only message of a body.
async fn message(mut body: Routed) -> Result<Bytes, Failure> {
    let mut frames = Frames::default();
    while let Some(frame) = body.frame().await {
        match frame.map_err(failure)?.into_data() {
            Ok(data) => frames.push(data),
            Err(frame) => frame.trailers_ref().and_then(ended).unwrap_or(Ok(()))?,
        }
    }
    frames.take().ok_or_else(|| internal("a call without an answer"))
}

/// The parts of a large answer, encoded when the connection has room for them.
fn parts(pieces: Pieces) -> super::pieces::Pieces {
    Box::new(pieces.map_while(|piece| {
        piece.inspect_err(|_| tracing::error!("an answer that cannot be written as JSON was cut off")).ok()
    }))
}

/// An answer with JSON.
fn answered(status: StatusCode, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::OK {
        headers.insert("grpc-metadata-content-type", HeaderValue::from_static("application/grpc"));
    }
    response
}

fn refused(failure: &Failure) -> Response<Reply> {
    answered(status(failure), Reply::page(PageBody::new(failure.body().into())))
}

/// The same for a stream that has not begun.
fn refused_stream(failure: &Failure) -> Response<Reply> {
    answered(status(failure), Reply::page(PageBody::new(failure.line().into())))
}

fn status(failure: &Failure) -> StatusCode {
    StatusCode::from_u16(failure.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests;
