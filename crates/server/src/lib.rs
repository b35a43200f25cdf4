//! The server program: one member of a cluster, with what its clients speak to.
//!
//! [`server::Server`] puts a node (`conclave-node`) and a gateway (`conclave-gateway`) together on
//! sockets. `main` is the process around it; `dump`, `recover` and `snapshot` are other programs under the same
//! name.

mod consensus_thread;
pub mod dump;
pub mod force;
pub mod notify;
mod offline;
pub mod recover;
pub mod server;
pub mod snapshot;
pub mod telemetry;
