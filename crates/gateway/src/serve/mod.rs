//! The client addresses: connections, requests, answers.
//!
//! Client addresses also answer plain HTTP (`/health`, `/metrics`, …): what is not gRPC by its
//! content type goes to the pages.

mod authority;
#[cfg(test)]
mod authority_fuzz;
mod connections;
mod front;
mod gate;
mod json;
mod large;
mod metadata;
mod metered;
mod pieces;
mod plain;
mod reply;
mod requests;
mod routes;
mod security;
mod timed;
mod turn;
mod unary;
mod unsent;

use crate::gateway::Gateway;
use conclave_net::admission::Pool;
use conclave_net::source::Source;
use conclave_tls::Tls;
use connections::Ends;
use front::Front;
pub(crate) use security::Security;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What is spoken inside TLS on client addresses, and on those for metrics.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The client services, until the node stops and the requests under way are answered, or `closing`
/// cuts them off. With `tls`, inside it.
pub async fn clients<S: Source>(
    listener: S,
    tls: Option<Tls>,
    pool: Pool,
    gateway: Arc<Gateway>,
    closing: CancellationToken,
) {
    let ends = Ends { stopping: gateway.node.stopping.clone(), closing };
    let security = tls.map(Security::new);
    connections::serve(listener, security, pool, Front::new(&gateway), ends).await;
}
