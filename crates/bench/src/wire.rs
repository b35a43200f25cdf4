//! gRPC connections for load: HTTP/2 and nothing around it.
//!
//! The load shares the processor with the servers that it measures. tonic's channel hands each call
//! through a queue to a task, and that one to the task of a connection; here the caller writes its
//! frames itself. The generated clients work on either.
//!
//! 1. A call is sent once, on the connection that is there. Without one it fails at once, as
//!    `UNAVAILABLE`.
//! 2. A connection that is lost is opened again, for as long as somebody has the wire.
//! 3. A call whose future is dropped is reset at the server.

use bytes::Bytes;
use futures::FutureExt as _;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{net::TcpStream, time::sleep};
use tonic::{Status, body::Body, client::GrpcService, codegen::BoxFuture};

/// Between two attempts to connect again.
const AGAIN: Duration = Duration::from_millis(20);

/// How much a server may send before it is read, for a stream and for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) stream: u32,
    pub(super) connection: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self { stream: 2 << 20, connection: 5 << 20 }
    }
}

/// A connection to one member; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    authority: Authority,
    windows: Windows,
    /// `None` while there is no connection.
    requests: Mutex<Option<SendRequest<Bytes>>>,
}

type Connection = h2::client::Connection<TcpStream, Bytes>;

impl Wire {
    /// Connects to `http://host:port`.
    pub(super) async fn connect(address: &str, windows: Windows) -> io::Result<Self> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let uri: Uri = address.parse().map_err(|_| invalid("not a URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(invalid("load goes over plain HTTP only"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| invalid("a URL without a host"))?;
        let (requests, connection) = open(&authority, windows).await?;
        let wire = Self(Arc::new(Shared { authority, windows, requests: Mutex::new(Some(requests)) }));
        tokio::spawn(keep(Arc::downgrade(&wire.0), connection));
        Ok(wire)
    }
}

impl Shared {
    fn set(&self, requests: Option<SendRequest<Bytes>>) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }

    fn get(&self) -> Result<SendRequest<Bytes>, Status> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.ok_or_else(|| Status::unavailable(format!("{}: the connection is lost", self.authority)))
    }

    /// The path that a generated client gives, at this server.
    fn at(&self, uri: Uri) -> Result<Uri, Status> {
        let path = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(path);
        uri.build().map_err(|error| Status::internal(error.to_string()))
    }
}

async fn open(authority: &Authority, windows: Windows) -> io::Result<(SendRequest<Bytes>, Connection)> {
    let port = authority.port_u16().unwrap_or(80);
    let socket = TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(windows.stream).initial_connection_window_size(windows.connection);
    builder.handshake(socket).await.map_err(io::Error::other)
}

/// Reads and writes the connection, and opens another one when it has ended.
async fn keep(shared: Weak<Shared>, mut connection: Connection) {
    loop {
        // How it ended is told by the calls that were under way.
        let _ = (&mut connection).await;
        connection = loop {
            let Some(shared) = shared.upgrade() else { return };
            shared.set(None);
            if let Ok((requests, connection)) = open(&shared.authority, shared.windows).await {
                shared.set(Some(requests));
                break connection;
            }
            drop(shared);
            sleep(AGAIN).await;
        };
    }
}

impl GrpcService<Body> for Wire {
    type ResponseBody = Answer;
    type Error = Status;
    type Future = BoxFuture<Response<Answer>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.uri = shared.at(head.uri)?;
            let mut requests = shared.get()?.ready().await.map_err(failed)?;
            let head = Request::from_parts(head, ());
            let (response, stream) = requests.send_request(head, false).map_err(failed)?;
            // A single message is there already. What is not is sent meanwhile.
            let mut sending = Box::pin(send(body, stream));
            match (&mut sending).now_or_never() {
                Some(sent) => sent?,
                None => drop(tokio::spawn(sending)),
            }
            Ok(response.await.map_err(failed)?.map(Answer))
        })
    }
}

/// Sends a body to its end; the last piece and the end are one frame.
async fn send(mut body: Body, mut stream: SendStream<Bytes>) -> Result<(), Status> {
    let mut held: Option<Bytes> = None;
    loop {
        let next = match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
            Poll::Ready(next) => next,
            Poll::Pending => {
                // Nothing is held back while it is unknown whether more will come.
                if let Some(data) = held.take() {
                    stream.send_data(data, false).map_err(failed)?;
                }
                tokio::select! {
                    next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)) => next,
                    // The server has ended the call.
                    _ = poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
                }
            }
        };
        match next.transpose()? {
            Some(frame) => {
                let Ok(data) = frame.into_data() else { continue };
                if let Some(before) = held.replace(data) {
                    stream.send_data(before, false).map_err(failed)?;
                }
            }
            None => return stream.send_data(held.unwrap_or_default(), true).map_err(failed),
        }
    }
}

fn failed(error: h2::Error) -> Status {
    // Of the connection: what the generated clients of a channel are told then.
    if error.is_io() { Status::unavailable(error.to_string()) } else { Status::from_error(error.into()) }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer(RecvStream);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(self.0.poll_data(cx)) {
            Some(Ok(data)) => {
                // An error would say that the stream has ended, which the next frame does.
                let _ = self.0.flow_control().release_capacity(data.len());
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(failed(error))),
            None => ready!(self.0.poll_trailers(cx))
                .map_err(failed)
                .transpose()
                .map(|trailers| trailers.map(Frame::trailers)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::net::TcpListener;

    /// Answers as many calls as it is told, then ends the connection.
    async fn serve(listener: &TcpListener, calls: usize) {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        for left in (0..calls).rev() {
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(Response::new(()), true).unwrap();
            if left == 0 {
                connection.graceful_shutdown();
            }
        }
        while connection.accept().await.is_some() {}
    }

    async fn call(wire: &mut Wire) -> Result<(), Status> {
        wire.call(Request::builder().uri("/service/method").body(Body::empty()).unwrap()).await.map(drop)
    }

    #[tokio::test]
    async fn a_connection_that_is_lost_is_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            serve(&listener, 2).await;
            serve(&listener, 1).await;
        });
        let mut wire = Wire::connect(&address, Windows::default()).await.unwrap();
        call(&mut wire).await.unwrap();
        call(&mut wire.clone()).await.unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(lost) = call(&mut wire).await {
            assert!(Instant::now() < end, "{lost}");
            sleep(AGAIN).await;
        }
        drop(wire);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn only_plain_http_is_spoken() {
        for address in ["https://127.0.0.1:1", "127.0.0.1:1", "http://", "no url"] {
            assert!(Wire::connect(address, Windows::default()).await.is_err(), "{address}");
        }
    }
}
