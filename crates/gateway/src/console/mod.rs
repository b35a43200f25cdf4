//! The web console: pages below `/ui/` that show the cluster, and change nothing.
//!
//! What a page looks like is the crate `conclave-console`; here its data is read, by the functions
//! that the services use, for who asks.
//!
//! 1. Only GET and HEAD are answered, and nothing that is asked here proposes a command.
//! 2. While users are on, each page runs in the name of a user whose password was checked
//!    ([`login`]), and is checked as the calls of gRPC that tell the same.
//! 3. A page reads this member's applied state, so that it works on a member that is cut off. It
//!    does so in a slot for long reads, beside the event loop, and never more than the bounds
//!    here and in the modules say.
//! 4. So many pages are made at a time ([`parts::Turns`]), and a page that takes too long is given
//!    up: the console can be slow, but what it is about stays as fast as it was.

mod cluster;
mod coordination;
mod ends;
mod found;
mod history;
mod keys;
mod login;
mod name;
pub(crate) mod parts;
mod query;
mod queue;
mod sessions;
#[cfg(test)]
mod tests;
mod times;

use crate::audit::Origin;
use crate::client::Client;
use crate::gateway::Gateway;
use crate::status::limited;
use bytes::Bytes;
use conclave_console::{Frame, assets, message};
use conclave_json::{Access, host_refused};
use conclave_state::KeyRange;
use conclave_state::auth::prefix_range;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use parts::Parts;
use query::Query;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

/// Entries of a list on one page.
const PAGE: usize = 100;

