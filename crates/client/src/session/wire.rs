//! The two wires that a session can be kept on: etcd's, in whole seconds, and `conclave.v1`, in
//! milliseconds. One lease, whichever it is.

use crate::{
    Client, Error, ErrorKind,
    api::conclave::v1 as pb,
    call::Opened,
    clock::Moment,
    coord,
    lease::{self, KeepAliveStream},
};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// What a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Etcd,
    Conclave,
}

impl Wire {
    /// Grants a lease of this id; returns its TTL.
    pub(super) async fn grant(self, client: &Client, ttl: Duration, id: i64) -> Result<Duration, Error> {
        match self {
            Self::Etcd => Ok(client.grant(ttl, id).await?.ttl),
            Self::Conclave => {
                let call = |channel, request| async move { coord::sessions(channel).open(request).await };
                let request = pb::OpenSessionRequest { session: id, ttl_ms: coord::millis(ttl) };
                Ok(Duration::from_millis(client.write(request, call).await?.ttl_ms))
            }
        }
    }

    /// Keeps a lease alive once; tells when that was asked for, and how long it lives from then on.
    pub(super) async fn keep_alive_once(self, client: &Client, id: i64) -> Result<(Moment, Duration), Error> {
        let patience = client.attempt_timeout();
        let once = || async move { KeepAlives::open(self, client, id, patience).await?.keep_alive(patience).await };
        lease::kept(client, once).await
    }
}

/// A stream of keep-alives of one lease, with one request under way at a time.
pub(super) enum KeepAlives {
    Seconds(KeepAliveStream),
    Millis(KeepSessions),
}

impl KeepAlives {
    pub(super) async fn open(wire: Wire, client: &Client, id: i64, patience: Duration) -> Result<Self, Error> {
        Ok(match wire {
            Wire::Etcd => Self::Seconds(KeepAliveStream::open(client, id, patience).await?),
            Wire::Conclave => Self::Millis(KeepSessions::open(client, id, patience).await?),
        })
    }

    /// Asks and waits for the answer: how long the lease lives from when it was asked.
    pub(super) async fn keep_alive(&mut self, patience: Duration) -> Result<Duration, Error> {
        match self {
            Self::Seconds(stream) => stream.keep_alive(patience).await,
            Self::Millis(stream) => stream.keep_alive(patience).await,
        }
    }
}

pub(super) struct KeepSessions {
    client: Client,
    id: i64,
    requests: mpsc::Sender<pb::KeepSessionRequest>,
    opened: Opened<Streaming<pb::KeepSessionResponse>>,
    /// The request that opened the stream has not been answered yet.
    first: bool,
}

impl KeepSessions {
    async fn open(client: &Client, id: i64, patience: Duration) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(1);
        // There is room for one.
        let _ = requests.try_send(pb::KeepSessionRequest { session: id });
        let call = |channel, request| async move { coord::sessions(channel).keep_alive(request).await };
        let opened = client.open(patience, Request::new(ReceiverStream::new(queue)), call).await?;
        Ok(Self { client: client.clone(), id, requests, opened, first: true })
    }

    async fn keep_alive(&mut self, patience: Duration) -> Result<Duration, Error> {
        if !std::mem::take(&mut self.first) {
            let request = pb::KeepSessionRequest { session: self.id };
            self.requests.try_send(request).map_err(|_| Error::unsent("the keep-alive stream has ended"))?;
        }
        let failure = match timeout(patience, self.opened.answers.message()).await {
            Ok(Ok(Some(answer))) => {
                self.client.praise(&self.opened.choice);
                return match answer.ttl_ms {
                    0 => Err(Error::new(ErrorKind::LeaseNotFound, "etcdserver: requested lease not found")),
                    millis => Ok(Duration::from_millis(millis)),
                };
            }
            Ok(Ok(None)) => Error::unsent("the keep-alive stream ended"),
            Ok(Err(status)) => status.into(),
            Err(_) => Error::new(ErrorKind::OutcomeUnknown, "no answer to a keep-alive within the deadline"),
        };
        Err(self.client.blame(&self.opened.choice, failure))
    }
}
