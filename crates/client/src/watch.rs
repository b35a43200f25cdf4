//! Watches: every change of a range of keys, in order, once, over failures of members.
//!
//! 1. The revision of the last change given out, plus one, is where a watch goes on after a
//!    failure: no gap, no repeat.
//! 2. All changes of one revision are in one batch.
//! 3. What cannot be told any more because history is compacted is an error, and the end.

use crate::{
    Client, Error, ErrorKind, Header, KeyRange, KeyValue,
    api::{
        etcdserverpb::{
            WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
            watch_create_request::FilterType, watch_request::RequestUnion,
        },
        mvccpb::{self, event::EventType},
    },
    call::{Opened, Pauses},
};
use futures::{Stream, StreamExt, future::Either, stream, stream::BoxStream};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, metadata::MetadataValue};

/// What to watch. A key or a [`KeyRange`] converts into it.
///
/// # Examples
/// ```
/// use conclave_client::{KeyRange, Watch};
///
/// let deletions_since = Watch::new(KeyRange::prefix("job/")).from_revision(100).deletions_only().previous();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Watch {
    request: WatchCreateRequest,
}

/// What happened to one key.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{EventKind, Watch};
/// use futures::TryStreamExt;
///
/// let mut changes = client.watch(Watch::new("config").previous()).await?;
/// while let Some(batch) = changes.try_next().await? {
///     for event in batch.events {
///         match event.kind {
///             EventKind::Put => println!("{:?}, before {:?}", event.kv.value, event.previous),
///             EventKind::Delete => println!("gone at revision {}", event.kv.mod_revision),
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Written or deleted.
    pub kind: EventKind,
    /// The key as it is now; of a deletion only the key and the revision that deleted it.
    pub kv: KeyValue,
    /// What it held before; only if asked for, there was something, and history still has it.
    pub previous: Option<KeyValue>,
}

/// Whether a key was written or deleted.
///
/// The [example](Event#examples) of [`Event`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Created or changed.
    Put,
    /// Deleted, or gone with its lease.
    Delete,
}

/// Changes that came together: one revision, or several.
///
/// The [example](Event#examples) of [`Event`] shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Who sent it, and how far that member is.
    pub header: Header,
    /// In order of revision; empty if this only says that nothing happened up to the header's
    /// revision ([`Watch::progress`]).
    pub events: Vec<Event>,
}

/// What to watch, as in the [example](Watch#examples).
impl Watch {
    /// Watches a range from now on.
    pub fn new(range: impl Into<KeyRange>) -> Self {
        let KeyRange { key, end } = range.into();
        Self { request: WatchCreateRequest { key, range_end: end, ..Default::default() } }
    }

    /// From this revision on, which may lie in the past or in the future.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.request.start_revision = revision;
        self
    }

    /// With what each key held before.
    pub fn previous(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// With an empty batch from time to time (every 10 min unless the cluster is set up otherwise)
    /// when nothing happens.
    pub fn progress(mut self) -> Self {
        self.request.progress_notify = true;
        self
    }

    /// Without deletions.
    pub fn puts_only(mut self) -> Self {
        self.request.filters.push(FilterType::Nodelete.into());
        self
    }

    /// Without puts.
    pub fn deletions_only(mut self) -> Self {
        self.request.filters.push(FilterType::Noput.into());
        self
    }
}

impl<R: Into<KeyRange>> From<R> for Watch {
    fn from(range: R) -> Self {
        Self::new(range)
    }
}

/// A watch that goes on until it is dropped: a stream of [`Batch`]es.
///
/// When the member it is connected to fails, it goes on at another one where it was. It ends after
/// an error: [`ErrorKind::OutOfRange`] with [`Error::compacted`] if history that it needs is gone
/// (read the range again, and watch from the revision of that read), or a refusal. Failures of
/// members are no errors; without any reachable member it waits.
///
/// # Cancel safety
/// A dropped `next` loses nothing.
///
/// [`Client::watch`] has an example.
pub struct WatchStream {
    batches: BoxStream<'static, Result<Batch, Error>>,
    from: i64,
}

