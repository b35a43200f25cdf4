//! Handshakes under way: each has a deadline, and there is a bound on their number.
//!
//! 1. They run on a thread of their own: a signature takes up to a millisecond, which heartbeats do
//!    not wait for.
//! 2. One more than [`MOST`] ends the oldest: those who connect and say nothing make room for those
//!    who do.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// As etcd has it.
const DEADLINE: Duration = Duration::from_secs(10);
const MOST: usize = 1_000;

#[derive(Clone)]
pub(crate) struct Handshakes(Arc<Shared>);

struct Shared {
    thread: Handle,
    /// Dropped with the last user, which ends the thread.
    _stop: oneshot::Sender<()>,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    tasks: BTreeMap<u64, AbortHandle>,
}

impl Handshakes {
    /// Starts the thread.
    pub(crate) fn new(name: &str) -> io::Result<Handshakes> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = runtime.handle().clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Handshakes(Arc::new(Shared { thread, _stop: stop, under_way: Mutex::default() })))
    }

    /// A handshake with somebody who connected.
    pub(crate) async fn accept<T: Send + 'static>(
        &self,
        handshake: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let task = self.0.thread.spawn(bounded(handshake));
        let entry = self.enter(task.abort_handle());
        let outcome = task.await;
        drop(entry);
        outcome.unwrap_or_else(|_| Err(io::Error::other("too many handshakes under way")))
    }

    /// A handshake with somebody whom this side connects to.
    pub(crate) async fn connect<T: Send + 'static>(
        &self,
        handshake: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let task = self.0.thread.spawn(bounded(handshake));
        let _ended = Ended(task.abort_handle());
        task.await.map_err(io::Error::other)?
    }

    fn enter(&self, task: AbortHandle) -> Entry<'_> {
        let mut under_way = self.0.under_way.lock();
        if under_way.tasks.len() >= MOST
            && let Some((_, oldest)) = under_way.tasks.pop_first()
        {
            oldest.abort();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.tasks.insert(number, task.clone());
        Entry { of: self, number, _ended: Ended(task) }
    }

    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.0.under_way.lock().tasks.len()
    }
}

/// The timer is made when it is polled, so it belongs to the thread of handshakes.
async fn bounded<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no handshake in 10 s");
    timeout(DEADLINE, handshake).await.map_err(late)?
}

struct Entry<'a> {
    of: &'a Handshakes,
    number: u64,
    _ended: Ended,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.of.0.under_way.lock().tasks.remove(&self.number);
    }
}

/// A task that nobody waits for any more ends.
struct Ended(AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_and_nothing_is_left() {
        let handshakes = Handshakes::new("test").unwrap();
        let never = || std::future::pending::<io::Result<()>>();
        let mut silent = Vec::new();
        for n in 0..MOST {
            let all = handshakes.clone();
            silent.push(tokio::spawn(async move { all.accept(never()).await }));
            while handshakes.under_way() <= n {
                tokio::task::yield_now().await;
            }
        }
        assert!(handshakes.accept(async { Ok(7) }).await.is_ok_and(|seven| seven == 7));
        assert!(silent.remove(0).await.unwrap().unwrap_err().to_string().contains("too many"));
        assert_eq!(handshakes.under_way(), MOST - 1);
        for task in silent {
            task.abort();
            let _ = task.await;
        }
        assert_eq!(handshakes.under_way(), 0);
    }
}
