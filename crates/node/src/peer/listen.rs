//! The connections of peers: the log's own, and gRPC for everything else, told apart by their first
//! byte.

use crate::peer::handler::Handler;
use crate::peer::{log, service};
use conclave_net::admission::{Place, Pool};
use conclave_net::http2::{CONNECTION_WINDOW, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW};
use conclave_net::opening::Opening;
use conclave_net::throttle::Throttle;
use futures::channel::mpsc;
use futures::future::{BoxFuture, Fuse};
use futures::{FutureExt, SinkExt};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// Concurrent calls of one connection. Members need only a few.
const CALLS: u32 = 128;

type Calls = mpsc::Sender<io::Result<Supervised>>;

/// The peer service, until `closing`.
pub(crate) async fn peers(listener: TcpListener, pool: Pool, handler: Handler, closing: CancellationToken) {
    let (calls, incoming) = mpsc::channel(0);
    let served = Server::builder()
        .max_concurrent_streams(CALLS)
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
        () = accept(listener, pool, handler, calls) => {}
        // Log connections do not end by themselves, so closing does not wait for them.
        () = closing.cancelled() => {}
    }
}

async fn accept(listener: TcpListener, pool: Pool, handler: Handler, calls: Calls) {
    let mut connections = JoinSet::new();
    let refused = Arc::<Throttle>::default();
    loop {
        let (stream, place) = pool.accept(&listener).await;
        connections.spawn(connection(stream, place, handler.clone(), calls.clone(), refused.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, place: Place, handler: Handler, mut calls: Calls, refused: Arc<Throttle>) {
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = stream.peek(&mut first) => peeked,
        () = place.over() => return tracing::debug!("a peer's connection said nothing"),
    };
    if !matches!(peeked, Ok(1)) {
        return;
    }
    if log::begins_with(first[0]) {
        log_connection(stream, place, handler, &refused).await;
    } else if stream.set_nodelay(true).is_ok() {
        // Fails only if nothing is served any more.
        let _ = calls.send(Ok(Supervised::new(stream, place))).await;
    }
}

async fn log_connection(stream: TcpStream, place: Place, handler: Handler, refused: &Throttle) {
    let from = stream.peer_addr().ok();
    let serve = log::serve(stream, |ids, requests| {
        let replies = handler.append_from(ids, requests)?;
        place.spoken().note();
        place.activity().keep();
        Ok(replies)
    });
    let served = tokio::select! {
        served = serve => served,
        () = place.over() => return,
    };
    match served {
        // Another version of the protocol, or another protocol.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            if let Some(suppressed) = refused.admit() {
                tracing::warn!(%error, ?from, suppressed, "refused a peer's log");
            }
        }
        Err(error) => tracing::debug!(%error, "a peer's log connection ended"),
        Ok(()) => {}
    }
}

/// A gRPC connection, owned by tonic. It breaks when it must make room or does not start in time.
struct Supervised {
    stream: Opening<TcpStream>,
    over: Fuse<BoxFuture<'static, ()>>,
    place: Place,
}

impl Supervised {
    fn new(stream: TcpStream, place: Place) -> Supervised {
        Supervised { stream: Opening::new(stream, place.spoken()), over: place.over().boxed().fuse(), place }
    }
}

/// The service marks a connection as in use once a member has called over it ([`service::Caller`]).
impl Connected for Supervised {
    type ConnectInfo = service::Caller;

    fn connect_info(&self) -> service::Caller {
        service::Caller::new(self.place.activity().clone())
    }
}

impl AsyncRead for Supervised {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over.poll_unpin(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Supervised {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
