//! The Conclave node: one member's part in consensus, without any client.
//!
//! A write goes `proposer` → log → apply (in `storage`) → `sink` → reply; a read goes `reader`.
//! `node` holds the parts, `running` starts and stops them. Services for clients are built on top, in
//! the crate `conclave-gateway`; what they follow of applied changes they add as observers of the
//! `sink`. This crate knows no messages of clients, and gRPC in `peer` alone.

pub mod bootstrap;
pub mod clock;
pub mod compactor;
pub mod config;
pub mod consensus;
pub mod defragment;
pub mod descriptors;
pub mod disk_space;
pub mod fatal;
pub mod keeper;
pub mod leadership;
pub mod lease_keeper;
pub mod node;
pub mod peer;
pub mod proposer;
pub mod reader;
pub mod rollback;
pub mod running;
pub mod sink;
mod stall;
pub mod timer_keeper;
mod trim;
pub mod turns;
pub mod wiring;
