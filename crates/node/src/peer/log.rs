//! The log connection between two members: one connection for each append session, with plain
//! frames. It is encrypted if the URL of the member is `https`, and marked if there is a secret;
//! the frames are the same.
//!
//! ```text
//! leader    "conclave log 1\n"  LogHello  AppendRequest …  an empty frame: the end
//! follower                                AppendReply …
//! ```
//!
//! A single write is two messages to each follower and one back, and with HTTP/2 the transport was
//! half of their cost: each message passes through a stream task and a connection task at both
//! ends. Frames are written and read directly by the task that makes or uses the message.
//!
//! 1. A frame is a length of four bytes and one message of the peer protocol. (An empty reply is
//!    valid: it matches nothing.)
//! 2. The reply stream owns the leader's end of the connection: dropping it closes the connection.
//! 3. A connection that ends without the empty frame broke. The follower reports that to
//!    [`super::suspicion`].

use super::identity::Ids;
use super::pb;
use super::proof::Speaks;
use super::stream::Stream;
use super::target::Target;
use super::transport::{AppendReplies, AppendRequests, MAX_MESSAGE, PeerError};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Sink, SinkExt, StreamExt};
use prost::Message;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, FramedRead, FramedWrite, LengthDelimitedCodec};

/// The first line of a connection: its protocol and version.
const MAGIC: &[u8] = b"conclave log 1\n";

/// Timeout for the introduction of a new connection.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Largest introduction: three numbers.
const MAX_HELLO: usize = 64;
/// Either end detects within 15 seconds that the other machine is gone, and sooner if it has sent
/// data. While a reply is due, the leader uses the timeout in [`super::session`].
const IDLE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// Whether a connection that begins with this byte is a log connection.
pub(crate) fn begins_with(byte: u8) -> bool {
    MAGIC[0] == byte
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE).new_codec()
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(PROBE).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Unacknowledged data holds back the keep-alive probes, and would be resent for 15 minutes.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

fn frame(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

// ---- the leader's end ----

/// Connects to the member and sends it the requests.
pub(super) async fn open(
    target: &Target,
    ids: Ids,
    requests: BoxStream<'static, pb::AppendRequest>,
) -> Result<AppendReplies, PeerError> {
    let connection = target.connect(Speaks::Log).await.ok_or(PeerError::Unreachable)?;
    prepare(connection.tcp()).map_err(broken)?;
    match connection {
        Stream::Plain(stream) => send_on(stream, ids, requests).await,
        other => send_on(other, ids, requests).await,
    }
}

async fn send_on<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    ids: Ids,
    requests: BoxStream<'static, pb::AppendRequest>,
) -> Result<AppendReplies, PeerError> {
    let mut frames = Framed::new(stream, codec());
    frames.write_buffer_mut().extend_from_slice(MAGIC);
    let hello = pb::LogHello { cluster: ids.cluster, from: ids.from, to: ids.to };
    frames.feed(frame(&hello)).await.map_err(broken)?;
    Ok(Sending { requests: Some(requests), frames, ended: false }.boxed())
}

fn broken(_: io::Error) -> PeerError {
    PeerError::Unknown
}

/// Sends requests and yields replies, in the task that polls it.
struct Sending<S> {
    requests: Option<BoxStream<'static, pb::AppendRequest>>,
    frames: Framed<S, LengthDelimitedCodec>,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sending<S> {
    /// Writes pending requests.
    fn send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Some(requests) = &mut self.requests {
            if Sink::<Bytes>::poll_ready(Pin::new(&mut self.frames), cx)?.is_pending() {
                return Ok(());
            }
            let message = match requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => frame(&request),
                Poll::Ready(None) => {
                    self.requests = None;
                    Bytes::new()
                }
                Poll::Pending => break,
            };
            Pin::new(&mut self.frames).start_send(message)?;
        }
        // The rest is written when the socket has room.
        let _ = Sink::<Bytes>::poll_flush(Pin::new(&mut self.frames), cx)?;
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> futures::Stream for Sending<S> {
    type Item = Result<pb::AppendReply, PeerError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // A connection that cannot be written to may still deliver a last reply.
        let sent = this.send(cx);
        let reply = match this.frames.poll_next_unpin(cx) {
            Poll::Pending if sent.is_ok() => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => reply(&frame),
            Poll::Ready(None) if sent.is_ok() && this.requests.is_none() => {
                this.ended = true;
                return Poll::Ready(None);
            }
            Poll::Pending | Poll::Ready(_) => Err(PeerError::Unknown),
        };
        this.ended = reply.is_err();
        Poll::Ready(Some(reply))
    }
}

