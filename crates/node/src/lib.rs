//! The Conclave node: consensus, reads and deadlines of one member, without client protocols.
//!
//! A write goes `proposer` → log → apply (in `storage`) → `sink` → reply; a read goes `reader`.
//! `node` holds the parts, `running` starts and stops them. The crate `conclave-gateway` builds the
//! services for clients on top, and follows applied changes as an observer of the `sink`. This
//! crate does not know client messages, and only `peer` uses gRPC.

mod announcing;
pub mod bootstrap;
pub mod clock;
pub mod compactor;
pub mod config;
pub mod consensus;
pub mod context;
pub mod defragment;
pub mod descriptors;
pub mod discovery;
pub mod disk_space;
mod disk_stall;
pub mod fatal;
pub mod handover;
pub mod keeper;
pub mod leadership;
mod log_retention;
pub mod membership;
mod membership_change;
pub mod node;
pub mod peer;
pub mod placement;
mod promoter;
pub mod proposer;
pub mod read_slots;
pub mod reader;
pub mod rollback;
pub mod running;
pub mod sink;
pub mod supported;
pub mod versions;
