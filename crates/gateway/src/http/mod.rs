//! The plain HTTP pages: `/metrics`, `/health`, `/livez`, `/readyz`, `/status`, `/version`.
//!
//! [`Pages`] makes the answers and knows no socket. [`serve`] puts them on `--listen-metrics-urls`,
//! with the web console beside them;
//! `serve.rs` asks the same [`Pages`] for requests on the client addresses that are not gRPC.
//!
//! What the node is asked for stands in [`Probe`], so that the pages are tested without one.

mod pages;
mod probe;

pub use pages::{MemberStatus, Pages, PlacementOf, Probe};

use crate::client::Client;
use crate::console::{self, Console};
use crate::gateway::Gateway;
use crate::serve::Security;
use bytes::Bytes;
use conclave_net::admission::{Place, Pool};
use conclave_net::http2::PING_EVERY;
use conclave_net::opening::Opening;
use conclave_tls::Tls;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What is served on these addresses.
#[derive(Clone)]
struct Served {
    pages: Pages,
    /// `None`: it is switched off.
    console: Option<Console>,
    /// Nothing is known of who asks, and nobody is limited.
    client: Arc<Client>,
}

impl Served {
    async fn respond<B>(&self, request: &http::Request<B>) -> http::Response<PageBody> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        match &self.console {
            Some(console) if console::is_of_it(uri.path()) => console.respond(method, uri, headers, &self.client).await,
            _ => self.pages.respond(method, uri, headers).await,
        }
    }
}

/// Serves the pages and the console on one listener until told to stop. Connections under way are
/// dropped then. With `tls`, inside it.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    pool: Pool,
    gateway: Arc<Gateway>,
    stopping: CancellationToken,
) {
    let served = Served { console: Console::of(&gateway), pages: Pages::new(gateway), client: Arc::default() };
    let security = tls.map(Security::new);
    loop {
        let (stream, place) = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = pool.accept(&listener) => accepted,
        };
        let (served, stopping, security) = (served.clone(), stopping.clone(), security.clone());
        tokio::spawn(async move {
            let serving = async {
                match security {
                    None => connection(stream, &place, served).await,
                    Some(security) => {
                        if let Some(stream) = security.accept(stream, &place).await {
                            connection(stream, &place, served).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = serving => {}
            }
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, place: &Place, served: Served) {
    let activity = place.activity().clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (served, busy) = (served.clone(), activity.begin());
        async move {
            let _busy = busy;
            Ok::<_, Infallible>(served.respond(&request).await)
        }
    });
    let stream = TokioIo::new(Opening::new(stream, place.spoken()));
    let builder = builder();
    tokio::select! {
        () = place.over() => {}
        outcome = builder.serve_connection(stream, service) => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a connection for metrics ended");
            }
        }
    }
}

/// With timers: a client that never sends the head of its request, or is gone, is let go.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
    builder
}

/// The body of every page.
pub type PageBody = Full<Bytes>;
