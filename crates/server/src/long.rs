//! Reads that take long, away from the thread that answers.
//!
//! Each of them takes a processor for as long as it lasts. Dozens at a time, with the same claim to one as the member's own thread, kept that
//! thread from its heartbeats until the others elected somebody else. So as many run at a time as there are processors, and the rest wait their
//! turn. A place is given back when the work has ended, not when nobody waits for it any more: what was begun goes on.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// The processors are the process's, so the places are, too.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// Runs `work` when its turn has come. Dropped before that, it never runs.
pub(crate) async fn read<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    // Nobody closes it.
    let place = PLACES.acquire().await.ok();
    let held = move || {
        let _place = place;
        work()
    };
    spawn_blocking(held).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_at_a_time_than_processors() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let processors = std::thread::available_parallelism().unwrap().get();
        let work = || {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
        };
        let mut reads: Vec<_> = (0..8 * processors).map(|_| tokio::spawn(super::read(work))).collect();
        // Those whose caller has gone give their places back as well.
        for (n, read) in reads.drain(..).enumerate() {
            if n % 3 == 0 { read.abort() } else { read.await.unwrap().unwrap() }
        }
        super::read(|| ()).await.unwrap();
        assert!((1..=processors).contains(&MOST.load(Ordering::SeqCst)));
    }
}