/// How long a page may take, its turn included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What must be readable for all that begins with a prefix to be shown. All keys are what etcd's
/// tools grant as such: from the least key on.
fn beginning(prefix: &[u8]) -> KeyRange {
    match prefix {
        [] => KeyRange { key: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\0") },
        _ => prefix_range(prefix),
    }
}

/// Whether a path is the console's.
pub(crate) fn is_of_it(path: &str) -> bool {
    path == "/ui" || path.starts_with("/ui/")
}

#[derive(Clone)]
pub(crate) struct Console {
    gateway: Arc<Gateway>,
    hosts: Arc<Access>,
}

type Page = Response<Full<Bytes>>;

impl Console {
    /// `None`: it is switched off.
    pub(crate) fn of(gateway: &Arc<Gateway>) -> Option<Console> {
        let config = &gateway.node.config;
        let hosts = || Arc::new(Access::new(&config.cors, &config.host_whitelist));
        gateway.console.as_ref().map(|_| Console { gateway: gateway.clone(), hosts: hosts() })
    }

    pub(crate) async fn respond(&self, method: &Method, uri: &Uri, headers: &HeaderMap, client: &Arc<Client>) -> Page {
        let mut answer = self.answer(method, uri, headers, client).await;
        if *method == Method::HEAD {
            *answer.body_mut() = Full::default();
        }
        let fixed = [
            (CONTENT_SECURITY_POLICY, assets::POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        for (name, value) in fixed {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, client: &Arc<Client>) -> Page {
        let host = uri.authority().map(http::uri::Authority::as_str);
        let host = host.or_else(|| headers.get(HOST)?.to_str().ok()).unwrap_or_default();
        if !self.hosts.serves(host) {
            return plain(StatusCode::MISDIRECTED_REQUEST, host_refused(host));
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            return with(refused, ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        let Some(name) = uri.path().strip_prefix("/ui/") else {
            let moved = plain(StatusCode::PERMANENT_REDIRECT, "ui/\n");
            return with(moved, LOCATION, HeaderValue::from_static("ui/"));
        };
        if let Some(asset) = assets::find(name) {
            return content(StatusCode::OK, asset.content_type, Bytes::from_static(asset.body));
        }
        let Some(parts) = &self.gateway.console else { return plain(StatusCode::NOT_FOUND, "404 page not found\n") };
        if let Some(budget) = &client.budget
            && let Err(exceeded) = budget.request()
        {
            return failed(&limited(exceeded));
        }
        let query = Query::parse(uri.query().unwrap_or_default());
        let origin = Origin::new(&self.gateway.audit, client, uri.path());
        let call = tokio::time::timeout(PATIENCE, self.in_name(parts, name, &query, headers));
        let answered = origin.run(call, |answer| answer.as_ref().ok()?.as_ref().err().cloned()).await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) if status.code() == Code::PermissionDenied => {
                let sentence = "The user who is logged in has no right to see this.";
                content(StatusCode::FORBIDDEN, HTML, message::message(&self.frame(None), "Not allowed", sentence))
            }
            Ok(Err(status)) => failed(&status),
            Err(_) => failed(&Status::unavailable("conclave: the page took too long; the member is busy")),
        }
    }

    /// In the name of who asks. An error is one of the login.
    async fn in_name(&self, parts: &Parts, name: &str, query: &Query, headers: &HeaderMap) -> Result<Page, Status> {
        let access = &self.gateway.access;
        if !access.is_on() {
            return self.page(parts, name, query, None).await;
        }
        let login = parts.logins.login(access, headers.get(AUTHORIZATION)).await?;
        let page = self.page(parts, name, query, Some(login.user.clone()));
        access.run_as(login.clone(), page).await?
    }

    /// What is denied is an error, so that it is recorded.
    async fn page(&self, parts: &Parts, name: &str, query: &Query, user: Option<String>) -> Result<Page, Status> {
        let _turn = parts.turns.turn().await?;
        let frame = self.frame(user);
        let (gateway, times) = (&*self.gateway, &parts.times);
        let made = match name {
            "" => cluster::page(gateway, &frame).await,
            "coordination" => coordination::page(gateway, times, &frame, query).await,
            "name" => name::page(gateway, times, &frame, query).await,
            "sessions" => sessions::list(gateway, &frame, query).await,
            "session" => sessions::one(gateway, &frame, query).await,
            "keys" => keys::tree(gateway, times, &frame, query).await,
            "key" => keys::one(gateway, times, &frame, query).await,
            _ => Err(Status::not_found("there is no such page")),
        };
        let (status, page) = match made {
            Ok(page) => (StatusCode::OK, page),
            Err(status) => match heading(&status) {
                None => return Err(status),
                Some((code, heading)) => (code, message::message(&frame, heading, status.message())),
            },
        };
        Ok(content(status, HTML, page))
    }

    fn frame(&self, user: Option<String>) -> Frame {
        let node = &self.gateway.node;
        Frame {
            member: node.identity.name.clone(),
            cluster_id: node.identity.cluster_id,
            version: env!("CARGO_PKG_VERSION"),
            user,
            is_led: node.leadership.is_led(),
            revision: node.state.revision(),
        }
    }
}

const HTML: &str = "text/html; charset=utf-8";

/// What is wrong with the question is said on a page.
fn heading(status: &Status) -> Option<(StatusCode, &'static str)> {
    match status.code() {
        Code::NotFound => Some((StatusCode::NOT_FOUND, "Not found")),
        Code::InvalidArgument | Code::OutOfRange => Some((StatusCode::BAD_REQUEST, "This cannot be shown")),
        _ => None,
    }
}

/// What else failed is said in plain words.
fn failed(status: &Status) -> Page {
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let answer = plain(code, format!("{}\n", status.message()));
    match code {
        StatusCode::UNAUTHORIZED => with(answer, WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE)),
        _ => answer,
    }
}

const CHALLENGE: &str = "Basic realm=\"Conclave\", charset=\"UTF-8\"";

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Page {
    content(status, "text/plain; charset=utf-8", text)
}

fn content(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Page {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, HeaderValue::from_static(content_type))
}

fn with(mut answer: Page, name: HeaderName, value: HeaderValue) -> Page {
    answer.headers_mut().insert(name, value);
    answer
}
