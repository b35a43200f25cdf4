//! Free ports on loopback, kept free of the kernel's own choices so that a restarted node finds its port again.

use anyhow::{Result, bail};
use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below Linux's ephemeral range (32768), so that no outgoing connection takes the port of a node that is down.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port nobody listens on, handed out once in this process; processes start at different places.
///
/// # Errors
/// All ports are taken.
pub fn free() -> Result<u16> {
    let span = LAST - FIRST;
    // The spread keeps test programs that run side by side apart; what remains is caught by the bind.
    let start = u16::try_from(u64::from(std::process::id()) * 197 % u64::from(span))?;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = FIRST + u16::try_from((u32::from(start) + u32::from(step)) % u32::from(span))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {LAST}")
}
