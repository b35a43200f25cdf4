//! The task that ends what is due, with one timer for the earliest deadline.
//!
//! One command takes all that is due, up to [`CHUNK`]. There is no pace to keep: the next ones
//! follow at once, two under way at a time. But one entry with twenty thousand leases and their
//! keys would keep every member from its heartbeats while it is applied. That costs the leader its
//! leadership, and the new leader gives all of them their full span again.

use super::table::{MAX_STEP, Taken};
use super::{ExpireRequest, Keeper};
use conclave_storage::failpoint::failpoint;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::time::Duration;

/// The clock is looked at this often, so that kept time keeps up with real time (`table`, invariant
/// 4).
const TICK: Duration = MAX_STEP.checked_div(4).expect("four is not zero");

/// How many in one entry: at some tens of microseconds each, a fraction of an election timeout on a
/// busy machine.
const CHUNK: usize = 512;

/// While one is applied the next one is on its way.
const UNDER_WAY: usize = 2;

const RETRY: Duration = Duration::from_millis(50);

pub(super) async fn run(keeper: &Keeper) {
    let mut changes = keeper.shared.host.leadership_changes();
    let mut under_way = FuturesUnordered::new();
    loop {
        changes.borrow_and_update();
        let wait = match keeper.term() {
            Ok(term) => {
                while under_way.len() < UNDER_WAY {
                    let due = keeper.take_due();
                    if due.is_empty() {
                        break;
                    }
                    under_way.push(keeper.end(due, term));
                }
                if under_way.len() < UNDER_WAY { keeper.until_due() } else { TICK }
            }
            // Not the leader: nothing to count until that changes (or, if it was a failure, until
            // another try).
            Err(_) => 4 * TICK,
        };
        tokio::select! {
            Some(done) = under_way.next() => if !done {
                tokio::time::sleep(RETRY).await;
            },
            changed = changes.changed() => if changed.is_err() { return },
            () = keeper.shared.sooner.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Keeper {
    fn take_due(&self) -> Vec<Taken> {
        let now = self.shared.clock.now();
        self.shared.keeping.lock().table.take_due(now, CHUNK)
    }

    /// Until something may be due, or the clock must be looked at.
    fn until_due(&self) -> Duration {
        let now = self.shared.clock.now();
        let mut keeping = self.shared.keeping.lock();
        let next = keeping.table.next_due(now);
        let wait = next.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK);
        keeping.looks_at = now.saturating_add(wait);
        wait
    }

    /// Ends these, which were taken as due in `term`. False if it should be tried again after a
    /// moment.
    async fn end(&self, taken: Vec<Taken>, term: u64) -> bool {
        // A leader that stood still may have been deposed, and learns it here rather than from a
        // refused proposal.
        let confirmed = matches!(self.shared.host.confirm().await, Ok(confirmed) if confirmed == term);
        let done = if confirmed {
            // All that was committed is applied by now; an id that began anew meanwhile is not what
            // was due.
            let (due, observed) = self.shared.keeping.lock().table.still_due(taken);
            tracing::debug!(term, observed, due = due.len(), "time is over");
            due.is_empty() || self.propose(due, term, observed).await
        } else {
            self.release(&taken, term);
            false
        };
        self.shared.decided.send_modify(|count| *count += 1);
        done
    }

    /// The same each time, the index included: what a later look would find is not what an earlier
    /// attempt may still end.
    async fn propose(&self, due: Vec<Taken>, term: u64, observed: u64) -> bool {
        let ending = ExpireRequest { ids: due.iter().map(|taken| taken.id).collect(), term, observed };
        let mut open = false;
        loop {
            failpoint!("expiry-before-proposal");
            match self.shared.host.expire(ending.clone()).await {
                Ok(outcome) => {
                    failpoint!("expiry-after-proposal");
                    // Decided, and all that was proposed before it. What is still there can be
                    // renewed, or comes due again.
                    self.release(&due, term);
                    return outcome.result.is_ok();
                }
                Err(error) if !open && !error.outcome_unknown() => {
                    self.release(&due, term);
                    return false;
                }
                Err(error) => open |= error.outcome_unknown(),
            }
            let now = self.shared.host.leadership();
            if now.term != term || !now.is_me {
                // Whatever becomes of it is in the log before this member leads again, which starts
                // with a clean table.
                return false;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn release(&self, taken: &[Taken], term: u64) {
        let mut keeping = self.shared.keeping.lock();
        if keeping.table.term() == Some(term) {
            keeping.table.release(taken);
        }
    }
}
