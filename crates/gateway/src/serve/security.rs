//! The handshakes of one listener.

use conclave_net::admission::Place;
use conclave_net::throttle::Throttle;
use conclave_tls::{Secured, Tls};
use std::sync::Arc;
use tokio::net::TcpStream;

#[derive(Clone)]
pub(crate) struct Security {
    tls: Tls,
    refused: Arc<Throttle>,
}

impl Security {
    pub(crate) fn new(tls: Tls) -> Security {
        Security { tls, refused: Arc::default() }
    }

    /// `None`: the handshake failed, which the log says, or the connection made room for another.
    pub(crate) async fn accept(&self, stream: TcpStream, place: &Place) -> Option<Secured> {
        let from = stream.peer_addr().ok();
        let accepted = tokio::select! {
            accepted = self.tls.accept(stream) => accepted,
            () = place.over() => return None,
        };
        let logged = accepted.inspect_err(|error| {
            if let Some(suppressed) = self.refused.admit() {
                tracing::warn!(%error, ?from, suppressed, "a TLS handshake failed");
            }
        });
        logged.ok()
    }
}
