//! Tells systemd that the member serves (`Type=notify`, as etcd's own unit has it), that it goes on
//! (`WatchdogSec`), and that it stops.

use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// It serves clients. Has no effect where nobody listens.
///
/// # Errors
/// There is a socket, and it takes nothing.
pub fn ready() -> io::Result<()> {
    tell(b"READY=1")
}

/// It goes on: to be told every [`watchdog`].
///
/// # Errors
/// As [`ready`].
pub fn works() -> io::Result<()> {
    tell(b"WATCHDOG=1")
}

/// It stops as asked.
///
/// # Errors
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    tell(b"STOPPING=1")
}

/// How often the watchdog wants to hear of this process; `None` if it does not watch it.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let of = |name| std::env::var(name).ok();
    interval(of("WATCHDOG_USEC").as_deref(), of("WATCHDOG_PID").as_deref(), std::process::id())
}

/// Half of the time after which the watchdog acts, as systemd recommends.
fn interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    ours.then(|| Duration::from_micros(usec) / 2)
}

fn tell(word: &[u8]) -> io::Result<()> {
    match std::env::var("NOTIFY_SOCKET") {
        Ok(name) if !name.is_empty() => send(&name, word),
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
    let socket = UnixDatagram::unbound()?;
    // A listener that does not read must not stop the member.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_hears_twice_in_its_time_if_it_watches_this_process() {
        assert_eq!(interval(Some("3000000"), None, 7), Some(Duration::from_millis(1500)));
        assert_eq!(interval(Some("3000000"), Some("7"), 7), Some(Duration::from_millis(1500)));
        for (usec, pid) in [(None, None), (Some("0"), None), (Some("x"), None), (Some("1"), Some("8"))] {
            assert_eq!(interval(usec, pid, 7), None);
        }
    }

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
