//! Tells systemd that the member serves (`Type=notify`, as etcd's own unit has it).

use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Has no effect where nobody listens.
///
/// # Errors
/// There is a socket, and it takes nothing.
pub fn ready() -> io::Result<()> {
    match std::env::var("NOTIFY_SOCKET") {
        Ok(name) if !name.is_empty() => send(&name, b"READY=1"),
        _ => Ok(()),
    }
}

/// A name that begins with `@` is no file.
fn send(name: &str, word: &[u8]) -> io::Result<()> {
    let address = match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_arrives() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        send(&path.display().to_string(), b"READY=1").expect("sent");
        let mut word = [0; 16];
        let length = socket.recv(&mut word).expect("received");
        assert_eq!(&word[..length], b"READY=1");
        assert!(send("/no/such/socket", b"READY=1").is_err());
    }
}
