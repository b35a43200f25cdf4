//! What clients speak to: etcd's gRPC services and Conclave's own, the HTTP pages, watches, and
//! calls that wait.
//!
//! A request goes `serve` → `service` → `convert` → the node's proposer or reader, and back.
//! Changes come from the node's sink to `watch` and `follow`; `waiters` stands on `follow`.
//! [`gateway::Gateway`] holds the parts. This crate knows nothing of consensus and of how the state
//! is stored.

pub mod audit;
mod auth;
mod charge;
mod client;
mod console;
pub mod convert;
mod deadline;
pub mod follow;
pub mod gateway;
pub mod http;
pub mod limits;
pub mod metrics;
mod outflow;
pub mod pending;
mod proposals;
pub mod serve;
pub mod service;
pub mod status;
pub mod waiters;
pub mod watch;

/// The etcd version whose API and behaviour are served; what clients that look at versions go by.
pub const ETCD_VERSION: &str = "3.6.0";
