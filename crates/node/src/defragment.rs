//! Defragment: compacts the whole state, which may take long. One compaction runs at a time and
//! serves all requests that came before it began, so any number of requests takes one thread.

use crate::read_slots::ReadSlots;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinError;

pub struct Defragment {
    slot: ReadSlots,
    begun: AtomicU64,
}

impl Default for Defragment {
    fn default() -> Defragment {
        Defragment { slot: ReadSlots::new(1), begun: AtomicU64::new(0) }
    }
}

impl Defragment {
    /// Returns when a compaction has ended that began after the call.
    pub async fn run(&self, rewrite: impl FnOnce() + Send + 'static) -> Result<(), JoinError> {
        let asked = self.begun.load(Ordering::SeqCst);
        let slot = self.slot.slot().await;
        // A compaction that began has ended, because the lock is free.
        if self.begun.load(Ordering::SeqCst) > asked {
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        slot.read(rewrite).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[tokio::test]
    async fn who_asks_while_one_runs_shares_the_next() {
        let (defragment, runs) = (Arc::new(Defragment::default()), Arc::new(AtomicUsize::new(0)));
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let counted = runs.clone();
        let first = {
            let defragment = defragment.clone();
            tokio::spawn(async move {
                defragment
                    .run(move || {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let _ = held.recv();
                    })
                    .await
            })
        };
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let others: Vec<_> = (0..100)
            .map(|_| {
                let (defragment, runs) = (defragment.clone(), runs.clone());
                tokio::spawn(async move { defragment.run(move || _ = runs.fetch_add(1, Ordering::SeqCst)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 1, "the others wait");
        drop(let_go);
        first.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        defragment.run(|| ()).await.unwrap();
    }
}
