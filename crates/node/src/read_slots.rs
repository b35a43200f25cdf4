//! Limits the number of long reads that run at a time on the blocking pool.
//!
//! Each long read occupies a core. Dozens of them at once, with the same priority as the member's
//! own thread, delayed its heartbeats until the others elected another leader. So each kind of
//! reader has a few slots, and waiting reads get them in order. A slot is released when the work
//! ends, also if the caller has stopped waiting.
//!
//! Different kinds have separate slots, so that none waits for another: a watcher that catches up
//! does not wait for a count of a million keys.

use std::future::Future;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

/// The slots for reads of one kind.
pub struct ReadSlots(Arc<Semaphore>);

/// A slot, released on drop.
pub struct ReadSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

impl ReadSlots {
    pub fn new(at_a_time: usize) -> ReadSlots {
        ReadSlots(Arc::new(Semaphore::new(at_a_time)))
    }

    /// One slot per processor.
    pub fn of_processors() -> ReadSlots {
        ReadSlots::new(available_parallelism().map_or(1, NonZero::get))
    }

    /// Waits for a slot.
    pub fn slot(&self) -> impl Future<Output = ReadSlot> + Send + 'static {
        let slots = self.0.clone();
        // The semaphore is never closed.
        async move { ReadSlot { _permit: slots.acquire_owned().await.ok() } }
    }

    /// Runs `work` when a slot is free. If the future is dropped before that, `work` never runs.
    pub async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        self.slot().await.read(work).await
    }
}

impl ReadSlot {
    pub async fn read<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let in_slot = move || {
            let _slot = self;
            work()
        };
        spawn_blocking(in_slot).await
    }
}

#[cfg(test)]
mod tests {
    use super::ReadSlots;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_at_a_time_than_turns() {
        let (slots, running, most) =
            (Arc::new(ReadSlots::new(2)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let read = |_| {
            let (slots, running, most) = (slots.clone(), running.clone(), most.clone());
            let work = move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
            };
            tokio::spawn(async move { slots.read(work).await })
        };
        let reads: Vec<_> = (0..20).map(read).collect();
        // Two reads have begun.
        while running.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Work that has begun keeps its slot, whether or not its caller still waits.
        for (n, read) in reads.into_iter().enumerate() {
            if n % 3 == 0 { read.abort() } else { read.await.unwrap().unwrap() }
        }
        slots.read(|| ()).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
