//! Leases: grant, revoke, look at, and one stream that keeps any number of them alive.

use super::Client;
use crate::Channel;
use crate::{
    Error,
    api::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
        LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
        lease_client::LeaseClient,
    },
    wire::answers::Answers,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

/// Requests that may wait on one keep-alive stream.
const QUEUE: usize = 1024;

/// Leases.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest};
///
/// let leases = wire.lease();
/// let id = leases.grant(LeaseGrantRequest { ttl: 10, id: 0 }).await?.id;
/// leases.time_to_live(LeaseTimeToLiveRequest { id, keys: true }).await?;
/// println!("{} leases", leases.leases(LeaseLeasesRequest {}).await?.leases.len());
/// leases.revoke(LeaseRevokeRequest { id }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lease(pub(crate) Client);

/// One attempt a call, as in the [example](Lease#examples). Dropping the future of one that may
/// write leaves the outcome unknown.
impl Lease {
    /// Creates a lease; id 0 lets the member choose.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        self.0.unary(request, async |channel, request| lease(channel).lease_grant(request).await).await
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn revoke(&self, request: LeaseRevokeRequest) -> Result<LeaseRevokeResponse, Error> {
        self.0.unary(request, async |channel, request| lease(channel).lease_revoke(request).await).await
    }

    /// What is left of a lease, and its keys if asked for.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn time_to_live(&self, request: LeaseTimeToLiveRequest) -> Result<LeaseTimeToLiveResponse, Error> {
        self.0.unary(request, async |channel, request| lease(channel).lease_time_to_live(request).await).await
    }

    /// All leases this member knows.
    ///
    /// # Errors
    /// The member's refusal, or the transport's failure.
    pub async fn leases(&self, request: LeaseLeasesRequest) -> Result<LeaseLeasesResponse, Error> {
        self.0.unary(request, async |channel, request| lease(channel).lease_leases(request).await).await
    }

    /// Opens a stream of keep-alives; whether the member takes it shows with the first answer.
    #[must_use]
    pub fn keep_alives(&self) -> KeepAlives {
        let (requests, queued) = mpsc::channel(QUEUE);
        let request = Request::new(ReceiverStream::new(queued));
        let client = self.0.clone();
        let call = async move |channel, request| lease(channel).lease_keep_alive(request).await;
        let responses = Answers::new(async move { client.patient(request, call).await });
        KeepAlives { requests, responses }
    }
}

/// An open stream of keep-alives.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// let mut stream = wire.lease().keep_alives();
/// stream.send(0x1234).await?;
/// match stream.next().await? {
///     Some(answer) if answer.ttl > 0 => println!("{} s more", answer.ttl),
///     Some(_) => println!("the lease is gone"),
///     None => println!("the member ended the stream"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KeepAlives {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    responses: Answers<LeaseKeepAliveResponse>,
}

/// Asking and hearing, as in the [example](KeepAlives#examples). A dropped `next` loses nothing.
impl KeepAlives {
    /// Asks to keep one lease alive; waits only while the stream's queue is full.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn send(&self, id: i64) -> Result<(), Error> {
        let sent = self.requests.send(LeaseKeepAliveRequest { id }).await;
        sent.map_err(|_| Error::unsent("the keep-alive stream has ended"))
    }

    /// A handle for asking while somebody else reads the answers.
    #[must_use]
    pub fn sender(&self) -> mpsc::Sender<LeaseKeepAliveRequest> {
        self.requests.clone()
    }

    /// The next answer; its time to live is 0 if the lease is gone. `None` when the member ended
    /// the stream.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn next(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Error> {
        self.responses.next().await
    }
}

fn lease(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(usize::MAX)
}
