//! Listening: the client services on the client addresses, the peer service on the peer addresses.
//!
//! Client addresses also answer plain HTTP (`/health`, `/metrics`, …): what is not gRPC by its content type goes to the pages.

mod authority;
mod connections;
mod front;
mod reply;
mod requests;
mod routes;
mod unary;

use crate::config::Config;
use crate::node::{Addresses, Node};
use crate::peer::handler::Handler;
use connections::Ends;
use front::Front;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

const STREAM_WINDOW: u32 = 1 << 20;
/// Half of this is what h2 allows in small frames that are not read yet; many small requests share a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 4_096;

/// All sockets of a node, bound before anything else is done.
pub struct Listeners {
    pub clients: Vec<TcpListener>,
    pub peers: Vec<TcpListener>,
    pub metrics: Vec<TcpListener>,
}

impl Listeners {
    pub fn bind(config: &Config) -> anyhow::Result<Listeners> {
        Ok(Listeners {
            clients: bind_all("--listen-client-urls", &config.listen_client)?,
            peers: bind_all("--listen-peer-urls", &config.listen_peer)?,
            metrics: bind_all("--listen-metrics-urls", &config.listen_metrics)?,
        })
    }

    pub fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>();
        Ok(Addresses { clients: of(&self.clients)?, peers: of(&self.peers)?, metrics: of(&self.metrics)? })
    }
}

fn bind_all(flag: &str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let bound = addresses.iter().map(|address| {
        bind(*address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "cannot listen on {address} ({flag}): the address is in use by another process; stop that, or choose another port"
            ),
            _ => anyhow::anyhow!("cannot listen on {address} ({flag}): {error}"),
        })
    });
    bound.collect()
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted node takes its port back while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The peer service, until `closing`.
pub async fn peers(listener: TcpListener, handler: Handler, closing: CancellationToken) {
    let served = Server::builder()
        .max_concurrent_streams(u32::MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_service(crate::peer::service::server(handler))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            closing.clone().cancelled_owned(),
        );
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::error!(%error, "serving peers ended");
        },
        // Append streams of peers do not end by themselves, and nobody waits for them.
        () = closing.cancelled() => {}
    }
}

/// The client services, until the node stops and the requests under way are answered, or `closing` cuts them off.
pub async fn clients(listener: TcpListener, node: Arc<Node>, closing: CancellationToken) {
    let ends = Ends { stopping: node.stopping.clone(), closing };
    connections::serve(listener, Front::new(&node), ends).await;
}
