//! Listening: the client services on the client addresses, the peer service on the peer addresses.
//!
//! Client addresses also answer plain HTTP (`/health`, `/metrics`, …): what is not gRPC by its content type goes to the pages.

pub mod admission;
mod authority;
#[cfg(test)]
mod authority_fuzz;
mod connections;
mod front;
mod large;
mod metadata;
pub(crate) mod opening;
mod peers;
mod pieces;
mod reply;
mod requests;
mod routes;
mod unary;

use crate::config::Config;
use crate::node::{Addresses, Node};
use admission::Pool;
use connections::Ends;
use front::Front;
pub use peers::peers;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

const STREAM_WINDOW: u32 = 1 << 20;
/// Half of this is what h2 allows in small frames that are not read yet; many small requests share a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
pub(crate) const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 4_096;
/// After a connection could not be accepted: mostly for want of file descriptors, of which some may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// The client services, until the node stops and the requests under way are answered, or `closing` cuts them off.
pub async fn clients(listener: TcpListener, pool: Pool, node: Arc<Node>, closing: CancellationToken) {
    let ends = Ends { stopping: node.stopping.clone(), closing };
    connections::serve(listener, pool, Front::new(&node), ends).await;
}
