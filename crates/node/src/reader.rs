//! Linearizable reads on any member: get the commit index from the leader, wait until it is applied
//! here, then read here.
//!
//! One round at a time serves all waiting reads. A follower asks the leader for a round; the
//! leader's own reads and the rounds of all followers share the leader's rounds. So a read costs
//! almost nothing in consensus:
//!
//! ```text
//! reads  r1 r2 r3 ──► round: read index 57 ──► wait until 57 is applied ──► r1 r2 r3 read
//! reads        r4 r5 (arrived after the round began) ──► next round
//! ```
//!
//! A read registers itself and is woken once, when it may read; it has no timer and no watcher of
//! its own. One task runs the rounds, waits for their indexes to be applied, and checks deadlines.
//!
//! 1. A read is served only by a round that began after it arrived. In a round a quorum confirms
//!    the leader's leadership. So a leader that was deposed, or was stopped and continued, cannot
//!    serve old data.
//! 2. A failed round is repeated while reads wait: a change of leader costs time, not an error.
//! 3. A read takes one view and reads it at one revision.

use crate::context::NodeContext;
use crate::read_slots::ReadSlots;
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

/// The budget of a read on the event loop (a row costs 1, plus 1 for each KiB): about a
/// millisecond. A read that exceeds it starts again on the blocking pool.
const BUDGET: usize = 1_000;

/// A query with at most this limit hardly ever has a large answer.
const FEW: i64 = 16;

/// Timeout of one attempt at a round. The attempt ends earlier if the leader changes.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Interval of deadline checks.
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
    context: NodeContext,
    timeout: Duration,
    wants: Mutex<Wants>,
    /// Notified when a read arrives.
    arrived: Notify,
    /// Notified when a round returned an index that is not applied yet.
    reached: Notify,
    /// Limits long reads.
    long: ReadSlots,
}

/// A read of one revision.
pub trait Query: Send + 'static {
    type Answer: Send + 'static;

    fn read(&self, view: &StateView, bounds: Bounds, budget: Option<usize>) -> Stopped<Self::Answer>;

    /// Whether the answer is small (except for very large values), even if the search takes long.
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

/// The result of a read and its revision; or the read must go to the blocking pool.
pub enum Found<Q: Query> {
    Short(Q::Answer, i64),
    Long(Long<Q>),
}

/// A long read for which everything committed before its arrival is applied here.
pub struct Long<Q> {
    reader: Reader,
    query: Q,
}

impl<Q: Query> Long<Q> {
    pub fn is_small(&self) -> bool {
        self.query.is_small()
    }

    /// Waits for a slot, takes a view, reads, and runs `then` with the answer and its revision on
    /// the same thread.
    pub async fn read<T: Send + 'static>(
        self,
        make: impl FnOnce(Q::Answer, i64) -> T + Send + 'static,
    ) -> Result<T, ReadFailure> {
        let reader = self.reader.clone();
        let work = move || {
            let view = self.reader.0.context.state.view();
            let bounds = view.bounds();
            let answer = self.reader.checked(self.query.read(&view, bounds, None))?;
            Ok(make(answer, bounds.current))
        };
        reader.long(work).await.map_err(|_| ReadError::Stopped)?
    }
}

/// The result of a round.
#[derive(Clone, Copy)]
struct Round {
    index: u64,
    /// The term, if this node itself led the round.
    led: Option<u64>,
}

struct Want {
    deadline: Instant,
    asked: Asked,
}

enum Asked {
    /// Waits until everything committed is applied here, under any leader.
    Applied(oneshot::Sender<Result<(), ReadError>>),
    /// Waits for a round that this node leads, or fails.
    Own(oneshot::Sender<Result<Round, ReadError>>),
}

/// All waiting reads.
#[derive(Default)]
struct Wants {
    /// Waiting for the next round.
    next: Vec<Want>,
    /// Waiting for the current round.
    under_way: Vec<Want>,
    /// Waiting for an index to be applied. It may never be: a leader that died may have had
    /// uncommitted entries.
    applying: BTreeMap<u64, Vec<Want>>,
    /// No more rounds: the node stops.
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
        // The reader may be gone.
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
    /// Removes and returns the reads past their deadline.
    fn overdue(&mut self, now: Instant) -> Vec<Want> {
        let lists = [&mut self.next, &mut self.under_way].into_iter().chain(self.applying.values_mut());
        let overdue = lists.flat_map(|wants| wants.extract_if(.., move |want| want.deadline <= now)).collect();
        self.applying.retain(|_, wants| !wants.is_empty());
        overdue
    }

    /// Removes and returns the reads whose index is applied.
    fn settled(&mut self, applied: u64) -> Vec<Want> {
        let later = self.applying.split_off(&applied.saturating_add(1));
        std::mem::replace(&mut self.applying, later).into_values().flatten().collect()
    }
}

impl Reader {
    pub fn new(context: NodeContext, timeout: Duration) -> Reader {
        let (arrived, reached) = (Notify::new(), Notify::new());
        let long = ReadSlots::of_processors();
        Reader(Arc::new(Inner { context, timeout, wants: Mutex::default(), arrived, reached, long }))
    }

