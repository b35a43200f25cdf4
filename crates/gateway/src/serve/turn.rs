//! How long a connection may occupy the thread that it shares with all others.
//!
//! A client may send thousands of requests at once. A connection polls them in one task, and its
//! HTTP/2 library reads as long as there is something to read. So each time the task runs it has a
//! *turn*: so many requests and bytes, and so much time. What is left over waits for the next turn,
//! which comes when all others that are ready have had theirs.
//!
//! 1. A turn ends after [`REQUESTS`] requests, [`BYTES`] bytes, or [`TIME`] and the request that is
//!    polled just then. One request at least is polled in each.
//! 2. A poll that is refused because the turn is over has woken its task: nothing waits for an
//!    event that has happened already.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Requests that are polled in one turn.
const REQUESTS: usize = 256;

/// Bytes that are read in one turn: some hundred small requests.
const BYTES: usize = 64 << 10;

/// After this no further request is polled in a turn, but for the first.
pub(super) const TIME: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 2 });

#[derive(Debug)]
pub(super) struct Turn {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    over: AtomicBool,
    /// The connection goes on in a task of its own, without turns.
    free: AtomicBool,
    made: Instant,
    /// In nanoseconds after it was made.
    began: AtomicU64,
}

impl Default for Turn {
    fn default() -> Turn {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (over, free) = (AtomicBool::new(false), AtomicBool::new(false));
        Turn { requests, bytes, over, free, made: Instant::now(), began: AtomicU64::new(0) }
    }
}

impl Turn {
    pub(super) fn begin(&self) {
        self.requests.store(REQUESTS, Ordering::Relaxed);
        self.bytes.store(BYTES, Ordering::Relaxed);
        self.over.store(false, Ordering::Relaxed);
        self.began.store(self.now(), Ordering::Relaxed);
    }

    /// Ends the turns: what follows reads as much as the runtime lets it.
    pub(super) fn end(&self) {
        self.free.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_late(&self) -> bool {
        u128::from(self.now().saturating_sub(self.began.load(Ordering::Relaxed))) >= TIME.as_nanos()
    }

    /// Whether one more request may be polled.
    pub(super) fn request(&self) -> bool {
        let left = self.requests.load(Ordering::Relaxed);
        if left == 0 || self.is_over() || (left < REQUESTS && self.is_late()) {
            self.over.store(true, Ordering::Relaxed);
            return false;
        }
        self.requests.store(left - 1, Ordering::Relaxed);
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A connection that is read in turns.
#[derive(Debug)]
pub(super) struct InTurns<S> {
    inner: S,
    turn: Arc<Turn>,
}

impl<S> InTurns<S> {
    pub(super) fn new(inner: S, turn: Arc<Turn>) -> InTurns<S> {
        InTurns { inner, turn }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InTurns<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.turn.free.load(Ordering::Relaxed) {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let left = this.turn.bytes.load(Ordering::Relaxed);
        if left == 0 || this.turn.is_over() {
            this.turn.over.store(true, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.turn.bytes.store(left.saturating_sub(buf.filled().len() - before), Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InTurns<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_comes_at_once_is_read_in_turns() {
        let turn = Arc::<Turn>::default();
        let sent = vec![7; 3 * BYTES];
        let mut stream = InTurns::new(&sent[..], turn.clone());
        let (mut all, mut chunk) = (0, [0; 8 << 10]);
        for number in 1..=4 {
            turn.begin();
            while let Some(read) = stream.read(&mut chunk).now_or_never() {
                let read = read.expect("memory can be read");
                all += read;
                if read == 0 {
                    break;
                }
            }
            assert_eq!(all, sent.len().min(number * BYTES), "after {number} turns");
        }
    }

    #[tokio::test]
    async fn after_the_turns_everything_is_read() {
        let turn = Arc::<Turn>::default();
        let mut stream = InTurns::new(&b"a frame of a websocket"[..], turn.clone());
        let mut read = Vec::new();
        assert!(stream.read_buf(&mut read).now_or_never().is_none(), "no turn has begun");
        turn.end();
        stream.read_to_end(&mut read).await.expect("memory can be read");
        assert_eq!(read, b"a frame of a websocket");
    }

    #[test]
    fn a_turn_is_so_many_requests_or_so_much_time() {
        let turn = Turn::default();
        turn.begin();
        assert!((0..REQUESTS).all(|_| turn.request()) && !turn.request() && turn.is_over());
        turn.begin();
        assert!(turn.request(), "another turn");
        std::thread::sleep(TIME);
        assert!(!turn.request() && turn.is_over(), "its time is over");
    }
}