fn reply(frame: &[u8]) -> Result<pb::AppendReply, PeerError> {
    let mut reply = pb::AppendReply::decode(frame).map_err(|_| PeerError::Unknown)?;
    match reply.refused.take() {
        None => Ok(reply),
        Some(reason) => Err(PeerError::Refused(reason)),
    }
}

// ---- the follower's end ----

/// Serves one connection until it ends. `append` checks the ids.
pub(super) async fn serve(
    stream: Stream,
    append: impl FnOnce(Ids, AppendRequests) -> Result<AppendReplies, PeerError>,
) -> io::Result<()> {
    prepare(stream.tcp())?;
    match stream {
        Stream::Plain(stream) => {
            let (reader, writer) = stream.into_split();
            answer_on(reader, writer, append).await
        }
        other => {
            let (reader, writer) = tokio::io::split(other);
            answer_on(reader, writer, append).await
        }
    }
}

/// The same on any pair of streams.
pub(super) async fn answer_on<R: AsyncRead + Send + Unpin + 'static>(
    mut reader: R,
    writer: impl AsyncWrite + Unpin,
    append: impl FnOnce(Ids, AppendRequests) -> Result<AppendReplies, PeerError>,
) -> io::Result<()> {
    let mut writer = FramedWrite::new(writer, codec());
    let introduced = timeout(INTRODUCTION, async {
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).await?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another version of the protocol"));
        }
        // Limits the frame size until the sender is known.
        let mut frames = FramedRead::new(reader, codec());
        frames.decoder_mut().set_max_frame_length(MAX_HELLO);
        let hello = frames.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
        frames.decoder_mut().set_max_frame_length(MAX_MESSAGE);
        Ok((pb::LogHello::decode(hello)?, frames))
    });
    let (hello, frames) = introduced.await.map_err(|_| io::ErrorKind::TimedOut)??;
    let ids = Ids { cluster: hello.cluster, from: hello.from, to: hello.to };
    match append(ids, requests(frames)) {
        Ok(replies) => replies.map(|reply| Ok(answer(reply))).forward(&mut writer).await,
        Err(error) => {
            tracing::debug!(%error, "refused a peer's log");
            writer.send(answer(Err(error))).await
        }
    }
}

fn answer(reply: Result<pb::AppendReply, PeerError>) -> Bytes {
    frame(&reply.unwrap_or_else(|error| {
        let reason = match error {
            PeerError::Refused(reason) => reason,
            other => other.to_string(),
        };
        pb::AppendReply { refused: Some(reason), ..Default::default() }
    }))
}

fn requests<R: AsyncRead + Send + Unpin + 'static>(frames: FramedRead<R, LengthDelimitedCodec>) -> AppendRequests {
    let refused = |reason: String| PeerError::Refused(format!("a broken log stream: {reason}"));
    let requests = stream::unfold(Some(frames), move |frames| async move {
        let mut frames = frames?;
        let request = match frames.next().await {
            Some(Ok(frame)) if frame.is_empty() => return None,
            // The message shares slices of the frame. An unreadable message ends the stream and is
            // never skipped.
            Some(Ok(frame)) => pb::AppendRequest::decode(frame.freeze()).map_err(|error| refused(error.to_string())),
            Some(Err(error)) => Err(refused(error.to_string())),
            None => Err(refused("it broke off".into())),
        };
        let frames = request.is_ok().then_some(frames);
        Some((request, frames))
    });
    requests.boxed()
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
