//! Answers that clients have not taken: how many bytes there may be, of one connection and of all.
//!
//! A client that asks and does not read leaves its answers in the memory of the member. Large ones
//! have a budget of their own ([`crate::outflow`]); these are the others, from [`COUNTED`] bytes
//! on. The bytes are counted from when an answer is encoded until HTTP/2 has written them.
//!
//! 1. While [`OF_ONE`] bytes of a connection are unsent, its requests that have no answer yet are
//!    not polled: they are as small as they came. Those that have an answer go on, so the client
//!    gets out of this by reading.
//! 2. If more than [`OF_ALL`] bytes are unsent together, the connection with the most is closed.
//! 3. Together they are at most [`OF_ALL`], and what connections hold that are being closed.

use super::reply::Reply;
use bytes::Bytes;
use conclave_net::throttle::Throttle;
use http::Response;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio_util::sync::CancellationToken;

/// A connection with so many bytes gets no further answers.
pub(super) const OF_ONE: usize = if cfg!(test) { 1 << 20 } else { 16 << 20 };

/// Of all connections together.
pub(super) const OF_ALL: usize = 16 * OF_ONE;

/// Smaller answers are not counted: streams are bounded, and so are they.
const COUNTED: usize = 512;

/// Of all connections.
#[derive(Clone, Default)]
pub(super) struct Unsent(Arc<All>);

#[derive(Default)]
struct All {
    bytes: AtomicUsize,
    next: AtomicUsize,
    connections: Mutex<BTreeMap<usize, Arc<One>>>,
    log: Throttle,
}

struct One {
    bytes: AtomicUsize,
    /// Requests that wait until there are fewer.
    parked: Mutex<Vec<Waker>>,
    closed: CancellationToken,
}

/// Of one connection.
pub(super) struct Connection {
    all: Unsent,
    number: usize,
    one: Arc<One>,
}

impl Unsent {
    pub(super) fn connection(&self) -> Arc<Connection> {
        let one =
            Arc::new(One { bytes: AtomicUsize::new(0), parked: Mutex::default(), closed: CancellationToken::new() });
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.connections.lock().insert(number, one.clone());
        Arc::new(Connection { all: self.clone(), number, one })
    }

    /// Closes the connection that has the most.
    fn make_room(&self) {
        let connections = self.0.connections.lock();
        let open = connections.values().filter(|one| !one.closed.is_cancelled());
        let Some(most) = open.max_by_key(|one| one.bytes.load(Ordering::Relaxed)) else { return };
        most.closed.cancel();
        if let Some(suppressed) = self.0.log.admit() {
            let bytes = most.bytes.load(Ordering::Relaxed);
            tracing::warn!(
                bytes,
                suppressed,
                "clients do not take their answers; the connection with the most is closed"
            );
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.0.connections.lock().remove(&self.number);
    }
}

impl Connection {
    /// Returns when the connection must close.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.one.closed.clone().cancelled_owned()
    }

    /// An answer that waits as long as the connection has too many.
    pub(super) fn answer<A>(self: &Arc<Self>, answer: A) -> Answered<A> {
        Answered { answer, connection: self.clone() }
    }

    fn is_full(&self) -> bool {
        self.one.bytes.load(Ordering::SeqCst) >= OF_ONE
    }

    /// The same bytes, counted as long as anything of them is in memory.
    fn count(&self, bytes: Bytes) -> Bytes {
        if bytes.len() < COUNTED {
            return bytes;
        }
        let size = bytes.len();
        self.one.bytes.fetch_add(size, Ordering::SeqCst);
        if self.all.0.bytes.fetch_add(size, Ordering::SeqCst) + size > OF_ALL {
            self.all.make_room();
        }
        Bytes::from_owner(Counted { bytes, all: self.all.clone(), one: self.one.clone() })
    }
}

struct Counted {
    bytes: Bytes,
    all: Unsent,
    one: Arc<One>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let size = self.bytes.len();
        self.all.0.bytes.fetch_sub(size, Ordering::SeqCst);
        let before = self.one.bytes.fetch_sub(size, Ordering::SeqCst);
        if before >= OF_ONE && before - size < OF_ONE {
            let parked = std::mem::take(&mut *self.one.parked.lock());
            parked.into_iter().for_each(Waker::wake);
        }
    }
}

/// See [`Connection::answer`].
pub(super) struct Answered<A> {
    answer: A,
    connection: Arc<Connection>,
}

impl<A: Future<Output = Response<Reply>> + Unpin> Future for Answered<A> {
    type Output = Response<Reply>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Reply>> {
        let this = self.get_mut();
        if this.connection.is_full() {
            this.connection.one.parked.lock().push(cx.waker().clone());
            // Or it has just become fewer, and nobody was told.
            if this.connection.is_full() {
                return Poll::Pending;
            }
        }
        let connection = &this.connection;
        Pin::new(&mut this.answer)
            .poll(cx)
            .map(|answer| answer.map(|reply| reply.counted(|bytes| connection.count(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::BodyExt;
    use std::future::ready;

    fn reply(bytes: usize) -> Response<Reply> {
        Response::new(Reply::message(vec![7; bytes].into()))
    }

    /// As HTTP/2 holds it until it is written.
    fn take(reply: Response<Reply>) -> Bytes {
        let frame = reply.into_body().frame().now_or_never().expect("it is there").expect("one").expect("no error");
        frame.into_data().expect("a message")
    }

    #[tokio::test]
    async fn a_connection_with_too_much_unsent_gets_no_further_answers() {
        let (all, size) = (Unsent::default(), OF_ONE / 16);
        let (one, other) = (all.connection(), all.connection());
        let mut unsent: Vec<Bytes> = Vec::new();
        for _ in 0..OF_ONE / size {
            unsent.push(take(one.answer(ready(reply(size))).now_or_never().expect("there is room")));
        }
        let mut waits = one.answer(ready(reply(size)));
        assert!((&mut waits).now_or_never().is_none(), "this one waits");
        assert!(other.answer(ready(reply(size))).now_or_never().is_some(), "nobody else");
        let task = tokio::spawn(waits);
        tokio::task::yield_now().await;
        drop(unsent.pop());
        let _ = task.await.expect("it is woken when something was written");
        drop(unsent);
        assert_eq!(all.0.bytes.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn the_one_with_the_most_is_closed_when_all_have_too_much() {
        let (all, size) = (Unsent::default(), OF_ONE / 16);
        let crowd: Vec<_> = (0..OF_ALL / OF_ONE).map(|_| all.connection()).collect();
        let mut unsent = Vec::new();
        let small = all.connection();
        unsent.push(small.count(vec![7; size].into()));
        for (at, one) in crowd.iter().enumerate() {
            let bytes = if at == 3 { OF_ONE + 4 * size } else { OF_ONE - size };
            unsent.extend((0..bytes / size).map(|_| one.count(vec![7; size].into())));
        }
        assert!(crowd[3].over().now_or_never().is_none());
        while crowd[3].over().now_or_never().is_none() {
            unsent.push(small.count(vec![7; size].into()));
            assert!(all.0.bytes.load(Ordering::SeqCst) <= OF_ALL + size);
        }
        assert!(small.over().now_or_never().is_none());
        drop((crowd, small));
        assert!(all.0.connections.lock().is_empty());
    }
}
