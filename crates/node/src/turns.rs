//! Reads that take long, beside the event loop and in turn.
//!
//! Each of them takes a processor for as long as it lasts. Dozens at a time, with the same claim to one as the member's own thread, kept that
//! thread from its heartbeats until the others elected somebody else. So each kind of reader has a few turns at a time, and those who wait are
//! served in order. A turn ends with its work, not when nobody waits for it any more: what was begun goes on.
//!
//! Kinds are apart so that none waits for another: a watcher that catches up for a count of a million keys.

use std::future::Future;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

/// How many reads of one kind run at a time.
pub struct Turns(Arc<Semaphore>);

/// Leave for one of them.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub fn new(at_a_time: usize) -> Turns {
        Turns(Arc::new(Semaphore::new(at_a_time)))
    }

    /// As many as there are processors.
    pub fn of_processors() -> Turns {
        Turns::new(available_parallelism().map_or(1, NonZero::get))
    }

    /// Waits for a turn.
    pub fn turn(&self) -> impl Future<Output = Turn> + Send + 'static {
        let turns = self.0.clone();
        // Nobody closes it.
        async move { Turn { _permit: turns.acquire_owned().await.ok() } }
    }

    /// Runs `work` when its turn has come. Dropped before that, it never runs.
    pub async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        self.turn().await.read(work).await
    }
}

impl Turn {
    pub async fn read<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let in_turn = move || {
            let _turn = self;
            work()
        };
        spawn_blocking(in_turn).await
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_at_a_time_than_turns() {
        let (turns, running, most) =
            (Arc::new(Turns::new(2)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let read = |_| {
            let (turns, running, most) = (turns.clone(), running.clone(), most.clone());
            let work = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            };
            tokio::spawn(async move { turns.read(work).await })
        };
        let reads: Vec<_> = (0..20).map(read).collect();
        // Two of them have begun.
        while running.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Whether or not their callers wait for the end, work that was begun keeps its turn.
        for (n, read) in reads.into_iter().enumerate() {
            if n % 3 == 0 { read.abort() } else { read.await.unwrap().unwrap() }
        }
        turns.read(|| ()).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
