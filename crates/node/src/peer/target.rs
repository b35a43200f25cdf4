//! Where a peer is, and how it is connected to: at its URLs in their order, with TLS by the scheme
//! of each, else with the proof of a secret if there is one.
//!
//! Inside TLS, what the connection is for is agreed in the handshake ([`ALPN_LOG`],
//! [`ALPN_CALLS`]).

use super::names::Name;
use super::proof::{PeerSecret, Speaks, Unproven};
use super::stream::Stream;
use conclave_net::throttle::Throttle;
use conclave_storage::types::MemberNode;
use conclave_tls::Tls;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The log's frames.
pub const ALPN_LOG: &[u8] = b"conclave-log/1";
/// Calls over gRPC.
pub const ALPN_CALLS: &[u8] = b"h2";

/// For one address.
const CONNECT: Duration = Duration::from_millis(300);
/// With a handshake, of which both ends may have many to do after a failure.
const CONNECT_SECURELY: Duration = Duration::from_secs(2);

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
    guard: Guard,
    failures: Throttle,
}

/// What a connection is guarded by.
enum Guard {
    Nothing,
    Secret(PeerSecret),
    Tls(Tls),
}

impl Target {
    /// Member URLs are checked when they are read: `http://host:port` or `https://host:port`, at
    /// least one. With an `https` URL there is `tls`.
    pub(super) fn of(node: &MemberNode, tls: Option<&Tls>, secret: Option<&PeerSecret>) -> Target {
        Target(node.peer_urls.iter().map(|url| Place::of(url, tls, secret)).collect())
    }

    #[cfg(test)]
    pub(super) fn plain(address: String) -> Target {
        Target([Place::of(&address, None, None)].into())
    }

    /// How long it may take to connect to the last of the URLs, each with one address.
    pub(super) fn patience(&self) -> Duration {
        let each = |place: &Place| match place.guard {
            Guard::Nothing => CONNECT,
            Guard::Secret(_) | Guard::Tls(_) => CONNECT_SECURELY,
        };
        self.0.iter().map(each).sum::<Duration>().max(CONNECT)
    }

    /// To the first URL and the first address of its name that answers. `None` if none does:
    /// nothing was sent that could have an effect.
    pub(super) async fn connect(&self, speaks: Speaks) -> Option<Stream> {
        for place in &*self.0 {
            if let Some(connection) = place.connect(speaks).await {
                return Some(connection);
            }
        }
        None
    }
}

impl Place {
    fn of(url: &str, tls: Option<&Tls>, secret: Option<&PeerSecret>) -> Place {
        let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Place {
            name: Name::new(address.to_owned()),
            address: address.to_owned(),
            host: bare.to_owned(),
            guard: match (tls.filter(|_| scheme == "https"), secret) {
                (Some(tls), _) => Guard::Tls(tls.clone()),
                (None, Some(secret)) => Guard::Secret(secret.clone()),
                (None, None) => Guard::Nothing,
            },
            failures: Throttle::default(),
        }
    }

    async fn connect(&self, speaks: Speaks) -> Option<Stream> {
        for address in self.name.addresses().await {
            let Some(stream) = reach(address).await else { continue };
            let guarded = async {
                match &self.guard {
                    Guard::Nothing => Ok(Some(Stream::Plain(stream))),
                    Guard::Tls(tls) => tls
                        .connect(&self.host, alpn(speaks), stream)
                        .await
                        .map(|it| Some(Stream::Secured(Box::new(it)))),
                    Guard::Secret(secret) => self.prove(secret, speaks, address, stream).await,
                }
            };
            match timeout(CONNECT_SECURELY, guarded).await {
                Ok(Ok(Some(stream))) => return Some(stream),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => self.failed(&error),
                Err(_) => self.failed(&io::Error::from(io::ErrorKind::TimedOut)),
            }
        }
        None
    }

    async fn prove(
        &self,
        secret: &PeerSecret,
        speaks: Speaks,
        address: SocketAddr,
        stream: TcpStream,
    ) -> io::Result<Option<Stream>> {
        match secret.connect(stream, speaks).await {
            Ok(proven) => Ok(Some(Stream::Proven(Box::new(proven)))),
            Err(Unproven::Unknown) if secret.is_optional() => {
                self.failed(&"it does not know the peer secret yet; connected without, as --peer-secret-optional says");
                Ok(reach(address).await.map(Stream::Plain))
            }
            Err(Unproven::Unknown) => Err(io::Error::other("it proves no peer secret: has it --peer-secret-file?")),
            Err(Unproven::Failed(error)) => Err(error),
        }
    }

    fn failed(&self, error: &dyn Display) {
        let what = if matches!(self.guard, Guard::Tls(_)) { "TLS" } else { "proof of the peer secret" };
        if let Some(suppressed) = self.failures.admit() {
            tracing::warn!(peer = self.address, %error, suppressed, "no {what} with a peer");
        }
    }
}

async fn reach(address: SocketAddr) -> Option<TcpStream> {
    timeout(CONNECT, TcpStream::connect(address)).await.ok()?.ok()
}

fn alpn(speaks: Speaks) -> &'static [u8] {
    match speaks {
        Speaks::Log => ALPN_LOG,
        Speaks::Calls => ALPN_CALLS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn target(urls: &[String]) -> Target {
        Target::of(&MemberNode { name: String::new(), peer_urls: urls.to_vec() }, None, None)
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
        let to = |connection: Stream| connection.tcp().peer_addr().unwrap();
        let found = target(&[url(&one), url(&other)]).connect(Speaks::Log).await.unwrap();
        assert_eq!(to(found), one.local_addr().unwrap());
        let urls = [closed().await, "http://no-such-host.invalid:1".to_owned(), url(&other)];
        assert_eq!(to(target(&urls).connect(Speaks::Log).await.unwrap()), other.local_addr().unwrap());
        assert!(target(&urls[..2]).connect(Speaks::Log).await.is_none());
        assert!(target(&[]).connect(Speaks::Log).await.is_none());
    }

    #[tokio::test]
    async fn names_and_ipv6_addresses() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        assert!(target(&[url(&listener)]).connect(Speaks::Log).await.is_some(), "{}", url(&listener));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let named = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        assert!(target(&[named]).connect(Speaks::Log).await.is_some());
        assert_eq!(Place::of("https://[fd00::1]:2380", None, None).host, "fd00::1");
        assert_eq!(Place::of("https://a.example:2380", None, None).host, "a.example");
    }
}