    /// Returns when everything that was committed before the call is applied here.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        let (tx, rx) = oneshot::channel();
        self.want(Asked::Applied(tx));
        rx.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Confirms leadership in a round that begins after the call, and waits until everything that
    /// was committed before is applied here and seen by the node's own observers. Returns the
    /// confirmed term.
    pub async fn confirm_leadership(&self) -> Result<u64, ReadError> {
        let round = self.own_round().await?;
        let term = round.led.ok_or(ReadError::LeaderChanged)?;
        let mut applied = self.0.context.state.applied();
        let reached = applied.wait_for(|applied| *applied >= round.index);
        match tokio::time::timeout(self.0.timeout, reached).await {
            Ok(Ok(_)) => Ok(term),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::TimedOut),
        }
    }

    /// The read index of a round that this node leads, for a follower. `None`: not the leader.
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

    /// Runs a long read on the blocking pool when a slot is free.
    pub async fn long<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        self.0.long.read(work).await
    }

    /// Reads a view: at once if the read stays within the budget, otherwise on the blocking pool
    /// without a budget.
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
                self.0.context.fatal.report(format_args!("a read failed: {fault}"));
                Err(ReadError::Fault(fault.to_string()))
            }
        }
    }

    /// A range at one revision, and that revision.
    pub async fn range(&self, query: RangeQuery, serializable: bool) -> Result<(RangeResult, i64), ReadFailure> {
        match self.read(query, serializable).await? {
            Found::Short(result, revision) => Ok((result, revision)),
            Found::Long(long) => long.read(|result, revision| (result, revision)).await,
        }
    }

    /// Reads at one revision, within the budget.
    pub async fn read<Q: Query>(&self, query: Q, serializable: bool) -> Result<Found<Q>, ReadFailure> {
        if !serializable {
            self.barrier().await?;
        }
        let view = self.0.context.state.view();
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
                self.0.context.fatal.report(format_args!("a read failed: {fault}"));
                Err(ReadError::Fault(fault.to_string()).into())
            }
        }
    }

    /// Runs rounds until the node stops.
    pub async fn run(self) {
        let closing = self.0.context.closing.clone();
        tokio::select! {
            () = self.rounds() => {}
            () = self.settle() => {}
            () = self.expire() => {}
            () = closing.cancelled() => {}
        }
        let mut wants = self.0.wants.lock();
        // Waiting reads see the closed channel.
        *wants = Wants { stopped: true, ..Wants::default() };
    }

    async fn rounds(&self) {
        let mut leadership = self.0.context.leadership.subscribe();
        loop {
            if !self.begin() {
                self.0.arrived.notified().await;
                continue;
            }
            leadership.borrow_and_update();
            let round = tokio::select! {
                round = self.round() => round,
                // The leader changed; ask the new one.
                _ = leadership.changed() => None,
            };
            match round {
                Some(round) => self.found(round),
                None if self.refuse_own() => drop(tokio::time::timeout(PAUSE, leadership.changed()).await),
                None => {}
            }
        }
    }

    /// Moves waiting reads into a new round; returns whether there are any, including those whose
    /// last round failed.
    fn begin(&self) -> bool {
        let mut wants = self.0.wants.lock();
        let Wants { next, under_way, .. } = &mut *wants;
        under_way.append(next);
        under_way.retain(|want| !want.is_closed());
        !under_way.is_empty()
    }

    /// After a round, wakes the reads whose index is applied; the others wait for it.
    fn found(&self, round: Round) {
        let mut wants = self.0.wants.lock();
        let mut served = std::mem::take(&mut wants.under_way);
        if self.0.context.state.applied_index() < round.index {
            let applying = served.extract_if(.., |want| matches!(want.asked, Asked::Applied(_))).collect::<Vec<_>>();
            if !applying.is_empty() {
                wants.applying.entry(round.index).or_default().extend(applying);
                self.0.reached.notify_one();
            }
        }
        drop(wants);
        self.serve(served, round);
    }

    /// Wakes clients on their own runtime, and peers and the keepers of deadlines here.
    fn serve(&self, mut served: Vec<Want>, round: Round) {
        for own in served.extract_if(.., |want| matches!(want.asked, Asked::Own(_))) {
            own.served(round);
        }
        if !served.is_empty() {
            self.0.context.handover.run(move || served.into_iter().for_each(|want| want.served(round)));
        }
    }

    /// After a failed round, fails the reads that need a round of this node. Returns whether others
    /// wait.
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

    /// Wakes reads as their indexes are applied.
    async fn settle(&self) {
        let mut applied = self.0.context.state.applied();
        loop {
            let first = self.0.wants.lock().applying.keys().next().copied();
            let Some(first) = first else {
                self.0.reached.notified().await;
                continue;
            };
            let index = tokio::select! {
                reached = applied.wait_for(|applied| *applied >= first) => reached.map(|index| *index),
                // The new index may be lower than the one waited for.
                () = self.0.reached.notified() => continue,
            };
            let Ok(index) = index else { return };
            let settled = self.0.wants.lock().settled(index);
            self.serve(settled, Round { index, led: None });
        }
    }

    /// Fails reads past their deadline.
    async fn expire(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let overdue = self.0.wants.lock().overdue(Instant::now());
            if overdue.is_empty() {
                continue;
            }
            let error = match self.0.context.leadership.current().leader {
                Some(_) => ReadError::TimedOut,
                None => ReadError::NoLeader,
            };
            for want in overdue {
                want.fail(error.clone());
            }
        }
    }

    async fn round(&self) -> Option<Round> {
        let now = self.0.context.leadership.current();
        let leader = now.leader?;
        if leader != self.0.context.leadership.me() {
            let index = self.0.context.peers.read_index(leader, ATTEMPT).await.ok()?;
            return Some(Round { index, led: None });
        }
        let linearizer = self.0.context.raft.get()?.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        // The confirmed term. The leadership metrics of this node may be outdated, before the round
        // and after it.
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

    /// The leader died after its answer, and its last entries are never committed.
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
