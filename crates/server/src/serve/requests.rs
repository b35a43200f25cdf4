//! The requests of one HTTP/2 connection, run by the task of the connection itself.
//!
//! hyper hands the future of each request to an executor. A task for each of them costs an allocation, a place in the scheduler's queue, and
//! a wake-up of the connection's task for each answer. Here they belong to the connection: what has become ready is polled together, and
//! all answers leave with one write.
//!
//! 1. The requests are polled before the connection, so that what they answer is part of its next write.
//! 2. A request that panics ends alone.
//! 3. Where several threads run tasks, each request has a task of its own: one connection's requests are not to wait for each other there.

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::{Handle, RuntimeFlavor};

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the requests of a connection.
#[derive(Clone)]
pub(super) struct Requests {
    /// Those that nobody has polled yet.
    new: Arc<Mutex<Vec<Request>>>,
    one_thread: bool,
}

impl Requests {
    /// For a connection of the runtime that this is called in.
    pub(super) fn new() -> Requests {
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        Requests { new: Arc::default(), one_thread }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        if self.one_thread {
            // hyper tells of no panic, as a task of its own would not: the request's stream is reset.
            self.new.lock().push(Box::pin(AssertUnwindSafe(request).catch_unwind().map(drop)));
        } else {
            tokio::spawn(request);
        }
    }
}

/// Those that are under way.
#[derive(Default)]
pub(super) struct Running(FuturesUnordered<Request>);

impl Running {
    /// Polls what is ready of the requests and of their connection. Ends with the connection.
    pub(super) fn poll<C: Future>(
        &mut self,
        cx: &mut Context<'_>,
        requests: &Requests,
        mut connection: Pin<&mut C>,
    ) -> Poll<C::Output> {
        loop {
            while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {}
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let new = std::mem::take(&mut *requests.new.lock());
            if new.is_empty() {
                return Poll::Pending;
            }
            self.0.extend(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// A connection that takes three requests, the second of which panics, and ends when two are done.
    #[tokio::test(start_paused = true)]
    async fn requests_run_in_the_task_of_their_connection_and_fail_alone() {
        let (requests, mut running) = (Requests::new(), Running::default());
        let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
        let taken = requests.clone();
        let mut connection = Box::pin(async move {
            for n in 0..3_u64 {
                let done = done.clone();
                taken.execute(async move {
                    tokio::time::sleep(Duration::from_millis(n)).await;
                    assert!(n != 1, "a request that fails");
                    let _ = done.send(n);
                });
            }
            [finished.recv().await, finished.recv().await]
        });
        let ended = poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())).await;
        assert_eq!(ended, [Some(0), Some(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_does_not_hold_up_the_others() {
        let (requests, mut running) = (Requests::new(), Running::default());
        let done = Arc::new(AtomicUsize::new(0));
        requests.execute(pending());
        for _ in 0..100 {
            let done = done.clone();
            requests.execute(async move {
                tokio::task::yield_now().await;
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut connection = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())).await;
        assert_eq!(done.load(Ordering::SeqCst), 100);
    }
}
