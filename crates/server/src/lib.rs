//! The server program: one member of a cluster, with what its clients speak to.
//!
//! [`server::Server`] puts a node (`conclave-node`) and a gateway (`conclave-gateway`) together on
//! sockets. `main` is the process around it; `dev`, `dump`, `recover` and `snapshot` are other
//! programs under the same name.

mod backups;
mod consensus_thread;
pub mod dev;
pub mod dump;
pub mod force;
pub mod notify;
mod offline;
pub mod recover;
pub mod restore_from;
pub mod server;
pub mod snapshot;
pub mod telemetry;
