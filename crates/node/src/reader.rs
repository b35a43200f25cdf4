//! Linearizable reads on any node: ask the leader how far the log is committed, wait until that is applied here, read here.
//!
//! One round at a time serves all reads that wait (a follower asks the leader for one; the leader's own reads and all followers'
//! rounds share its rounds), so that a read costs almost nothing in consensus.
//!
//! A read leaves a want here and is woken once, when it may read: no timer and no watcher of its own. The rounds, the wait until their
//! indexes are applied, and the deadlines are the business of one task.
//!
//! 1. A read is only served by a round that began after it arrived. The round has the leader's leadership confirmed by a quorum
//!    after it began: a leader that was deposed, or stopped and continued, cannot answer from the past.
//! 2. A round that fails is repeated, while anybody waits: a change of leaders costs a read time, not an error.
//! 3. A read takes its view once and reads it at one revision.

use crate::turns::Turns;
use crate::wiring::Wiring;
use conclave_state::read::{self, Bounds, ReadStop};
use conclave_state::{Fault, Op, RangeQuery, RangeResult, Rejection, Txn, TxnResult};
use conclave_storage::StateView;
use openraft::raft::ReadPolicy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinError;
use tokio::time::Instant;

/// What a read may cost on the event loop (a row costs 1, and 1 more for each KiB): about a millisecond. Beyond, it starts again beside it.
const BUDGET: usize = 1_000;

/// With so small a limit an answer is hardly ever large.
const FEW: i64 = 16;

/// How long one attempt at a round may take before the next one. A deposed or hanging leader is given up earlier, with the news.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Between two attempts without news of a leader.
const PAUSE: Duration = Duration::from_millis(5);

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("no leader")]
    NoLeader,
    #[error("the leader changed")]
    LeaderChanged,
    #[error("timed out")]
    TimedOut,
    #[error("the node is stopping")]
    Stopped,
    #[error("{0}")]
    Fault(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    Error(ReadError),
    Rejected(Rejection),
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> ReadFailure {
        ReadFailure::Error(error)
    }
}

#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    wiring: Wiring,
    timeout: Duration,
    wants: Mutex<Wants>,
    /// There is something for a round to do.
    arrived: Notify,
    /// A round has found an index that is not applied yet.
    reached: Notify,
    /// Reads that take long.
    long: Turns,
}

/// What can be read as of one revision.
pub trait Query: Send + 'static {
    type Answer: Send + 'static;

    fn read(&self, view: &StateView, bounds: Bounds, budget: Option<usize>) -> Stopped<Self::Answer>;

    /// Whether the answer is small (but for the largest values), however long it takes to find.
    fn is_small(&self) -> bool;
}

type Stopped<T> = Result<Result<T, ReadStop>, Fault>;

impl Query for RangeQuery {
    type Answer = RangeResult;

    fn read(&self, view: &StateView, bounds: Bounds, budget: Option<usize>) -> Stopped<RangeResult> {
        read::range(view, self, bounds, budget)
    }

    fn is_small(&self) -> bool {
        self.count_only || self.range.end.is_empty() || (1..=FEW).contains(&self.limit)
    }
}

/// A transaction that only reads, answered without the log.
impl Query for Txn {
    type Answer = TxnResult;

    fn read(&self, view: &StateView, bounds: Bounds, budget: Option<usize>) -> Stopped<TxnResult> {
        read::txn(view, self, bounds, budget)
    }

    fn is_small(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(query) => query.is_small(),
            Op::Txn(nested) => nested.is_small(),
            Op::Put(_) | Op::DeleteRange(_) => true,
        })
    }
}

/// What a read found, and the revision that it read; or it is to be read beside the event loop.
pub enum Found<Q: Query> {
    Short(Q::Answer, i64),
    Long(Long<Q>),
}

/// All that was committed before it was asked for is applied here.
pub struct Long<Q> {
    reader: Reader,
    query: Q,
}

impl<Q: Query> Long<Q> {
    pub fn is_small(&self) -> bool {
        self.query.is_small()
    }

