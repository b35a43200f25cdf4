//! Renewals: gathered into batches on every member, decided by the leader.
//!
//! One batch is under way at a time and the next fills meanwhile, so that a thousand streams cost
//! one confirmation (on the leader) or one call to the leader (elsewhere) a round. A batch that is
//! slow, for something in it is just being ended, stops holding up the next after [`SLOW`].

use super::table::Renewal;
use super::{Keeper, LeaderSearch, RenewRequest, Renewed};
use crate::reader::ReadError;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

const SLOW: Duration = Duration::from_millis(20);

/// Bounds the message to the leader.
const MAX_BATCH: usize = 16_384;

#[derive(Default)]
pub(super) struct Renewals {
    asked: Mutex<Vec<Asked>>,
    arrived: Notify,
    /// Nobody answers any more.
    over: AtomicBool,
}

struct Asked {
    request: RenewRequest,
    answer: oneshot::Sender<Result<Renewed, ReadError>>,
}

/// Held by the task that answers. When it is dropped, the callers that wait are told at once, and
/// so are later ones.
struct Answering<'a>(&'a Renewals);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut asked = self.0.asked.lock();
        self.0.over.store(true, Ordering::Relaxed);
        asked.clear();
    }
}

impl Renewals {
    async fn ask(&self, request: RenewRequest) -> Result<Renewed, ReadError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut asked = self.asked.lock();
            // Under the lock: what is not refused here is dropped there, if it is not answered.
            if self.over.load(Ordering::Relaxed) {
                return Err(ReadError::Stopped);
            }
            asked.push(Asked { request, answer });
        }
        self.arrived.notify_one();
        answered.await.unwrap_or(Err(ReadError::Stopped))
    }

    fn take(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock();
        if asked.len() > MAX_BATCH {
            let rest = asked.split_off(MAX_BATCH);
            return std::mem::replace(&mut asked, rest);
        }
        std::mem::take(&mut asked)
    }
}

pub(super) async fn run(keeper: &Keeper) {
    let renewals = &keeper.shared.renewals;
    let _answering = Answering(renewals);
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

/// Answers those who still wait.
fn tell(batch: Vec<Asked>, spans: Result<Vec<Duration>, ReadError>, revision: i64) {
    match spans {
        Ok(spans) => {
            for (asked, span) in batch.into_iter().zip(spans) {
                let _ = asked.answer.send(Ok(Renewed { span, revision }));
            }
        }
        Err(error) => {
            for asked in batch {
                let _ = asked.answer.send(Err(error.clone()));
            }
        }
    }
}

impl Keeper {
    /// Extends a life from the moment of the call, never shortening it. Works on every member.
    pub async fn renew(&self, request: RenewRequest) -> Result<Renewed, ReadError> {
        self.shared.renewals.ask(request).await
    }

    /// The same for many at once, in order; as one call to the leader.
    pub async fn renew_all(&self, requests: &[RenewRequest]) -> Result<Vec<Duration>, ReadError> {
        let mut search = LeaderSearch::new(&*self.shared.host);
        loop {
            let now = search.leadership();
            let answer = search.attempt(now, async {
                match now.leader {
                    _ if now.is_me => self.renew_here(requests).await,
                    Some(leader) => self.shared.host.renew_at(leader, requests).await,
                    None => Err(ReadError::NoLeader),
                }
            });
            match answer.await? {
                None => {}
                Some(spans) if spans.len() == requests.len() => return Ok(spans),
                Some(_) => return Err(ReadError::Fault("the leader answered for others".into())),
            }
        }
    }

    async fn answer(&self, batch: Vec<Asked>) {
        // Taken before the renewal: it was alive at no earlier revision than this.
        let revision = self.shared.host.revision();
        let requests: Vec<RenewRequest> = batch.iter().map(|asked| asked.request).collect();
        let spans = self.renew_all(&requests).await;
        self.shared.host.hand_over(Box::new(move || tell(batch, spans, revision)));
    }

    /// The leader's side: for how long each lives on, zero for one that is gone.
    pub async fn renew_here(&self, requests: &[RenewRequest]) -> Result<Vec<Duration>, ReadError> {
        let mut decided = self.shared.decided.subscribe();
        let mut spans = vec![Duration::ZERO; requests.len()];
        let mut open: Vec<usize> = (0..requests.len()).collect();
        loop {
            decided.borrow_and_update();
            let term = self.term()?;
            let renewals = self.extend(requests, &open, term)?;
            if self.shared.host.confirm().await? != term {
                return Err(ReadError::LeaderChanged);
            }
            open = self.settle(requests, &open, &renewals, &mut spans, term)?;
            if open.is_empty() {
                return Ok(spans);
            }
            // Some were being ended: once that is decided they are gone, or can be renewed.
            decided.changed().await.map_err(|_| ReadError::Stopped)?;
        }
    }

    fn extend(&self, requests: &[RenewRequest], open: &[usize], term: u64) -> Result<Vec<Renewal>, ReadError> {
        let now = self.shared.clock.now();
        let mut keeping = self.shared.keeping.lock();
        if keeping.table.term() != Some(term) {
            return Err(ReadError::LeaderChanged);
        }
        Ok(open.iter().map(|&at| keeping.table.renew(requests[at], now)).collect())
    }

    /// After the confirmation, with everything applied that was committed before it: fills in what
    /// is decided and returns what is not.
    fn settle(
        &self,
        requests: &[RenewRequest],
        open: &[usize],
        renewals: &[Renewal],
        spans: &mut [Duration],
        term: u64,
    ) -> Result<Vec<usize>, ReadError> {
        let keeping = self.shared.keeping.lock();
        if keeping.table.term() != Some(term) {
            return Err(ReadError::LeaderChanged);
        }
        let mut undecided = Vec::new();
        for (&at, renewal) in open.iter().zip(renewals) {
            match (renewal, keeping.table.alive(requests[at].id)) {
                // Ended meanwhile, or never there.
                (_, None) => spans[at] = Duration::ZERO,
                (Renewal::Expiring, Some(_)) => undecided.push(at),
                // Or begun so recently that it was not yet applied: its full span runs from then.
                (Renewal::Renewed | Renewal::Unknown, Some(full)) => {
                    spans[at] = requests[at].span.map_or(full, |span| span.min(full));
                }
            }
        }
        Ok(undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn nobody_waits_for_a_node_that_stopped() {
        let renewals = Renewals::default();
        let ask = || renewals.ask(RenewRequest { id: 7, span: None });
        let mut waiting = Box::pin(ask());
        assert!((&mut waiting).now_or_never().is_none());
        drop(Answering(&renewals));
        assert_eq!(waiting.now_or_never(), Some(Err(ReadError::Stopped)));
        assert_eq!(ask().now_or_never(), Some(Err(ReadError::Stopped)));
    }
}
