//! The plain HTTP pages: `/metrics`, `/health`, `/livez`, `/readyz`, `/status`, `/version`.
//!
//! [`Pages`] makes the answers and knows no socket. [`serve`] puts them on `--listen-metrics-urls`; `serve.rs` asks the same
//! [`Pages`] for requests on the client addresses that are not gRPC.
//!
//! What the node is asked for stands in [`Probe`], so that the pages are tested without one.

mod pages;
mod probe;

pub use pages::{ETCD_VERSION, MemberStatus, Pages, Probe};

use bytes::Bytes;
use conclave_net::admission::Pool;
use conclave_net::http2::PING_EVERY;
use conclave_net::opening::Opening;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the pages on one listener until told to stop. Connections under way are dropped then.
pub async fn serve(listener: TcpListener, pool: Pool, pages: Pages, stopping: CancellationToken) {
    loop {
        let (stream, place) = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = pool.accept(&listener) => accepted,
        };
        let (pages, stopping) = (pages.clone(), stopping.clone());
        tokio::spawn(async move {
            let activity = place.activity().clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (pages, busy) = (pages.clone(), activity.begin());
                async move {
                    let _busy = busy;
                    Ok::<_, Infallible>(pages.respond(request.method(), request.uri()).await)
                }
            });
            let stream = TokioIo::new(Opening::new(stream, place.spoken()));
            let builder = builder();
            tokio::select! {
                () = stopping.cancelled() => {}
                () = place.over() => {}
                outcome = builder.serve_connection(stream, service) => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection for metrics ended");
                    }
                }
            }
        });
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
