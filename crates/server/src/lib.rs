//! The server program: one member of a cluster, with what its clients speak to.
//!
//! [`server::Server`] puts a node (`conclave-node`) and a gateway (`conclave-gateway`) together on
//! sockets. `main` is the process around it, `dump` the other program under the same name.

mod consensus_thread;
pub mod dump;
pub mod server;
pub mod telemetry;