    /// Reads when its turn has come, at that moment, and makes something of the answer and its revision there as well.
    pub async fn read<T: Send + 'static>(
        self,
        make: impl FnOnce(Q::Answer, i64) -> T + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let reader = self.reader.clone();
        let work = move || {
            let view = self.reader.0.wiring.state.view();
            let bounds = view.bounds();
            let answer = self.reader.checked(self.query.read(&view, bounds, None))?;
            Ok(make(answer, bounds.current))
        };
        reader.long(work).await.map_err(|_| ReadError::Stopped)?
    }
}

/// What a round found out.
#[derive(Clone, Copy)]
struct Round {
    index: u64,
    /// The round was this node's own, as the leader of this term.
    led: Option<u64>,
}

struct Want {
    deadline: Instant,
    asked: Asked,
}

enum Asked {
    /// That everything is applied here that was committed, whoever leads.
    Applied(oneshot::Sender<Result<(), ReadError>>),
    /// A round of this node as the leader, or none.
    Own(oneshot::Sender<Result<Round, ReadError>>),
}

/// Everybody who waits.
#[derive(Default)]
struct Wants {
    /// For the next round.
    next: Vec<Want>,
    /// For the round that is under way.
    under_way: Vec<Want>,
    /// Until an index is applied that a round found out. It may never be: a leader that died had entries that were not committed.
    applying: BTreeMap<u64, Vec<Want>>,
    /// Nobody makes rounds any more.
    stopped: bool,
}

impl Want {
    fn is_closed(&self) -> bool {
        match &self.asked {
            Asked::Applied(tx) => tx.is_closed(),
            Asked::Own(tx) => tx.is_closed(),
        }
    }

    fn fail(self, error: ReadError) {
        // Whoever asked may be gone.
        match self.asked {
            Asked::Applied(tx) => drop(tx.send(Err(error))),
            Asked::Own(tx) => drop(tx.send(Err(error))),
        }
    }

    fn served(self, round: Round) {
        match self.asked {
            Asked::Applied(tx) => drop(tx.send(Ok(()))),
            Asked::Own(tx) => drop(tx.send(Ok(round))),
        }
    }
}

impl Wants {
    /// Those whose time is up, taken out.
    fn overdue(&mut self, now: Instant) -> Vec<Want> {
        let lists = [&mut self.next, &mut self.under_way].into_iter().chain(self.applying.values_mut());
        let overdue = lists.flat_map(|wants| wants.extract_if(.., move |want| want.deadline <= now)).collect();
        self.applying.retain(|_, wants| !wants.is_empty());
        overdue
    }

    /// Those whose index is applied, taken out.
    fn settled(&mut self, applied: u64) -> Vec<Want> {
        let later = self.applying.split_off(&applied.saturating_add(1));
        std::mem::replace(&mut self.applying, later).into_values().flatten().collect()
    }
}

impl Reader {
    pub fn new(wiring: Wiring, timeout: Duration) -> Reader {
        let (arrived, reached) = (Notify::new(), Notify::new());
        let long = Turns::of_processors();
        Reader(Arc::new(Inner { wiring, timeout, wants: Mutex::default(), arrived, reached, long }))
    }

    /// Returns when everything that was committed before the call is applied here.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        let (tx, rx) = oneshot::channel();
        self.want(Asked::Applied(tx));
        rx.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// The term in which this node led when a quorum confirmed it, in a round that began after the call.
    pub async fn confirm_leadership(&self) -> Result<u64, ReadError> {
        self.own_round().await?.led.ok_or(ReadError::LeaderChanged)
    }

    /// The read index of a round of this node's own, for a follower that asks. `None`: not the leader.
    pub async fn index_as_leader(&self) -> Option<u64> {
        let round = self.own_round().await.ok()?;
        round.led.map(|_| round.index)
    }

    async fn own_round(&self) -> Result<Round, ReadError> {
        let (tx, rx) = oneshot::channel();
        self.want(Asked::Own(tx));
        rx.await.unwrap_or(Err(ReadError::Stopped))
    }

    fn want(&self, asked: Asked) {
        let want = Want { deadline: Instant::now() + self.0.timeout, asked };
        let mut wants = self.0.wants.lock();
        if wants.stopped {
            drop(wants);
            return want.fail(ReadError::Stopped);
        }
        wants.next.push(want);
        if wants.next.len() == 1 {
            self.0.arrived.notify_one();
        }
    }

