//! Following something over failures of members: every event once, in order.
//!
//! 1. The revision after the last event given out is where the next member begins: no gap, no
//!    repeat.
//! 2. The first member is asked for a snapshot, which says where "now" is; from then on the
//!    position is known.
//! 3. History that is compacted ends it with an error.

use crate::Channel;
use crate::{
    Client, Error, ErrorKind,
    call::{Opened, Pauses},
};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

/// One thing that can be watched.
pub(crate) trait Source: Send + Sync + 'static {
    type Event: Send + 'static;

    /// Watches from a revision on; 0: from now, with a snapshot first.
    fn open(
        &self,
        channel: Channel,
        from: i64,
        request: Request<()>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Event>>, Status>> + Send;

    /// The revision of an event.
    fn revision(event: &Self::Event) -> i64;

    /// Whether it says how things stood when the watch began.
    fn is_snapshot(event: &Self::Event) -> bool;
}

pub(crate) struct Following<S: Source> {
    client: Client,
    source: S,
    /// The first revision that has not been told; 0 until a snapshot has said where now is.
    next: i64,
    open: Option<Opened<Streaming<S::Event>>>,
    pauses: Pauses,
}

impl<S: Source> Following<S> {
    /// From a revision on; 0: from now, with a snapshot first.
    pub(crate) fn new(client: &Client, source: S, from: i64) -> Self {
        Self { client: client.clone(), source, next: from, open: None, pauses: Pauses::new(client.endpoints_ref()) }
    }

    /// Waits until a member has taken the watch, no longer than a call may take.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        let patience = self.client.timeout();
        let opening = async {
            while self.open.is_none() {
                self.reopen().await?;
            }
            Ok(())
        };
        let late = || Err(Error::unsent("no member took the watch in time"));
        timeout(patience, opening).await.unwrap_or_else(|_| late())
    }

    /// The next event. After an error it is over.
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<S::Event, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.reopen().await?;
                continue;
            };
            let error = match open.answers.message().await {
                Ok(Some(event)) => {
                    self.client.praise(&open.choice);
                    self.pauses = Pauses::new(self.client.endpoints_ref());
                    let revision = S::revision(&event);
                    if S::is_snapshot(&event) {
                        // A long one comes in several events of one revision.
                        self.next = self.next.max(revision + 1);
                        return Ok(event);
                    }
                    if revision >= self.next {
                        self.next = revision + 1;
                        return Ok(event);
                    }
                    continue;
                }
                Ok(None) => Error::unsent("the stream ended"),
                Err(status) => Error::from(status).of_read(),
            };
            let error = self.client.blame(&open.choice, error);
            self.failed(error).await?;
        }
    }

    /// A stream of what `tell` makes of the events; ends after an error.
    pub(crate) fn stream<T: Send + 'static>(
        self,
        tell: impl Fn(S::Event) -> Option<T> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T, Error>> {
        let events = stream::unfold((Some(self), tell), async |(following, tell)| {
            let mut following = following?;
            loop {
                match following.next().await {
                    Ok(event) => {
                        if let Some(told) = tell(event) {
                            return Some((Ok(told), (Some(following), tell)));
                        }
                    }
                    Err(error) => return Some((Err(error), (None, tell))),
                }
            }
        });
        events.boxed()
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        let mut request = Request::new(());
        // A member that is cut off from the cluster is to say so instead of staying silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let (source, from) = (&self.source, self.next);
        let call = |channel, request| source.open(channel, from, request);
        match self.client.open(self.client.attempt_timeout(), request, call).await {
            Ok(open) => {
                self.open = Some(open);
                Ok(())
            }
            Err(error) => self.failed(error.of_read()).await,
        }
    }

    async fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.open = None;
        if error.is_final() {
            return Err(error);
        }
        tracing::debug!(%error, next = self.next, "following goes on elsewhere");
        sleep(self.pauses.next()).await;
        Ok(())
    }
}

/// Follows until `over` says so, beginning anew with how things stand when history is gone.
pub(crate) async fn until<S: Source + Clone, T>(
    client: &Client,
    source: S,
    from: i64,
    over: impl Fn(&S::Event) -> Option<T>,
) -> T {
    let mut following = Following::new(client, source.clone(), from);
    loop {
        match following.next().await {
            Ok(event) => {
                if let Some(over) = over(&event) {
                    return over;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "following begins anew");
                if error.kind() != ErrorKind::OutOfRange {
                    sleep(client.attempt_timeout()).await;
                }
                following = Following::new(client, source.clone(), 0);
            }
        }
    }
}
