//! Free ports on loopback, kept free of the kernel's own choices so that a restarted node finds its
//! port again.

use anyhow::{Result, bail};
use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below Linux's ephemeral range (32768), so that no outgoing connection takes the port of a node
/// that is down.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port nobody listens on, handed out once in this process; processes start at different places.
///
/// # Errors
/// All ports are taken.
pub fn free() -> Result<u16> {
    let span = LAST - FIRST;
    // The spread keeps test programs that run side by side apart; what remains is caught by the
    // bind.
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

/// Members that `scripts/cluster` starts at most for a test.
const MEMBERS: u16 = 3;
/// Ports that are taken for one cluster of the script at once.
const ROW: u16 = 13;

/// The port from which `scripts/cluster` counts: member N takes it plus N, plus 100 + N, plus 200 +
/// N.
///
/// Tests run at the same time. Ports are handed out in a row, so the others of a cluster's row are
/// taken, too: with rows of 13, no two clusters of a process have a port in common.
///
/// # Errors
/// All ports are taken.
pub fn of_a_script() -> Result<u16> {
    loop {
        let port = free()?;
        for _ in 1..ROW {
            free()?;
        }
        let taken = |offset: u16| TcpListener::bind(("127.0.0.1", port + offset)).is_err();
        if !(1..=MEMBERS).any(|member| taken(member) || taken(100 + member) || taken(200 + member)) {
            return Ok(port);
        }
    }
}
