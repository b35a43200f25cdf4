//! What is asked on a client address without gRPC: the JSON gateway, the web console, and the pages.
//!
//! As in etcd, all of it is under `--host-whitelist` and `--cors` ([`Access`]). Neither concerns
//! gRPC. The console is for no page but its own, whatever `--cors` says.
//!
//! A connection is in use until the last byte of the answer: HTTP/1 has no streams that would tell
//! it.

use super::json::{Json, Takeover, websocket};
use super::reply::Reply;
use crate::client::Client;
use crate::console::{self, Console};
use crate::http::{PageBody, Pages};
use conclave_json::{Access, host_refused};
use conclave_net::admission::Activity;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HOST,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;

pub(super) struct Plain {
    access: Access,
    /// `None`: switched off.
    json: Option<Arc<Json>>,
    /// `None`: switched off.
    console: Option<Console>,
    pages: Pages,
}

/// What a request may do with its connection.
#[derive(Clone)]
pub(super) struct On {
    pub(super) activity: Activity,
    pub(super) takeover: Takeover,
    pub(super) client: Arc<Client>,
}

impl Plain {
    pub(super) fn new(access: Access, json: Option<Json>, console: Option<Console>, pages: Pages) -> Plain {
        Plain { access, json: json.map(Arc::new), console, pages }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, on: &On) -> Response<Reply> {
        let busy = on.activity.begin();
        let host = host(&request);
        if !self.access.serves(host) {
            return text(StatusCode::MISDIRECTED_REQUEST, host_refused(host));
        }
        if let Some(console) = self.console.as_ref().filter(|_| console::is_of_it(request.uri().path())) {
            let answer = console.respond(request.method(), request.uri(), request.headers(), &on.client).await;
            return answer.map(|page| Reply::page(page).holding(busy));
        }
        let asks = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let origin = self.access.origin(asks).and_then(|origin| HeaderValue::from_str(origin).ok());
        if let Some(json) = &self.json
            && websocket::is_asked(&request)
            && let Some(found) = conclave_json::find(request.uri().path())
        {
            return match asks.is_none() || origin.is_some() {
                true => websocket::open(json.clone(), found, request, busy, &on.takeover),
                false => text(StatusCode::FORBIDDEN, "this origin is not one of --cors\n".to_owned()),
            };
        }
        let mut response = match *request.method() {
            Method::OPTIONS => Response::new(Reply::default()),
            _ => self.serve(request).await,
        };
        if let Some(origin) = origin {
            allow(response.headers_mut(), origin);
        }
        response.map(|reply| reply.holding(busy))
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Reply> {
        if let Some(json) = &self.json
            && let Some(found) = conclave_json::find(request.uri().path())
        {
            return json.answer(found, request).await;
        }
        self.pages.respond(request.method(), request.uri(), request.headers()).await.map(Reply::page)
    }
}

/// The name under which the server was asked.
fn host<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

fn text(status: StatusCode, text: String) -> Response<Reply> {
    let mut response = Response::new(Reply::page(PageBody::new(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// As etcd has it, on every answer.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    if origin != "*" {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
}
