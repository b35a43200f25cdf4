//! The Conclave node: gRPC services in front of a replicated state machine.
//!
//! A write goes service → `convert` → `proposer` → log → apply (in `storage`) → `sink` → reply. A read goes service → `reader`.
//! `node` wires these together and is the only place that knows all of them. Which modules may name
//! what is checked by `tests/boundaries.rs`.

pub mod bootstrap;
pub mod clock;
pub mod compactor;
pub mod config;
pub mod consensus;
pub mod convert;
pub mod coordination;
mod deadline;
mod defragment;
pub mod descriptors;
pub mod disk_space;
pub mod dump;
pub mod fatal;
pub mod http;
pub mod keeper;
pub mod leadership;
pub mod metrics;
pub mod node;
mod outflow;
pub mod peer;
pub mod pending;
pub mod proposer;
pub mod reader;
pub mod rollback;
pub mod serve;
pub mod service;
pub mod sink;
mod stall;
pub mod status;
pub mod telemetry;
mod throttle;
mod trim;
mod turns;
pub mod waiters;
pub mod watch;
pub mod wiring;
