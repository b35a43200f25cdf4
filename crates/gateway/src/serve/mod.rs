//! The client addresses: connections, requests, answers.
//!
//! Client addresses also answer plain HTTP (`/health`, `/metrics`, …): what is not gRPC by its content type goes to the pages.

mod authority;
#[cfg(test)]
mod authority_fuzz;
mod connections;
mod front;
mod large;
mod metadata;
mod pieces;
mod reply;
mod requests;
mod routes;
mod unary;

use crate::gateway::Gateway;
use conclave_net::admission::Pool;
use connections::Ends;
use front::Front;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The client services, until the node stops and the requests under way are answered, or `closing` cuts them off.
pub async fn clients(listener: TcpListener, pool: Pool, gateway: Arc<Gateway>, closing: CancellationToken) {
    let ends = Ends { stopping: gateway.node.stopping.clone(), closing };
    connections::serve(listener, pool, Front::new(&gateway), ends).await;
}
