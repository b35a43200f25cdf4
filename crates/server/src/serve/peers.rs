//! The connections of peers: the log's own, and gRPC for everything else, told apart by their first byte.

use super::{ACCEPT_PAUSE, CONNECTION_WINDOW, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW};
use crate::peer::handler::Handler;
use crate::peer::{log, service};
use futures::SinkExt;
use futures::channel::mpsc;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// For a connection to say anything at all.
const SILENCE: Duration = Duration::from_secs(10);

type Calls = mpsc::Sender<io::Result<TcpStream>>;

/// The peer service, until `closing`.
pub async fn peers(listener: TcpListener, handler: Handler, closing: CancellationToken) {
    let (calls, incoming) = mpsc::channel(0);
    let served = Server::builder()
        .max_concurrent_streams(u32::MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_service(service::server(handler.clone()))
        .serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::error!(%error, "serving peers ended");
        },
        () = accept(listener, handler, calls) => {}
        // The log's connections do not end by themselves, and nobody waits for them.
        () = closing.cancelled() => {}
    }
}

async fn accept(listener: TcpListener, handler: Handler, calls: Calls) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, handler.clone(), calls.clone()))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, handler: Handler, mut calls: Calls) {
    let mut first = [0];
    let peeked = tokio::time::timeout(SILENCE, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return tracing::debug!("a peer's connection said nothing");
    }
    if log::begins_with(first[0]) {
        if let Err(error) = log::serve(stream, |ids, requests| handler.append_from(ids, requests)).await {
            tracing::debug!(%error, "a peer's log connection ended");
        }
    } else if stream.set_nodelay(true).is_ok() {
        // Fails only if nothing is served any more.
        let _ = calls.send(Ok(stream)).await;
    }
}
