//! How HTTP/2 connections are kept, on every port.

use std::time::Duration;

/// How much a peer may send on one stream before it is read.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// Half of this is what h2 allows in small frames that are not read yet; many small requests share a connection.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// A connection that is silent for so long is asked whether the other side is still there.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// The answer to that may take this long.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
