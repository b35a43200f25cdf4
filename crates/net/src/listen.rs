//! Listening sockets. They are bound before anything else starts, so that a taken port is reported
//! early.

use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

const BACKLOG: u32 = 4_096;

/// One socket for each address. `flag` is the setting that an error names.
pub fn bind_all(flag: &str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let bound = addresses.iter().map(|address| {
        bind(*address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "cannot listen on {address} ({flag}): the address is in use by another process; stop that, or choose another port"
            ),
            _ => anyhow::anyhow!("cannot listen on {address} ({flag}): {error}"),
        })
    });
    bound.collect()
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Lets a restarted node bind its port while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
