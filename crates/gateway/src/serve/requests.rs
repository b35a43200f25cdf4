//! The requests of one HTTP/2 connection, run by the task of the connection itself.
//!
//! hyper hands the future of each request to an executor. A task for each of them costs an
//! allocation, a place in the scheduler's queue, and a wake-up of the connection's task for each
//! answer. Here they belong to the connection: what has become ready is polled together, and all
//! answers leave with one write.
//!
//! 1. The requests are polled before the connection, all that are ready, so that what they answer
//!    is part of its next write. Most of them wake themselves while they are polled (h2 tells a
//!    stream of the room that it has just asked for); that is no reason to write what there is.
//! 2. A request that panics ends alone.
//! 3. A connection has its turn and then lets others have theirs ([`Turn`]).
//! 4. Where several threads run tasks, each request has a task of its own: one connection's
//!    requests are not to wait for each other there.

use super::turn::Turn;
use conclave_net::admission::Activity;
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::coop::unconstrained;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the requests of a connection.
#[derive(Clone)]
pub(super) struct Requests {
    /// Those that nobody has polled yet.
    new: Arc<Mutex<Vec<Request>>>,
    one_thread: bool,
    turn: Arc<Turn>,
    /// Knows how many are under way.
    activity: Activity,
}

impl Requests {
    /// For a connection of the runtime that this is called in.
    pub(super) fn new(activity: Activity) -> Requests {
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        Requests { new: Arc::default(), one_thread, turn: Arc::default(), activity }
    }

    pub(super) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        let busy = self.activity.begin();
        let request = async move {
            let _busy = busy;
            request.await;
        };
        if self.one_thread {
            // hyper tells of no panic, as a task of its own would not: the request's stream is
            // reset. And the runtime's budget is the connection's: a request that has used it up
            // would ask again and again in the same turn.
            self.new.lock().push(Box::pin(unconstrained(AssertUnwindSafe(request).catch_unwind().map(drop))));
        } else {
            tokio::spawn(request);
        }
    }
}

/// A request that is polled as long as its connection has its turn.
struct InTurn {
    request: Request,
    turn: Arc<Turn>,
}

impl Future for InTurn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.turn.request() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.request.as_mut().poll(cx)
    }
}

/// Where the wake-ups of requests go: to the task of the connection, unless it is polling them
/// right now.
#[derive(Default)]
struct Relay {
    task: AtomicWaker,
    polling: AtomicBool,
    woken: AtomicBool,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// Those that are under way.
pub(super) struct Running {
    requests: FuturesUnordered<InTurn>,
    relay: Arc<Relay>,
    waker: Waker,
}

impl Running {
    pub(super) fn new() -> Running {
        let relay = Arc::<Relay>::default();
        Running { requests: FuturesUnordered::new(), waker: relay.clone().into(), relay }
    }

