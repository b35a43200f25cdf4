//! Where a peer is, and how it is connected to: plainly or with TLS, by the scheme of its URL.
//!
//! Inside TLS, what the connection is for is agreed in the handshake ([`ALPN_LOG`], [`ALPN_CALLS`]).

use conclave_net::throttle::Throttle;
use conclave_storage::types::MemberNode;
use conclave_tls::{Secured, Tls};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// The log's frames.
pub const ALPN_LOG: &[u8] = b"conclave-log/1";
/// Calls over gRPC.
pub const ALPN_CALLS: &[u8] = b"h2";

const CONNECT: Duration = Duration::from_millis(300);

/// One peer.
#[derive(Clone)]
pub(super) struct Target {
    /// `host:port`.
    address: String,
    tls: Option<Tls>,
    failures: Arc<Throttle>,
}

impl Target {
    /// Member URLs are checked when the configuration is read: `http://host:port` or `https://host:port`, at least one. With an
    /// `https` URL there is `tls`.
    pub(super) fn of(node: &MemberNode, tls: Option<&Tls>) -> Target {
        let url = node.peer_urls.first().map_or("", String::as_str);
        let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
        let tls = tls.filter(|_| scheme == "https").cloned();
        Target { address: address.to_owned(), tls, failures: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn plain(address: String) -> Target {
        Target { address, tls: None, failures: Arc::default() }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// To the first address of the name that answers. The caller bounds the whole.
    pub(super) async fn connect(&self) -> Option<TcpStream> {
        for address in lookup_host(&self.address).await.ok()? {
            if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await {
                return Some(stream);
            }
        }
        None
    }

    /// Encrypts a connection to the peer, and agrees on what it is for.
    pub(super) async fn secure(&self, stream: TcpStream, alpn: &[u8]) -> io::Result<Secured> {
        let Some(tls) = &self.tls else { return Err(io::ErrorKind::Unsupported.into()) };
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let secured = tls.connect(host, alpn, stream).await;
        secured.inspect_err(|error| {
            if let Some(suppressed) = self.failures.admit() {
                tracing::warn!(peer = self.address, %error, suppressed, "no TLS with a peer");
            }
        })
    }
}
