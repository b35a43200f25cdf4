//! Sockets, for clients and for peers alike: binding them, admitting a bounded number of connections,
//! and closing those that never say anything.

pub mod admission;
pub mod http2;
pub mod listen;
pub mod opening;
pub mod throttle;