    /// Polls what is ready of the requests and of their connection. Ends with the connection.
    pub(super) fn poll<C: Future>(
        &mut self,
        cx: &mut Context<'_>,
        requests: &Requests,
        mut connection: Pin<&mut C>,
    ) -> Poll<C::Output> {
        requests.turn.begin();
        loop {
            self.poll_requests(cx.waker(), &requests.turn);
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let new = std::mem::take(&mut *requests.new.lock());
            if new.is_empty() {
                if requests.turn.is_over() {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            self.requests.extend(new.into_iter().map(|request| InTurn { request, turn: requests.turn.clone() }));
            if requests.turn.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Until none is ready, or each has had its turns.
    fn poll_requests(&mut self, task: &Waker, turn: &Turn) {
        let relay = &*self.relay;
        relay.task.register(task);
        relay.polling.store(true, Ordering::SeqCst);
        let mut cx = Context::from_waker(&self.waker);
        // The set stops after two that woke themselves, so it takes about as many rounds as there
        // are requests.
        for _ in 0..=self.requests.len() {
            relay.woken.store(false, Ordering::SeqCst);
            while let Poll::Ready(Some(())) = self.requests.poll_next_unpin(&mut cx) {}
            if turn.is_over() || !relay.woken.load(Ordering::SeqCst) {
                break;
            }
        }
        relay.polling.store(false, Ordering::SeqCst);
        // Who was not polled again, or was woken elsewhere meanwhile, and told nobody.
        if relay.woken.load(Ordering::SeqCst) {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::turn::TIME;
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// A connection that takes three requests, the second of which panics, and ends when two are
    /// done.
    #[tokio::test(start_paused = true)]
    async fn requests_run_in_the_task_of_their_connection_and_fail_alone() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
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
    async fn a_request_that_waits_does_not_hold_up_the_others() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
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
    #[tokio::test(start_paused = true)]
    async fn all_that_is_ready_is_answered_before_anything_is_written() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
        let answered = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (answered, mut asked) = (answered.clone(), false);
            // As a stream that asks for room and is told of it at once.
            requests.execute(poll_fn(move |cx| {
                if asked {
                    answered.fetch_add(1, Ordering::SeqCst);
                    return Poll::Ready(());
                }
                asked = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
        }
        let mut writes = Vec::new();
        let mut connection = std::pin::pin!(poll_fn(|_| {
            writes.push(answered.load(Ordering::SeqCst));
            if writes.last() == Some(&100) { Poll::Ready(()) } else { Poll::Pending }
        }));
        poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())).await;
        assert_eq!(writes, [0, 100], "the requests are only taken by the first turn");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_rests_stops_neither_the_connection_nor_the_others() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
        requests.execute(poll_fn(|cx| -> Poll<()> {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let mut turns = 0;
        let mut connection = std::pin::pin!(poll_fn(|_| {
            turns += 1;
            if turns > 10 { Poll::Ready(()) } else { Poll::Pending }
        }));
        poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())).await;
    }

    /// Thousands of requests at once, beside somebody else's task: it has its turn after each of
    /// theirs.
    #[tokio::test]
    async fn a_crowd_of_requests_lets_others_have_their_turn() {
        const CROWD: usize = 10_000;
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
        let answered = Arc::new(AtomicUsize::new(0));
        let count = answered.clone();
        let others = tokio::spawn(async move {
            let (mut before, mut most) = (0, 0);
            while before < CROWD {
                // Not `yield_now`, which waits until the runtime has looked for events.
                let mut woken = false;
                poll_fn(|cx| match std::mem::replace(&mut woken, true) {
                    true => Poll::Ready(()),
                    false => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                })
                .await;
                let now = count.load(Ordering::SeqCst);
                (before, most) = (now, most.max(now - before));
            }
            most
        });
        for _ in 0..CROWD {
            let answered = answered.clone();
            requests.execute(async move {
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        let count = answered.clone();
        let mut connection =
            pin!(poll_fn(|_| if count.load(Ordering::SeqCst) == CROWD { Poll::Ready(()) } else { Poll::Pending }));
        poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())).await;
        let most = others.await.expect("it ends");
        assert!(most <= 256, "{most} requests in one turn");
    }

    /// Requests that take half the time of a turn each.
    #[tokio::test]
    async fn a_turn_ends_when_its_time_is_over() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
        let answered = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            let answered = answered.clone();
            requests.execute(async move {
                std::thread::sleep(TIME / 2);
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut connection = pin!(std::future::pending::<()>());
        let mut before = 0;
        while answered.load(Ordering::SeqCst) < 5 {
            let _ = futures::poll!(poll_fn(|cx| running.poll(cx, &requests, connection.as_mut())));
            let now = answered.load(Ordering::SeqCst);
            assert!(now - before <= 2, "{} requests in one turn", now - before);
            before = now;
        }
    }

    #[tokio::test]
    async fn a_wake_up_from_another_thread_is_never_lost() {
        let (requests, mut running) = (Requests::new(Activity::default()), Running::new());
        let (answers, mut all) = tokio::sync::mpsc::unbounded_channel();
        let (ask, asked) = std::sync::mpsc::channel::<tokio::sync::oneshot::Sender<()>>();
        let waker = std::thread::spawn(move || asked.into_iter().for_each(|wake| wake.send(()).expect("it waits")));
        for _ in 0..8 {
            let (ask, answers) = (ask.clone(), answers.clone());
            requests.execute(async move {
                for _ in 0..1_000 {
                    let (wake, woken) = tokio::sync::oneshot::channel();
                    ask.send(wake).expect("the other thread listens");
                    woken.await.expect("it answers");
                }
                let _ = answers.send(());
            });
        }
        drop(ask);
        let mut connection = Box::pin(async move {
            for _ in 0..8 {
                all.recv().await;
            }
        });
        let ended = poll_fn(|cx| running.poll(cx, &requests, connection.as_mut()));
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("nobody waits for ever");
        drop(running);
        waker.join().expect("the other thread ends with the requests");
    }
}
