//! Where a peer is, and how it is connected to: at its URLs in their order, plainly or with TLS by the scheme of each.
//!
//! Inside TLS, what the connection is for is agreed in the handshake ([`ALPN_LOG`], [`ALPN_CALLS`]).

use super::names::Name;
use conclave_net::throttle::Throttle;
use conclave_storage::types::MemberNode;
use conclave_tls::{Secured, Tls};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;

/// The log's frames.
pub const ALPN_LOG: &[u8] = b"conclave-log/1";
/// Calls over gRPC.
pub const ALPN_CALLS: &[u8] = b"h2";

/// For one address.
const CONNECT: Duration = Duration::from_millis(300);
/// With a handshake, of which both ends may have many to do after a failure.
const CONNECT_SECURELY: Duration = Duration::from_secs(2);

/// A connection to a peer.
pub(super) type Connection = Either<TcpStream, Secured>;

/// One peer.
#[derive(Clone)]
pub(super) struct Target(Arc<[Place]>);

/// One of its URLs.
struct Place {
    name: Name,
    /// `host:port`, for logs.
    address: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    tls: Option<Tls>,
    failures: Throttle,
}

impl Target {
    /// Member URLs are checked when they are read: `http://host:port` or `https://host:port`, at least one. With an `https`
    /// URL there is `tls`.
    pub(super) fn of(node: &MemberNode, tls: Option<&Tls>) -> Target {
        Target(node.peer_urls.iter().map(|url| Place::of(url, tls)).collect())
    }

    #[cfg(test)]
    pub(super) fn plain(address: String) -> Target {
        Target([Place::of(&address, None)].into())
    }

    /// How long it may take to connect to the last of the URLs, each with one address.
    pub(super) fn patience(&self) -> Duration {
        let each = |place: &Place| if place.tls.is_some() { CONNECT_SECURELY } else { CONNECT };
        self.0.iter().map(each).sum::<Duration>().max(CONNECT)
    }

    /// To the first URL and the first address of its name that answers. `None` if none does: nothing was sent that could have
    /// an effect.
    pub(super) async fn connect(&self, alpn: &[u8]) -> Option<Connection> {
        for place in &*self.0 {
            if let Some(connection) = place.connect(alpn).await {
                return Some(connection);
            }
        }
        None
    }
}

/// The socket of a connection.
pub(super) fn tcp(connection: &Connection) -> &TcpStream {
    match connection {
        Either::Left(stream) => stream,
        Either::Right(secured) => secured.tcp(),
    }
}

impl Place {
    fn of(url: &str, tls: Option<&Tls>) -> Place {
        let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Place {
            name: Name::new(address.to_owned()),
            address: address.to_owned(),
            host: bare.to_owned(),
            tls: tls.filter(|_| scheme == "https").cloned(),
            failures: Throttle::default(),
        }
    }

    async fn connect(&self, alpn: &[u8]) -> Option<Connection> {
        for address in self.name.addresses().await {
            let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await else { continue };
            let Some(tls) = &self.tls else { return Some(Either::Left(stream)) };
            match timeout(CONNECT_SECURELY, tls.connect(&self.host, alpn, stream)).await {
                Ok(Ok(secured)) => return Some(Either::Right(secured)),
                Ok(Err(error)) => self.failed(&error),
                Err(_) => self.failed(&io::Error::from(io::ErrorKind::TimedOut)),
            }
        }
        None
    }

    fn failed(&self, error: &io::Error) {
        if let Some(suppressed) = self.failures.admit() {
            tracing::warn!(peer = self.address, %error, suppressed, "no TLS with a peer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn target(urls: &[String]) -> Target {
        Target::of(&MemberNode { name: String::new(), peer_urls: urls.to_vec() }, None)
    }

    fn url(listener: &TcpListener) -> String {
        format!("http://{}", listener.local_addr().unwrap())
    }

    /// Nobody listens there.
    async fn closed() -> String {
        url(&TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    #[tokio::test]
    async fn urls_are_tried_in_their_order() {
        let (one, other) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let to = |connection: Connection| tcp(&connection).peer_addr().unwrap();
        let found = target(&[url(&one), url(&other)]).connect(ALPN_LOG).await.unwrap();
        assert_eq!(to(found), one.local_addr().unwrap());
        let urls = [closed().await, "http://no-such-host.invalid:1".to_owned(), url(&other)];
        assert_eq!(to(target(&urls).connect(ALPN_LOG).await.unwrap()), other.local_addr().unwrap());
        assert!(target(&urls[..2]).connect(ALPN_LOG).await.is_none());
        assert!(target(&[]).connect(ALPN_LOG).await.is_none());
    }

    #[tokio::test]
    async fn names_and_ipv6_addresses() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        assert!(target(&[url(&listener)]).connect(ALPN_LOG).await.is_some(), "{}", url(&listener));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let named = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        assert!(target(&[named]).connect(ALPN_LOG).await.is_some());
        assert_eq!(Place::of("https://[fd00::1]:2380", None).host, "fd00::1");
        assert_eq!(Place::of("https://a.example:2380", None).host, "a.example");
    }
}
