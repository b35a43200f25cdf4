//! Free ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// The port of etcd, where clients look first.
const USUAL: u16 = 2379;

/// As many different ports: the next ones that are free from `wanted` on, which must be free
/// itself; with `None` from the usual one on; with 0, those that the kernel gives.
///
/// They are below those that the kernel gives to connections, if the first is: so a member that
/// starts again finds its own.
///
/// # Errors
/// The port that is wanted is taken, or there are not as many.
pub(super) fn free(count: usize, wanted: Option<u16>) -> io::Result<Vec<u16>> {
    // All are held until each is known, so that none comes twice.
    let held: Vec<TcpListener> = match wanted {
        Some(0) => (0..count).map(|_| bind(0)).collect::<io::Result<_>>()?,
        Some(port) => {
            let first = bind(port).map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))?;
            let next = port.checked_add(1).into_iter().flat_map(from).take(count.saturating_sub(1));
            std::iter::once(first).chain(next).collect()
        }
        None => from(USUAL).take(count).collect(),
    };
    if held.len() < count {
        return Err(io::Error::other("there are not enough free ports"));
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Those that are free, from this one on.
fn from(port: u16) -> impl Iterator<Item = TcpListener> {
    (port..=u16::MAX).filter_map(|port| bind(port).ok())
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_one_that_is_taken_is_refused() {
        for wanted in [Some(0), None] {
            let mut ports = free(6, wanted).expect("ports");
            ports.sort_unstable();
            ports.dedup();
            assert!(ports.len() == 6 && (wanted.is_some() || ports[0] >= USUAL), "{ports:?}");
        }
        let taken = bind(0).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        assert!(free(1, Some(port)).expect_err("it is taken").to_string().contains(&port.to_string()));
        assert!(free(3, Some(u16::MAX)).is_err());
    }
}
