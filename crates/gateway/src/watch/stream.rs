//! The task of one watch stream: takes the client's requests, reads history for watchers that are
//! behind, reports progress.
//!
//! Nothing else changes which watchers the stream has. Requests wait only for room for their
//! answers, and while a page of history is being read: those that are there are taken before each
//! page, however much history there is.

use super::hub::{CatchUp, WatchHub};
use super::outbox::{Outbox, Responses};
use super::registry::Create;
use crate::auth::Reading;
use crate::follow::Span;
use crate::limits::Held;
use crate::status::text;
use conclave_api::etcdserverpb::watch_create_request::FilterType;
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use conclave_node::read_slots::ReadSlot;
use conclave_state::KeyRange;
use conclave_state::view::Fault;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Requests taken, if that many are there, before the next page of history is read.
const REQUESTS_AT_ONCE: usize = 64;

/// A stream in the hub's registry. Dropping it takes its watchers out, and ends the responses if
/// nothing else did.
struct Registration {
    hub: WatchHub,
    stream: usize,
    outbox: Arc<Outbox>,
}

// In the words that Go gives a status.
const TOO_MANY_WATCHERS: &str = "rpc error: code = ResourceExhausted desc = conclave: this connection or user has all the watchers that it \
                                 may have (connection-limits or user-limits, watchers); cancel some of them first";

impl Registration {
    fn watchers(&self) -> u64 {
        self.hub.registry().watchers(self.stream) as u64
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.registry().close(self.stream);
        self.outbox.finish(crate::status::text::STOPPED.into());
    }
}

impl WatchHub {
    /// Opens a stream, and the task that serves its requests until the connection drops the
    /// responses or `end` says otherwise.
    pub fn serve<R, E>(&self, requests: R, end: E) -> Responses
    where
        R: Stream<Item = Result<WatchRequest, Status>> + Send + 'static,
        E: Future<Output = Status> + Send + 'static,
    {
        self.serve_reader(requests, end, None)
    }

    /// The same for somebody whose right to read is looked at.
    pub(crate) fn serve_reader<R, E>(&self, requests: R, end: E, reading: Option<Reading>) -> Responses
    where
        R: Stream<Item = Result<WatchRequest, Status>> + Send + 'static,
        E: Future<Output = Status> + Send + 'static,
    {
        let requests: BoxStream<'static, _> = Box::pin(requests);
        let (task, responses) = Task::new(self.clone(), requests, Box::pin(end), reading);
        tokio::spawn(task.run());
        responses
    }
}

struct Task {
    registration: Registration,
    /// None once the client has said that no more come; the watchers go on.
    requests: Option<BoxStream<'static, Result<WatchRequest, Status>>>,
    end: BoxFuture<'static, Status>,
    /// Whose right to read is looked at, if it is.
    reading: Option<Reading>,
    /// The watchers of the stream, or those that it had at the last look; `None`: their number is
    /// not limited.
    held: Option<Held>,
    next_tick: Instant,
    /// There may be history to read.
    behind: bool,
    /// History is to be read beside the event loop, when it is this stream's turn.
    turn: Option<BoxFuture<'static, ReadSlot>>,
    /// Requests taken since the last page.
    taken: usize,
}

enum Wake {
    End(Status),
    Request(Option<Result<WatchRequest, Status>>),
    Tick,
    Rights,
    Called,
    Page,
    Slot(ReadSlot),
}

impl Task {
    fn new(
        hub: WatchHub,
        requests: BoxStream<'static, Result<WatchRequest, Status>>,
        end: BoxFuture<'static, Status>,
        reading: Option<Reading>,
    ) -> (Task, Responses) {
        let outbox = Outbox::new(hub.config().buffer_bytes);
        let stream = hub.registry().open(outbox.clone());
        let next_tick = Instant::now() + interval(hub.config().progress_interval);
        let responses = Responses(outbox.clone());
        let registration = Registration { hub, stream, outbox };
        let requests = Some(requests);
        let held = reading.as_ref().and_then(Reading::watchers);
        (Task { registration, requests, end, reading, held, next_tick, behind: false, turn: None, taken: 0 }, responses)
    }

    async fn run(mut self) {
        if let Err(status) = self.serve().await {
            self.registration.outbox.finish(status);
        }
    }

    /// Until the stream ends: with a status, or because nobody reads the responses any more.
    async fn serve(&mut self) -> Result<(), Status> {
        while !self.registration.outbox.is_closed() {
            match self.wait().await {
                Wake::End(status) | Wake::Request(Some(Err(status))) => return Err(status),
                Wake::Slot(turn) => self.long_page(turn).await?,
                Wake::Request(Some(Ok(request))) => self.handle(request),
                Wake::Request(None) => self.requests = None,
                Wake::Tick => self.tick(),
                Wake::Rights => self.revoke(),
                // Who waits for a turn looks then.
                Wake::Called => self.behind = self.turn.is_none(),
                Wake::Page => self.page()?,
            }
        }
        Ok(())
    }

