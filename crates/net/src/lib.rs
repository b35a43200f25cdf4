//! Sockets for clients and peers: binds them, admits a bounded number of connections, and closes
//! those that never send anything.

pub mod admission;
pub mod http2;
pub mod listen;
pub mod local;
pub mod opening;
pub mod source;
pub mod throttle;
