//! etcd's services.

pub mod auth;
pub mod cluster;
mod downgrade;
pub mod election;
pub mod kv;
pub mod lease;
pub mod lock;
pub mod maintenance;
mod range_stream;
pub(crate) mod snapshot;
pub mod watch;

pub use snapshot::Making;