    /// The next thing to do.
    async fn wait(&mut self) -> Wake {
        let outbox = self.registration.outbox.clone();
        let behind = self.behind;
        // While it waits for its turn, there is no page that requests could hold up.
        let take = (!behind || self.taken < REQUESTS_AT_ONCE) && outbox.has_room();
        let next_request = async {
            match &mut self.requests {
                Some(requests) if take => requests.next().await,
                _ => std::future::pending().await,
            }
        };
        let turn = async {
            match &mut self.turn {
                Some(turn) => turn.await,
                None => std::future::pending().await,
            }
        };
        let rights = async {
            match &mut self.reading {
                Some(reading) => reading.changed().await,
                None => std::future::pending().await,
            }
        };
        let go_on = async {
            if behind {
                tokio::task::yield_now().await;
                Wake::Page
            } else {
                outbox.called().await;
                Wake::Called
            }
        };
        tokio::select! {
            biased;
            status = &mut self.end => Wake::End(status),
            () = rights => Wake::Rights,
            turn = turn => Wake::Slot(turn),
            request = next_request => Wake::Request(request),
            () = sleep_until(self.next_tick) => Wake::Tick,
            wake = go_on => wake,
        }
    }

    /// Reads a page of history, or gets in line to read it beside the event loop.
    fn page(&mut self) -> Result<(), Status> {
        self.taken = 0;
        let Registration { hub, stream, outbox } = &self.registration;
        let read = hub.catch_up(*stream, outbox).map_err(unreadable)?;
        self.behind = matches!(read, CatchUp::Page);
        if matches!(read, CatchUp::Long) {
            self.turn = Some(hub.turn().boxed());
        }
        Ok(())
    }

    async fn long_page(&mut self, turn: ReadSlot) -> Result<(), Status> {
        self.turn = None;
        self.taken = 0;
        let Registration { hub, stream, outbox } = &self.registration;
        tokio::select! {
            biased;
            status = &mut self.end => return Err(status),
            read = hub.catch_up_beside(turn, *stream, outbox) => self.behind = read.map_err(unreadable)?,
        }
        Ok(())
    }

    fn tick(&mut self) {
        self.count();
        let Registration { hub, stream, .. } = &self.registration;
        hub.registry().progress_tick(*stream);
        self.next_tick = Instant::now() + interval(hub.config().progress_interval);
    }

    /// Why a range may not be read, in the words that Go gives a status.
    fn denied(&self, range: &KeyRange) -> Option<&'static str> {
        let status = self.reading.as_ref()?.check(range).err()?;
        Some(match status.message() {
            message if message == text::USER_EMPTY.message => {
                "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
            }
            message if message == text::AUTH_OLD_REVISION.message => {
                "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old"
            }
            message if message == text::INVALID_AUTH_TOKEN.message => {
                "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
            }
            _ => "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        })
    }

    /// Users or roles are others than before.
    fn revoke(&mut self) {
        let Registration { hub, stream, .. } = &self.registration;
        hub.registry().revoke(*stream, |span| self.denied(&of_span(span)));
    }

    /// Whether one more watcher may be.
    fn has_room(&mut self) -> bool {
        let Some(held) = &mut self.held else { return true };
        held.shrink_to(self.registration.watchers());
        held.add().is_ok()
    }

    /// Those that are gone count no more.
    fn count(&mut self) {
        if let Some(held) = &mut self.held {
            held.shrink_to(self.registration.watchers());
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        let refusal = match self.denied(&range(&request)) {
            None if !self.has_room() => Some(TOO_MANY_WATCHERS),
            denied => denied,
        };
        let Registration { hub, stream, .. } = &self.registration;
        match refusal {
            Some(reason) => hub.registry().refuse(*stream, reason),
            None => hub.create(*stream, create(request)),
        }
    }

    fn handle(&mut self, request: WatchRequest) {
        self.taken += 1;
        if self.taken >= REQUESTS_AT_ONCE {
            // However many more there are, history is looked at first.
            self.behind = self.turn.is_none();
        }
        let Registration { hub, stream, .. } = &self.registration;
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => {
                hub.registry().cancel(*stream, request.watch_id);
                self.count();
            }
            Some(RequestUnion::ProgressRequest(_)) => hub.registry().progress_of_stream(*stream),
            // A newer client's request of a kind unknown here: the others still work.
            None => {}
        }
    }
}

fn range(request: &WatchCreateRequest) -> KeyRange {
    Span::new(&request.key, &request.range_end).map_or_else(|_| KeyRange::default(), |span| of_span(&span))
}

fn of_span(span: &Span) -> KeyRange {
    match span {
        Span::Key(key) => KeyRange { key: key.clone(), end: bytes::Bytes::new() },
        Span::Range { start, end } => {
            let end = end.clone().unwrap_or(bytes::Bytes::from_static(b"\0"));
            KeyRange { key: start.clone(), end }
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
        span: Span::new(&request.key, &request.range_end),
    }
}

#[cold]
fn unreadable(fault: Fault) -> Status {
    tracing::error!(%fault, "reading history for a watch stream failed");
    Status::internal(format!("reading history failed: {fault}"))
}

/// Streams that began together do not report together.
fn interval(base: Duration) -> Duration {
    base + base.mul_f64(rand::random::<f64>() / 10.0)
}
