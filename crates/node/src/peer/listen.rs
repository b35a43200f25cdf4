//! The connections of peers: log connections, and gRPC for everything else. Without TLS they are
//! told apart by their first byte, with TLS by the protocol that was agreed in the handshake, with
//! a secret by what the one that connected says.

use crate::peer::handler::Handler;
use crate::peer::proof::{self, PeerSecret, Speaks};
use crate::peer::stream::Stream;
use crate::peer::target::{ALPN_CALLS, ALPN_LOG};
use crate::peer::{log, service};
use conclave_net::admission::{Place, Pool};
use conclave_net::http2::{CONNECTION_WINDOW, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW};
use conclave_net::opening::Opening;
use conclave_net::throttle::Throttle;
use conclave_tls::Tls;
use futures::channel::mpsc;
use futures::future::{BoxFuture, Fuse};
use futures::{FutureExt, SinkExt};
use std::io;
use std::net::SocketAddr;
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

/// How the connections of one listener begin.
#[derive(Clone, Default)]
pub struct Security {
    pub tls: Option<Tls>,
    /// With TLS: whether a connection may begin without.
    pub optional: bool,
    /// What connections without TLS prove.
    pub secret: Option<PeerSecret>,
}

/// The peer service, until `closing`.
pub(crate) async fn peers(
    listener: TcpListener,
    security: Security,
    pool: Pool,
    handler: Handler,
    closing: CancellationToken,
) {
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
        () = accept(listener, security, pool, handler, calls) => {}
        // Log connections do not end by themselves, so closing does not wait for them.
        () = closing.cancelled() => {}
    }
}

async fn accept(listener: TcpListener, security: Security, pool: Pool, handler: Handler, calls: Calls) {
    let port = Arc::new(Port { security, handler, refused: Throttle::default() });
    let mut connections = JoinSet::new();
    loop {
        let (stream, place) = pool.accept(&listener).await;
        connections.spawn(port.clone().connection(stream, place, calls.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// The first byte of a TLS handshake. None of what peers say without TLS begins so.
const HANDSHAKE: u8 = 0x16;

/// What the connections of one listener share.
struct Port {
    security: Security,
    handler: Handler,
    refused: Throttle,
}

impl Port {
    async fn connection(self: Arc<Port>, stream: TcpStream, place: Place, calls: Calls) {
        let mut first = [0];
        let peeked = tokio::select! {
            peeked = stream.peek(&mut first) => peeked,
            () = place.over() => return tracing::debug!("a peer's connection said nothing"),
        };
        if !matches!(peeked, Ok(1)) {
            return;
        }
        let Security { tls, optional, secret } = &self.security;
        match (tls, secret) {
            (Some(tls), _) if first[0] == HANDSHAKE => self.secured(tls, stream, place, calls).await,
            (Some(_), _) if !optional => self.refuse(stream.peer_addr().ok(), &"it does not speak TLS"),
            (_, Some(secret)) if proof::begins_with(first[0]) => self.proven(secret, stream, place, calls).await,
            (_, Some(secret)) if !secret.is_optional() => {
                self.refuse(stream.peer_addr().ok(), &"it does not prove the secret in --peer-secret-file");
            }
            _ if log::begins_with(first[0]) => self.log(Stream::Plain(stream), &place).await,
            _ => hand_over(Stream::Plain(stream), place, calls).await,
        }
    }

    async fn secured(&self, tls: &Tls, stream: TcpStream, place: Place, calls: Calls) {
        let from = stream.peer_addr().ok();
        let accepted = tokio::select! {
            accepted = tls.accept(stream) => accepted,
            () = place.over() => return,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => return self.refuse(from, &error),
        };
        match stream.alpn() {
            Some(ALPN_LOG) => self.log(Stream::Secured(Box::new(stream)), &place).await,
            Some(ALPN_CALLS) => hand_over(Stream::Secured(Box::new(stream)), place, calls).await,
            _ => self.refuse(from, &"it has not said what it speaks"),
        }
    }

    async fn proven(&self, secret: &PeerSecret, stream: TcpStream, place: Place, calls: Calls) {
        let from = stream.peer_addr().ok();
        let accepted = tokio::select! {
            accepted = secret.accept(stream) => accepted,
            () = place.over() => return,
        };
        match accepted {
            Ok((stream, Speaks::Log)) => self.log(Stream::Proven(Box::new(stream)), &place).await,
            Ok((stream, Speaks::Calls)) => hand_over(Stream::Proven(Box::new(stream)), place, calls).await,
            Err(error) => self.refuse(from, &error),
        }
    }

    async fn log(&self, stream: Stream, place: &Place) {
        let from = stream.tcp().peer_addr().ok();
        let (handler, spoken, activity) = (self.handler.clone(), place.spoken(), place.activity().clone());
        let append = move |ids, requests| {
            let replies = handler.append_from(ids, requests)?;
            spoken.note();
            activity.keep();
            Ok(replies)
        };
        let served = tokio::select! {
            served = log::serve(stream, append) => served,
            () = place.over() => return,
        };
        match served {
            // Another version of the protocol, or no protocol at all.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                if let Some(suppressed) = self.refused.admit() {
                    tracing::warn!(%error, ?from, suppressed, "refused a peer's log");
                }
            }
            Err(error) => tracing::debug!(%error, "a peer's log connection ended"),
            Ok(()) => {}
        }
    }

    fn refuse(&self, from: Option<SocketAddr>, error: &dyn std::fmt::Display) {
        if let Some(suppressed) = self.refused.admit() {
            tracing::warn!(%error, ?from, suppressed, "refused a peer's connection");
        }
    }
}

/// To the server of calls.
async fn hand_over(stream: Stream, place: Place, mut calls: Calls) {
    if stream.tcp().set_nodelay(true).is_ok() {
        // Fails only if nothing is served any more.
        let _ = calls.send(Ok(Supervised::new(stream, place))).await;
    }
}

/// A gRPC connection, owned by tonic. It breaks when it must make room or does not start in time.
struct Supervised {
    stream: Opening<Stream>,
    over: Fuse<BoxFuture<'static, ()>>,
    place: Place,
}

impl Supervised {
    fn new(stream: Stream, place: Place) -> Supervised {
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
