//! Renewals: gathered into batches on every member, decided by the leader.
//!
//! One batch is under way at a time and the next fills meanwhile, so that a thousand streams cost one confirmation (on the leader) or
//! one call to the leader (elsewhere) a round. A batch that is slow, for a lease of it is just being expired, stops holding up the
//! next after [`SLOW`].

use super::table::Renewal;
use super::{KeepAlive, LeaderSearch, LeaseKeeper};
use crate::reader::ReadError;
use conclave_state::LeaseId;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

const SLOW: Duration = Duration::from_millis(20);

/// Bounds the message to the leader.
const MAX_BATCH: usize = 16_384;

#[derive(Default)]
pub(super) struct Renewals {
    asked: Mutex<Vec<Asked>>,
    arrived: Notify,
}

struct Asked {
    id: LeaseId,
    answer: oneshot::Sender<Result<KeepAlive, ReadError>>,
}

impl Renewals {
    fn take(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock();
        if asked.len() > MAX_BATCH {
            let rest = asked.split_off(MAX_BATCH);
            return std::mem::replace(&mut asked, rest);
        }
        std::mem::take(&mut asked)
    }
}

pub(super) async fn run(keeper: &LeaseKeeper) {
    let renewals = &keeper.shared.renewals;
    loop {
        renewals.arrived.notified().await;
        loop {
            let batch = renewals.take();
            if batch.is_empty() {
                break;
            }
            let keeper = keeper.clone();
            let under_way = tokio::spawn(async move { keeper.answer(batch).await });
            // Whether it ended or only takes long, the next batch may go.
            let _ = tokio::time::timeout(SLOW, under_way).await;
        }
    }
}

impl LeaseKeeper {
    /// Extends a lease to its full TTL from the moment of the call. Works on every member.
    pub async fn keep_alive(&self, id: LeaseId) -> Result<KeepAlive, ReadError> {
        let (answer, answered) = oneshot::channel();
        self.shared.renewals.asked.lock().push(Asked { id, answer });
        self.shared.renewals.arrived.notify_one();
        answered.await.unwrap_or(Err(ReadError::Stopped))
    }

    async fn answer(&self, batch: Vec<Asked>) {
        // Taken before the renewal: the lease was alive at no earlier revision than this.
        let revision = self.shared.host.revision();
        let ids: Vec<LeaseId> = batch.iter().map(|asked| asked.id).collect();
        let mut search = LeaderSearch::new(&*self.shared.host);
        let outcome = loop {
            let now = self.shared.host.leadership();
            let answer = search.attempt(async {
                match now.leader {
                    _ if now.is_me => self.keep_alive_here(&ids).await,
                    Some(leader) => self.shared.host.keep_alive_at(leader, &ids).await,
                    None => Err(ReadError::NoLeader),
                }
            });
            match answer.await {
                Ok(None) => {}
                Ok(Some(ttls)) if ttls.len() == ids.len() => break Ok(ttls),
                Ok(Some(_)) => break Err(ReadError::Fault("the leader answered for other leases".into())),
                Err(error) => break Err(error),
            }
        };
        // A client that no longer waits for its answer is no concern.
        match outcome {
            Ok(ttls) => {
                for (asked, ttl) in batch.into_iter().zip(ttls) {
                    let _ = asked.answer.send(Ok(KeepAlive { ttl, revision }));
                }
            }
            Err(error) => {
                for asked in batch {
                    let _ = asked.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// The leader's side: the TTL of each lease, 0 for one that is gone.
    pub async fn keep_alive_here(&self, ids: &[LeaseId]) -> Result<Vec<i64>, ReadError> {
        let mut decided = self.shared.decided.subscribe();
        let mut ttls = vec![0; ids.len()];
        let mut open: Vec<usize> = (0..ids.len()).collect();
        loop {
            decided.borrow_and_update();
            let term = self.reign()?;
            let renewals = self.extend(ids, &open, term)?;
            if self.shared.host.confirm().await? != term {
                return Err(ReadError::LeaderChanged);
            }
            open = self.settle(ids, &open, &renewals, &mut ttls, term)?;
            if open.is_empty() {
                return Ok(ttls);
            }
            // Some were being expired: once that is decided they are gone, or can be renewed.
            decided.changed().await.map_err(|_| ReadError::Stopped)?;
        }
    }

    fn extend(&self, ids: &[LeaseId], open: &[usize], term: u64) -> Result<Vec<Renewal>, ReadError> {
        let now = self.shared.clock.now();
        let mut keeping = self.shared.keeping.lock();
        if keeping.table.reign() != Some(term) {
            return Err(ReadError::LeaderChanged);
        }
        Ok(open.iter().map(|&at| keeping.table.renew(ids[at], now)).collect())
    }

    /// After the confirmation, with everything applied that was committed before it: fills in what is decided and returns what is not.
    fn settle(
        &self,
        ids: &[LeaseId],
        open: &[usize],
        renewals: &[Renewal],
        ttls: &mut [i64],
        term: u64,
    ) -> Result<Vec<usize>, ReadError> {
        let keeping = self.shared.keeping.lock();
        if keeping.table.reign() != Some(term) {
            return Err(ReadError::LeaderChanged);
        }
        let mut undecided = Vec::new();
        for (&at, renewal) in open.iter().zip(renewals) {
            match (renewal, keeping.table.alive(ids[at])) {
                // Revoked meanwhile, expired meanwhile, or never there.
                (_, None) => ttls[at] = 0,
                (Renewal::Expiring, Some(_)) => undecided.push(at),
                (Renewal::Renewed, Some(ttl)) => ttls[at] = ttl,
                // Granted so recently that it was not yet applied: its full TTL runs from then.
                (Renewal::Unknown, Some(ttl)) => ttls[at] = ttl,
            }
        }
        Ok(undecided)
    }
}