impl Client {
    /// Watches. When this returns, the watch is in effect: it reports every change from then on, or
    /// from [`Watch::from_revision`].
    ///
    /// # Errors
    /// Retryable: no member took it within [`Builder::timeout`](crate::Builder::timeout). Final: it
    /// is refused, or history is compacted.
    ///
    /// # Cancel safety
    /// Dropping the future ends the watch.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{KeyRange, Watch};
    /// use futures::TryStreamExt;
    ///
    /// let configuration = client.range(KeyRange::prefix("config/")).await?;
    /// let since = configuration.header.revision + 1;
    /// let mut changes = client.watch(Watch::new(KeyRange::prefix("config/")).from_revision(since)).await?;
    /// while let Some(batch) = changes.try_next().await? {
    ///     for event in batch.events {
    ///         println!("{:?} {:?}", event.kind, event.kv.key);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, watch: impl Into<Watch>) -> Result<WatchStream, Error> {
        let mut watching = Watching::new(self.clone(), watch.into());
        let created = timeout(self.timeout(), watching.create()).await;
        created.unwrap_or_else(|_| Err(Error::unsent("no member took the watch in time")))?;
        Ok(watching.into())
    }

    /// A watch from a given revision on, which need not be in effect yet: what happens meanwhile is
    /// reported later.
    pub(crate) fn watch_from(&self, watch: Watch, revision: i64) -> WatchStream {
        Watching::new(self.clone(), watch.from_revision(revision)).into()
    }
}

impl WatchStream {
    /// The first revision that it reports.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// let changes = client.watch("config").await?;
    /// let since = changes.from_revision();
    /// // Everything before that revision is in this read, everything from it on comes by the watch.
    /// let config = client.get("config").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_revision(&self) -> i64 {
        self.from
    }
}

impl Stream for WatchStream {
    type Item = Result<Batch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("from", &self.from).finish_non_exhaustive()
    }
}

impl From<Watching> for WatchStream {
    fn from(watching: Watching) -> Self {
        let from = watching.next;
        let batches = stream::unfold(Some(watching), async |state| {
            let mut watching = state?;
            match watching.batch().await {
                Ok(batch) => Some((Ok(batch), Some(watching))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Self { batches: batches.boxed(), from }
    }
}

struct Watching {
    client: Client,
    watch: Watch,
    /// The first revision that has not been given out; 0 until the first member has said where now
    /// is.
    next: i64,
    open: Option<OpenWatch>,
    pauses: Pauses,
}

struct OpenWatch {
    opened: Opened<Streaming<WatchResponse>>,
    /// The stream ends when this is dropped.
    _requests: mpsc::Sender<WatchRequest>,
    created: bool,
}

impl Watching {
    fn new(client: Client, watch: Watch) -> Self {
        let pauses = Pauses::new(client.endpoints_ref());
        Self { next: watch.request.start_revision, client, watch, open: None, pauses }
    }

    async fn create(&mut self) -> Result<(), Error> {
        while !self.open.as_ref().is_some_and(|open| open.created) {
            drop(self.message().await?);
        }
        Ok(())
    }

    async fn batch(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(message) = self.message().await? {
                let progress = message.events.is_empty() && !message.created;
                let header = message.header.unwrap_or_default();
                let next = self.next;
                let fresh = |event: &Event| event.kv.mod_revision >= next;
                let events: Vec<_> = message.events.into_iter().filter_map(event).filter(fresh).collect();
                if let Some(last) = events.last() {
                    self.next = last.kv.mod_revision + 1;
                } else if progress {
                    self.next = self.next.max(header.revision + 1);
                }
                if !events.is_empty() || (progress && self.watch.request.progress_notify) {
                    return Ok(Batch { header, events });
                }
            }
        }
    }

    /// The next message; `None` if there was a failure, after which the next call goes on
    /// elsewhere.
    async fn message(&mut self) -> Result<Option<WatchResponse>, Error> {
        let open = match &mut self.open {
            Some(open) => open,
            None => match self.watch.open(&self.client, self.next).await {
                Ok(open) => self.open.insert(open),
                Err(error) => return self.failed(error).await,
            },
        };
        // Creation is answered at once; afterwards there may be nothing to say for days.
        let message = open.opened.answers.message();
        let message = match open.created {
            true => Either::Left(async { Some(message.await) }),
            false => Either::Right(async { timeout(self.client.attempt_timeout(), message).await.ok() }),
        };
        let error = match message.await {
            Some(Ok(Some(message))) => match refusal(&message) {
                None => {
                    self.client.praise(&open.opened.choice);
                    if message.created {
                        open.created = true;
                        if self.next == 0 {
                            self.next = message.header.as_ref().map_or(0, |header| header.revision) + 1;
                        }
                    } else {
                        // Not for a creation: members that accept every watch and end it at once
                        // are not to be asked without a pause.
                        self.pauses = Pauses::new(self.client.endpoints_ref());
                    }
                    return Ok(Some(message));
                }
                Some(error) => error,
            },
            Some(Ok(None)) => Error::unsent("the watch stream ended"),
            Some(Err(status)) => Error::from(status),
            None => Error::unsent("no answer to a watch within the deadline"),
        };
        let error = self.client.blame(&open.opened.choice, error.of_read());
        self.failed(error).await
    }

    async fn failed(&mut self, error: Error) -> Result<Option<WatchResponse>, Error> {
        self.open = None;
        let error = error.of_read();
        if error.is_final() {
            return Err(error);
        }
        tracing::debug!(%error, next = self.next, "watch goes on elsewhere");
        sleep(self.pauses.next()).await;
        Ok(None)
    }
}

impl Watch {
    async fn open(&self, client: &Client, from: i64) -> Result<OpenWatch, Error> {
        let (requests, queue) = mpsc::channel(1);
        let create = WatchCreateRequest { start_revision: from, ..self.request.clone() };
        // There is room for one.
        let _ = requests.try_send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        let mut request = Request::new(ReceiverStream::new(queue));
        // A member that is cut off from the cluster is to say so instead of staying silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let call = |channel, request| async move {
            WatchClient::new(channel).max_decoding_message_size(usize::MAX).watch(request).await
        };
        let opened = client.open(client.attempt_timeout(), request, call).await?;
        Ok(OpenWatch { opened, _requests: requests, created: false })
    }
}

/// Why the member ended the watch, if it did.
fn refusal(message: &WatchResponse) -> Option<Error> {
    if !message.canceled {
        return None;
    }
    if message.compact_revision > 0 {
        return Some(Error::compacted_at(message.compact_revision));
    }
    let reason = message.cancel_reason.as_str();
    // etcd writes the status of another language's library into the text, so it is searched, not
    // compared.
    let of_member = ["no leader", "leader changed", "server stopped", "timed out"];
    Some(if reason.is_empty() || of_member.iter().any(|text| reason.contains(text)) {
        Error::unsent(format!("the member ended the watch: {reason}"))
    } else if reason.contains("permission denied") {
        Error::new(ErrorKind::Denied, reason)
    } else if reason.contains("compacted") {
        Error::new(ErrorKind::OutOfRange, reason)
    } else {
        Error::new(ErrorKind::Refused, reason)
    })
}

fn event(event: mvccpb::Event) -> Option<Event> {
    let kind = match event.r#type() {
        EventType::Put => EventKind::Put,
        EventType::Delete => EventKind::Delete,
    };
    Some(Event { kind, kv: event.kv?, previous: event.prev_kv })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::etcdserverpb::watch_server::{self, WatchServer};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Response, Status, transport::Server};

