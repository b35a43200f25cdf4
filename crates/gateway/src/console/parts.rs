//! What the console keeps: logins, when revisions were made, and whose turn it is.

use super::login::Logins;
use super::times::Times;
use conclave_node::read_slots::{ReadSlot, ReadSlots};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Status;

/// Pages that are made at a time.
const AT_A_TIME: usize = 4;

/// Pages that may wait for their turn.
const MOST_WAITING: usize = 64;

pub(crate) struct Parts {
    pub(super) logins: Logins,
    pub(crate) times: Times,
    pub(super) turns: Turns,
}

impl Parts {
    pub(crate) fn new() -> Parts {
        Parts { logins: Logins::new(), times: Times::new(), turns: Turns::new() }
    }
}

/// Lets a few pages be made at a time, and a bounded number wait.
pub(super) struct Turns {
    slots: ReadSlots,
    waiting: Arc<AtomicUsize>,
}

pub(super) struct Turn {
    _slot: ReadSlot,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Turns {
    fn new() -> Turns {
        Turns { slots: ReadSlots::new(AT_A_TIME), waiting: Arc::default() }
    }

    /// # Errors
    /// Too many wait.
    pub(super) async fn turn(&self) -> Result<Turn, Status> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(self.waiting.clone());
        if before >= MOST_WAITING {
            return Err(Status::unavailable("conclave: too many pages of the console are asked for"));
        }
        Ok(Turn { _slot: self.slots.slot().await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use tonic::Code;

    #[tokio::test]
    async fn some_at_a_time_some_wait_and_the_others_are_refused() {
        let turns = Arc::new(Turns::new());
        let held = join_all((0..AT_A_TIME).map(|_| turns.turn())).await;
        let ask = |_| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.turn().await.map(drop) })
        };
        let waiting: Vec<_> = (0..MOST_WAITING).map(ask).collect();
        while turns.waiting.load(Ordering::SeqCst) < MOST_WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.turn().await.map(drop).map_err(|status| status.code()), Err(Code::Unavailable));
        drop(held);
        for one in join_all(waiting).await {
            one.expect("it ends").expect("its turn comes");
        }
        assert_eq!(turns.waiting.load(Ordering::SeqCst), 0);
    }
}
