//! The plain HTTP pages: `/metrics`, `/health`, `/livez`, `/readyz`, `/status`, `/version`.
//!
//! [`Pages`] makes the answers and knows no socket. [`serve`] puts them on `--listen-metrics-urls`; `serve.rs` asks the same
//! [`Pages`] for requests on the client addresses that are not gRPC.
//!
//! What the node is asked for stands in [`Probe`], so that the pages are tested without one.

mod pages;
mod probe;

pub use pages::{ETCD_VERSION, Pages, Probe, Standings};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the pages on one listener until told to stop. Connections under way are dropped then.
pub async fn serve(listener: TcpListener, pages: Pages, stopping: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: wait for some to come back instead of spinning.
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (pages, stopping) = (pages.clone(), stopping.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let pages = pages.clone();
                async move { Ok::<_, Infallible>(pages.respond(request.method(), request.uri()).await) }
            });
            let builder = Builder::new(TokioExecutor::new());
            tokio::select! {
                () = stopping.cancelled() => {}
                outcome = builder.serve_connection(TokioIo::new(stream), service) => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection for metrics ended");
                    }
                }
            }
        });
    }
}

/// The body of every page.
pub type PageBody = Full<Bytes>;