    /// A member that accepts every watch, and ends it at once.
    #[derive(Clone, Default)]
    struct Fickle(Arc<AtomicUsize>);

    #[tonic::async_trait]
    impl watch_server::Watch for Fickle {
        type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

        async fn watch(&self, _: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let created = WatchResponse { created: true, ..Default::default() };
            Ok(Response::new(stream::iter([Ok(created)]).boxed()))
        }
    }

    #[tokio::test]
    async fn members_that_end_every_watch_are_not_asked_in_a_loop() {
        let (fickle, mut addresses) = (Fickle::default(), Vec::new());
        for _ in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("bound").to_string());
            let serving = Server::builder().add_service(WatchServer::new(fickle.clone()));
            tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        }
        let client = Client::new(addresses).expect("addresses");
        let mut watch = client.watch_from(Watch::new("a"), 5);
        assert!(timeout(Duration::from_secs(1), watch.next()).await.is_err(), "it goes on trying");
        let asked = fickle.0.load(Ordering::Relaxed);
        assert!((3..20).contains(&asked), "asked {asked} times in a second");
    }

    #[test]
    fn only_what_the_member_cannot_help_is_resumed() {
        let ended = |reason: &str, compact_revision| WatchResponse {
            canceled: true,
            cancel_reason: reason.into(),
            compact_revision,
            ..Default::default()
        };
        let of = |reason, compacted| refusal(&ended(reason, compacted)).map(|e| (e.is_retryable(), e.kind()));
        assert_eq!(of("etcdserver: no leader", 0), Some((true, ErrorKind::Unavailable)));
        assert_eq!(of("", 7), Some((false, ErrorKind::OutOfRange)));
        let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert_eq!(of(denied, 0), Some((false, ErrorKind::Denied)));
        assert_eq!(of("mvcc: watcher range is empty", 0), Some((false, ErrorKind::Refused)));
        assert!(refusal(&WatchResponse::default()).is_none());
    }
}
