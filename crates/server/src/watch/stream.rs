//! The task of one watch stream: takes the client's requests, reads history for watchers that are behind, reports progress.
//!
//! Nothing else changes which watchers the stream has. Requests wait while the stream's queue is full.

use super::catchup::Pace;
use super::hub::WatchHub;
use super::interest::Span;
use super::outbox::{Outbox, Responses};
use super::registry::Create;
use conclave_api::etcdserverpb::watch_create_request::FilterType;
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// A stream in the hub's registry. Dropping it takes its watchers out, and ends the responses if nothing else did.
struct Registration {
    hub: WatchHub,
    stream: usize,
    outbox: Arc<Outbox>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.registry().close(self.stream);
        self.outbox.finish(crate::status::text::STOPPED.into());
    }
}

pub(crate) struct Task {
    registration: Registration,
    /// None once the client has said that no more come; the watchers go on.
    requests: Option<BoxStream<'static, Result<WatchRequest, Status>>>,
    end: BoxFuture<'static, Status>,
    pace: Pace,
    next_tick: Instant,
}

enum Wake {
    End(Status),
    Request(Option<Result<WatchRequest, Status>>),
    Tick,
    Called,
}

impl Task {
    pub(crate) fn new(
        hub: WatchHub,
        requests: BoxStream<'static, Result<WatchRequest, Status>>,
        end: BoxFuture<'static, Status>,
    ) -> (Task, Responses) {
        let outbox = Outbox::new(hub.config().buffer_bytes);
        let stream = hub.registry().open(outbox.clone());
        let next_tick = Instant::now() + interval(hub.config().progress_interval);
        let responses = Responses(outbox.clone());
        let registration = Registration { hub, stream, outbox };
        (Task { registration, requests: Some(requests), end, pace: Pace::new(), next_tick }, responses)
    }

    pub(crate) async fn run(mut self) {
        let status = self.serve().await;
        if let Some(status) = status {
            self.registration.outbox.finish(status);
        }
    }

    /// Until the stream ends: with a status, or because nobody reads the responses any more.
    async fn serve(&mut self) -> Option<Status> {
        while !self.registration.outbox.is_closed() {
            let Registration { hub, stream, outbox } = &self.registration;
            let busy = match hub.catch_up(*stream, outbox, &mut self.pace).await {
                Ok(busy) => busy,
                Err(fault) => {
                    tracing::error!(%fault, "reading history for a watch stream failed");
                    return Some(Status::internal(format!("reading history failed: {fault}")));
                }
            };
            match self.wait(busy).await {
                Wake::Called => {}
                Wake::Tick => self.tick(),
                Wake::Request(Some(Ok(request))) => self.handle(request),
                Wake::Request(Some(Err(status))) => return Some(status),
                Wake::Request(None) => self.requests = None,
                Wake::End(status) => return Some(status),
            }
        }
        None
    }

    /// The next thing to do. `busy`: there is more history to read, so only look.
    async fn wait(&mut self, busy: bool) -> Wake {
        let outbox = self.registration.outbox.clone();
        let room = outbox.has_room();
        let next_request = async {
            match &mut self.requests {
                Some(requests) if room => requests.next().await,
                _ => std::future::pending().await,
            }
        };
        let go_on = async {
            if busy {
                tokio::task::yield_now().await;
            } else {
                outbox.called().await;
            }
        };
        tokio::select! {
            biased;
            status = &mut self.end => Wake::End(status),
            request = next_request => Wake::Request(request),
            () = sleep_until(self.next_tick) => Wake::Tick,
            () = go_on => Wake::Called,
        }
    }

    fn tick(&mut self) {
        let Registration { hub, stream, .. } = &self.registration;
        hub.registry().progress_tick(*stream);
        self.next_tick = Instant::now() + interval(hub.config().progress_interval);
    }

    fn handle(&mut self, request: WatchRequest) {
        let Registration { hub, stream, .. } = &self.registration;
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => hub.registry().create(*stream, create(request)),
            Some(RequestUnion::CancelRequest(request)) => hub.registry().cancel(*stream, request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => hub.registry().progress_of_stream(*stream),
            // A newer client's request of a kind unknown here: the others still work.
            None => {}
        }
    }
}

fn create(request: WatchCreateRequest) -> Create {
    Create {
        no_put: request.filters().any(|filter| filter == FilterType::Noput),
        no_delete: request.filters().any(|filter| filter == FilterType::Nodelete),
        previous: request.prev_kv,
        start: request.start_revision,
        id: request.watch_id,
        fragment: request.fragment,
        progress: request.progress_notify,
        span: Span::new(request.key, request.range_end),
    }
}

/// Streams that began together do not report together.
fn interval(base: Duration) -> Duration {
    base + base.mul_f64(rand::random::<f64>() / 10.0)
}