    /// Runs a read that takes long beside the event loop, when its turn has come.
    pub async fn long<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        self.0.long.read(work).await
    }

    /// Reads a view: at once if that gives an answer within so many rows, otherwise beside the event
    /// loop, without a bound.
    pub async fn within<T: Send + 'static>(
        &self,
        view: StateView,
        read: impl Fn(&StateView, usize) -> Result<Option<T>, Fault> + Send + 'static,
    ) -> Result<T, ReadError> {
        let mut found = read(&view, BUDGET);
        if matches!(found, Ok(None)) {
            found = self.long(move || read(&view, usize::MAX)).await.map_err(|_| ReadError::Stopped)?;
        }
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(ReadError::Fault("a read without a bound exceeded it".into())),
            Err(fault) => {
                self.0.wiring.fatal.report(format_args!("a read failed: {fault}"));
                Err(ReadError::Fault(fault.to_string()))
            }
        }
    }

    /// A range as of one revision, and that revision.
    pub async fn range(&self, query: RangeQuery, serializable: bool) -> Result<(RangeResult, i64), ReadFailure> {
        match self.read(query, serializable).await? {
            Found::Short(result, revision) => Ok((result, revision)),
            Found::Long(long) => long.read(|result, revision| (result, revision)).await,
        }
    }

    /// Reads as of one revision, as far as the budget goes.
    pub async fn read<Q: Query>(&self, query: Q, serializable: bool) -> Result<Found<Q>, ReadFailure> {
        if !serializable {
            self.barrier().await?;
        }
        let view = self.0.wiring.state.view();
        let bounds = view.bounds();
        match query.read(&view, bounds, Some(BUDGET)) {
            Ok(Err(ReadStop::OverBudget)) => Ok(Found::Long(Long { reader: self.clone(), query })),
            found => Ok(Found::Short(self.checked(found)?, bounds.current)),
        }
    }

    fn checked<T>(&self, found: Result<Result<T, ReadStop>, Fault>) -> Result<T, ReadFailure> {
        match found {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(ReadStop::Rejected(rejection))) => Err(ReadFailure::Rejected(rejection)),
            Ok(Err(ReadStop::OverBudget)) => Err(ReadError::Fault("a read without a budget exceeded it".into()).into()),
            Err(fault) => {
                self.0.wiring.fatal.report(format_args!("a read failed: {fault}"));
                Err(ReadError::Fault(fault.to_string()).into())
            }
        }
    }

    /// Makes rounds until the node stops.
    pub async fn run(self) {
        let closing = self.0.wiring.closing.clone();
        tokio::select! {
            () = self.rounds() => {}
            () = self.settle() => {}
            () = self.expire() => {}
            () = closing.cancelled() => {}
        }
        let mut wants = self.0.wants.lock();
        // Who waits hears of it by the end of the channel.
        *wants = Wants { stopped: true, ..Wants::default() };
    }

    async fn rounds(&self) {
        let mut leadership = self.0.wiring.leadership.subscribe();
        loop {
            if !self.begin() {
                self.0.arrived.notified().await;
                continue;
            }
            leadership.borrow_and_update();
            let round = tokio::select! {
                round = self.round() => round,
                // The leader that was asked is gone; ask its successor.
                _ = leadership.changed() => None,
            };
            match round {
                Some(round) => self.found(round),
                None if self.refuse_own() => drop(tokio::time::timeout(PAUSE, leadership.changed()).await),
                None => {}
            }
        }
    }

    /// Whether there is anybody to make a round for: those who wait, and those whose last round failed.
    fn begin(&self) -> bool {
        let mut wants = self.0.wants.lock();
        let Wants { next, under_way, .. } = &mut *wants;
        under_way.append(next);
        under_way.retain(|want| !want.is_closed());
        !under_way.is_empty()
    }

    /// After a round: serves those who may read, and leaves the others until the index is applied.
    fn found(&self, round: Round) {
        let mut wants = self.0.wants.lock();
        let mut served = std::mem::take(&mut wants.under_way);
        if self.0.wiring.state.applied_index() < round.index {
            let applying = served.extract_if(.., |want| matches!(want.asked, Asked::Applied(_))).collect::<Vec<_>>();
            if !applying.is_empty() {
                wants.applying.entry(round.index).or_default().extend(applying);
                self.0.reached.notify_one();
            }
        }
        drop(wants);
        for want in served {
            want.served(round);
        }
    }

    /// After a failed round: who asked for this node's own round gets the refusal. Whether others stay.
    fn refuse_own(&self) -> bool {
        let mut wants = self.0.wants.lock();
        let own = wants.under_way.extract_if(.., |want| matches!(want.asked, Asked::Own(_))).collect::<Vec<_>>();
        let stay = !wants.under_way.is_empty();
        drop(wants);
        for want in own {
            want.fail(ReadError::LeaderChanged);
        }
        stay
    }

    /// Serves those whose index is applied meanwhile.
    async fn settle(&self) {
        let mut applied = self.0.wiring.state.applied();
        loop {
            let first = self.0.wants.lock().applying.keys().next().copied();
            let Some(first) = first else {
                self.0.reached.notified().await;
                continue;
            };
            let index = tokio::select! {
                reached = applied.wait_for(|applied| *applied >= first) => reached.map(|index| *index),
                // Perhaps a lower one than is waited for.
                () = self.0.reached.notified() => continue,
            };
            let Ok(index) = index else { return };
            let settled = self.0.wants.lock().settled(index);
            for want in settled {
                want.served(Round { index, led: None });
            }
        }
    }

    /// Fails those whose time is up.
    async fn expire(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let overdue = self.0.wants.lock().overdue(Instant::now());
            if overdue.is_empty() {
                continue;
            }
            let error = match self.0.wiring.leadership.current().leader {
                Some(_) => ReadError::TimedOut,
                None => ReadError::NoLeader,
            };
            for want in overdue {
                want.fail(error.clone());
            }
        }
    }

    async fn round(&self) -> Option<Round> {
        let now = self.0.wiring.leadership.current();
        let leader = now.leader?;
        if leader != self.0.wiring.leadership.me() {
            let index = self.0.wiring.peers.read_index(leader, ATTEMPT).await.ok()?;
            return Some(Round { index, led: None });
        }
        let linearizer = self.0.wiring.raft.get()?.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        // The term that was confirmed. What this node knows otherwise of who leads may be behind: before the round and after it.
        let id = linearizer.read_log_id().log_id();
        Some(Round { index: id.index(), led: Some(id.committed_leader_id().term) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<(), ReadError>>;

    fn want(deadline: Instant) -> (Want, Answer) {
        let (tx, rx) = oneshot::channel();
        (Want { deadline, asked: Asked::Applied(tx) }, rx)
    }

    fn wait_for(wants: &mut Wants, index: u64, more: Vec<Want>) {
        wants.applying.entry(index).or_default().extend(more);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_overdue_is_found_wherever_it_waits() {
        let (soon, late) = (Instant::now() + Duration::from_secs(1), Instant::now() + Duration::from_secs(9));
        let mut wants = Wants::default();
        let mut answers = vec![];
        let mut add = |list: &mut Vec<Want>| {
            for deadline in [soon, late] {
                let (want, answer) = want(deadline);
                list.push(want);
                answers.push(answer);
            }
        };
        add(&mut wants.next);
        add(&mut wants.under_way);
        let mut applying = vec![];
        add(&mut applying);
        wait_for(&mut wants, 7, applying);
        assert!(wants.overdue(Instant::now()).is_empty());
        assert_eq!(wants.overdue(soon).len(), 3);
        assert_eq!(wants.overdue(soon).len(), 0);
        assert_eq!(wants.overdue(late).len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_index_is_served_when_it_is_applied() {
        let mut wants = Wants::default();
        for index in [5, 7, 7, 9] {
            let (want, _) = want(Instant::now());
            wait_for(&mut wants, index, vec![want]);
        }
        assert_eq!(wants.settled(4).len(), 0);
        assert_eq!(wants.settled(7).len(), 3);
        assert_eq!(wants.settled(8).len(), 0);
        assert_eq!(wants.settled(100).len(), 1);
    }

    /// The answer of a leader that died: its last entries may never be committed.
    #[tokio::test(start_paused = true)]
    async fn an_index_that_is_never_applied_holds_up_nobody_else() {
        let mut wants = Wants::default();
        for index in [9, 5, 7, 5] {
            let (want, _) = want(Instant::now());
            wait_for(&mut wants, index, vec![want]);
        }
        assert_eq!(wants.settled(5).len(), 2);
        assert_eq!(wants.settled(8).len(), 1);
        assert_eq!(wants.settled(9).len(), 1);
    }
}
