//! The plain HTTP pages: `/metrics`, `/health`, `/livez`, `/readyz`, `/status`, `/version`.
//!
//! [`Pages`] makes the answers and knows no socket. [`serve`] puts them on `--listen-metrics-urls`;
//! `serve.rs` asks the same [`Pages`] for requests on the client addresses that are not gRPC.
//!
//! What the node is asked for stands in [`Probe`], so that the pages are tested without one.

mod pages;
mod probe;

pub use pages::{MemberStatus, Pages, PlacementOf, Probe};

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the pages on one listener until told to stop. Connections under way are dropped then.
/// With `tls`, inside it.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, pool: Pool, pages: Pages, stopping: CancellationToken) {
    let security = tls.map(Security::new);
    loop {
        let (stream, place) = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = pool.accept(&listener) => accepted,
        };
        let (pages, stopping, security) = (pages.clone(), stopping.clone(), security.clone());
        tokio::spawn(async move {
            let served = async {
                match security {
                    None => connection(stream, &place, pages).await,
                    Some(security) => {
                        if let Some(stream) = security.accept(stream, &place).await {
                            connection(stream, &place, pages).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = served => {}
            }
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, place: &Place, pages: Pages) {
    let activity = place.activity().clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (pages, busy) = (pages.clone(), activity.begin());
        async move {
            let _busy = busy;
            Ok::<_, Infallible>(pages.respond(request.method(), request.uri(), request.headers()).await)
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
