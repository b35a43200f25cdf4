//! One watch stream as the wire has it: any number of watches on it, created and cancelled by
//! messages.

use super::Client;
use crate::{
    Error,
    api::etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
    wire::answers::Answers,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

/// Requests that may wait on one stream.
const QUEUE: usize = 128;

/// Watches.
///
/// The [example](WatchStream#examples) of [`WatchStream`] shows it.
#[derive(Clone, Debug)]
pub struct Watch(pub(crate) Client);

impl Watch {
    /// Opens a stream of watches; whether the member takes it shows with the first answer.
    #[must_use]
    pub fn open(&self) -> WatchStream {
        let (requests, queued) = mpsc::channel(QUEUE);
        let request = Request::new(ReceiverStream::new(queued));
        let client = self.0.clone();
        let call = async move |channel, request| {
            WatchClient::new(channel).max_decoding_message_size(usize::MAX).watch(request).await
        };
        let responses = Answers::new(async move { client.patient(request, call).await });
        WatchStream { requests, responses }
    }
}

/// An open stream of watches. Dropping it ends them all.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::WatchCreateRequest;
///
/// let mut stream = wire.watch().open();
/// let create = WatchCreateRequest { key: "k".into(), watch_id: 1, ..WatchCreateRequest::default() };
/// stream.create(create).await?;
/// while let Some(message) = stream.next().await? {
///     if message.created {
///         stream.request_progress().await?;
///     }
///     if !message.events.is_empty() {
///         stream.cancel(1).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WatchStream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Answers<WatchResponse>,
}

/// Messages, as in the [example](WatchStream#examples). A dropped `next` loses nothing; a request
/// that was dropped may be sent or not.
impl WatchStream {
    /// Asks for a watch; the answer is a message with `created` set.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn create(&self, request: WatchCreateRequest) -> Result<(), Error> {
        self.send(RequestUnion::CreateRequest(request)).await
    }

    /// Asks to end one watch of this stream.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn cancel(&self, watch_id: i64) -> Result<(), Error> {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await
    }

    /// Asks how far the stream is.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn request_progress(&self) -> Result<(), Error> {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await
    }

    /// The next message; `None` when the member ended the stream.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        self.responses.next().await
    }

    async fn send(&self, union: RequestUnion) -> Result<(), Error> {
        let sent = self.requests.send(WatchRequest { request_union: Some(union) }).await;
        sent.map_err(|_| Error::unsent("the watch stream has ended"))
    }
}
