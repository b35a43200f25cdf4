//! Settings of HTTP/2 connections on every port.

use std::time::Duration;

/// Bytes that a peer may send on one stream before they are read.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// h2 allows half of this in unread small frames. Large, because many small requests share a
/// connection.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// A ping is sent on a connection that has been silent for this long.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// Timeout of a ping.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
