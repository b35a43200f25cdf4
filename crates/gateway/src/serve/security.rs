//! The handshakes of one listener.

use conclave_net::admission::Place;
use conclave_net::source::Wire;
use conclave_net::throttle::Throttle;
use conclave_tls::{Secured, Tls};
use std::sync::Arc;

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
    pub(crate) async fn accept<S: Wire>(&self, stream: S, place: &Place) -> Option<Secured<S>> {
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
