//! The connections of clients: HTTP/2, and HTTP/1 for the pages, told apart by their first bytes.

use super::authority::LenientAuthority;
use super::front::{Bounds, Front};
use super::json::Takeover;
use super::metadata;
use super::metered::Metered;
use super::plain::On;
use super::requests::{Requests, Running};
use super::security::Security;
use super::turn::InTurns;
use crate::client::Client;
use conclave_net::admission::{Place, Pool};
use conclave_net::http2::{CONNECTION_WINDOW, STREAM_WINDOW};
use conclave_net::opening::Opening;
use conclave_net::source::{Source, Wire};
use futures::FutureExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests of one connection that were taken back before they were looked at: beyond, somebody
/// means harm.
const RESETS: usize = 10_000;

/// Streams that the server had to reset for what the client sent on them, over the life of a
/// connection. A client of ours does that to none; one that does it to so many is let go, and may
/// connect again.
const ERRORS: usize = 10_000;

/// Requests of one connection that are under way together, those that wait for a lock among them.
/// Beyond it, they wait at the client.
const STREAMS: u32 = 1 << 16;

/// When connections end: `stopping` lets the requests under way be answered, `closing` does not.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) stopping: CancellationToken,
    pub(super) closing: CancellationToken,
}

/// Serves until the last connection has ended.
pub(super) async fn serve<S: Source>(listener: S, security: Option<Security>, pool: Pool, front: Front, ends: Ends) {
    let front = Arc::new(front);
    let connections = TaskTracker::new();
    loop {
        let (stream, place) = tokio::select! {
            accepted = pool.accept(&listener) => accepted,
            () = ends.stopping.cancelled() => break,
            () = ends.closing.cancelled() => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a client's connection ended before it was served");
            continue;
        }
        match &security {
            None => {
                let client = front.client(stream.peer_addr().ok(), None);
                connections.spawn(connection(stream, place, client, front.clone(), ends.clone()))
            }
            Some(security) => connections.spawn(secured(security.clone(), stream, place, front.clone(), ends.clone())),
        };
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn builder(requests: Requests, bounds: Bounds) -> Builder<Requests> {
    let mut builder = Builder::new(requests);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.streams.min(STREAMS))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(metadata::MOST)
        .keep_alive_interval(bounds.keep_alive.interval)
        .keep_alive_timeout(bounds.keep_alive.timeout)
        .max_local_error_reset_streams(ERRORS)
        // A client whose calls time out together resets them together, and may not lose its
        // connection for that.
        .max_pending_accept_reset_streams(RESETS)
        // Nobody asks a gRPC server for the date.
        .auto_date_header(false);
    // With a timer, a client that never sends its request's head is let go.
    builder.http1().timer(TokioTimer::new());
    builder
}

/// The same inside TLS.
async fn secured<S: Wire>(security: Security, stream: S, place: Place, front: Arc<Front>, ends: Ends) {
    let address = stream.peer_addr().ok();
    let accepted = tokio::select! {
        accepted = security.accept(stream, &place) => accepted,
        () = ends.stopping.cancelled() => return,
        () = ends.closing.cancelled() => return,
    };
    if let Some(stream) = accepted {
        let certificate = stream.identity().and_then(|identity| identity.common_name).map(Arc::from);
        let client = front.client(address, certificate);
        connection(stream, place, client, front, ends).await;
    }
}

async fn connection<S>(stream: S, place: Place, client: Arc<Client>, front: Arc<Front>, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let takeover = Takeover::default();
    let on = On { activity: place.activity().clone(), takeover: takeover.clone(), client };
    let (bounds, bytes) = (front.bounds(), front.bytes());
    let unsent = front.unsent.connection();
    let mut crowded = pin!(unsent.over());
    let service = service_fn(move |request| unsent.answer(front.answer(request, &on)).map(Ok::<_, Infallible>));
    let requests = Requests::new(place.activity().clone());
    let (builder, turn) = (builder(requests.clone(), bounds), requests.turn().clone());
    let stream = InTurns::new(Opening::new(Metered::new(stream, bytes), place.spoken()), turn.clone());
    let stream = LenientAuthority::new(stream);
    let mut served = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut over = pin!(place.over());
    let mut running = Running::new();
    let mut stopping = pin!(ends.stopping.cancelled());
    let mut closing = pin!(ends.closing.cancelled());
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            outcome = poll_fn(|cx| running.poll(cx, &requests, served.as_mut())) => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a client's connection ended");
                }
                break;
            }
            () = &mut stopping, if !asked => {
                asked = true;
                served.as_mut().graceful_shutdown();
            }
            () = &mut closing => return,
            () = &mut over => return,
            () = &mut crowded => return,
        }
    }
    // What goes on without HTTP.
    if let Some(rest) = takeover.take() {
        turn.end();
        tokio::select! {
            () = rest => {}
            () = &mut closing => {}
            () = &mut over => {}
        }
    }
}
