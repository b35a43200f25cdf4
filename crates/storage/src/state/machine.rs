//! openraft's state machine: applies committed entries, writes rows, sends answers.
//!
//! openraft hands over everything committed since the last call as one stream. The stream is cut
//! into groups of bounded size. Each group is one batch of the state machine and one write to the
//! database. After the write, in this order: the numbers of the handle change, the sink gets
//! events, leases and answers, the watchers of the applied index wake, and openraft's responders
//! are called.
//!
//! 1. Entry `n + 1` follows entry `n`. A gap is an error and stops the node, because replicas would
//!    differ from there on.
//! 2. An entry is applied only when the local log holds it durably. RocksDB may flush the state at
//!    any time, so this keeps the state on disk from being ahead of the log on disk. A log that
//!    ends before the state has therefore lost entries.
//! 3. Rows, applied id and membership are one write.
//! 4. `apply` writes nothing after an error, because the machine in memory and the rows may then
//!    differ.
//! 5. A slow command does not delay heartbeats. A group with a command that may touch any number of
//!    keys is applied and written on a separate thread. Nothing else is applied meanwhile, and
//!    views show the state before the group.

use super::handle::State;
use super::rocks::{RaftRows, StateDb};
use super::status::DIGEST_EVERY;
use super::view::Rows;
use crate::error::{damaged, fault_io};
use crate::failpoint::failpoint;
use crate::proposal::Segment;
use crate::snapshot::{self, Checkpoint, Snapshot};
use crate::types::{C, Entry, LogId, Payload, SnapshotMeta, StoredMembership, shown};
use bytes::Bytes;
use conclave_state::{Batch, Changes, Command, Machine, Outcome, Position, View};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Receives what was applied, in order. Called on the task that applies, so it must not block.
pub trait ApplySink: Send + Sync + 'static {
    /// Called after the batch is written and before a newer one is.
    fn applied(&self, batch: AppliedBatch);

    /// A snapshot replaced the whole state: discard everything derived from events.
    fn installed(&self);
}

/// The result of applying a group of entries.
#[derive(Debug)]
pub struct AppliedBatch {
    pub last: LogId,
    /// `writes` is empty here: the rows are written.
    pub changes: Changes,
    /// Outcomes of the segments that this process proposed, in log order.
    pub answers: Vec<Answer>,
}

/// The outcomes of one segment of this process, one per command.
#[derive(Debug)]
pub struct Answer {
    pub seq: u64,
    pub outcomes: Vec<Outcome>,
    pub index: u64,
    pub term: u64,
}

/// openraft with this state machine.
pub type Raft = openraft::Raft<C, StateStore>;

/// The state machine that openraft drives.
pub struct StateStore {
    shared: Arc<State>,
    sink: Arc<dyn ApplySink>,
    /// `None` while another thread applies a group, and for ever if that thread panicked.
    machine: Option<Machine>,
    raft: RaftRows,
    /// Segments with this origin were proposed by this process.
    origin: u64,
}

/// The parts of a state store.
pub(crate) struct Parts {
    pub(crate) shared: Arc<State>,
    pub(crate) sink: Arc<dyn ApplySink>,
    pub(crate) origin: u64,
}

/// Decoded entries that are applied together.
#[derive(Default)]
struct Group {
    steps: Vec<(LogId, Step)>,
    responders: Vec<ApplyResponder<C>>,
    bytes: usize,
    may_take_long: bool,
}

enum Step {
    Nothing,
    Membership(StoredMembership),
    Segments(Vec<Segment>),
}

impl Group {
    fn push(&mut self, entry: Entry) -> io::Result<()> {
        let step = match entry.payload {
            Payload::Blank => Step::Nothing,
            Payload::Membership(m) => Step::Membership(StoredMembership::new(Some(entry.log_id), m)),
            Payload::Normal(pack) => {
                self.bytes += pack.0.len();
                let segments: Vec<Segment> = pack.segments().collect::<Result<_, _>>()?;
                self.may_take_long |= segments.iter().flat_map(|s| &s.commands).any(Command::may_touch_many);
                Step::Segments(segments)
            }
        };
        self.steps.push((entry.log_id, step));
        Ok(())
    }
}

/// The result of applying a group, before and after it is written.
struct Applied {
    changes: Changes,
    answers: Vec<Answer>,
    membership: Option<StoredMembership>,
    /// Digest checkpoints: index and digest.
    digests: Vec<(u64, u64)>,
    /// The size of the write once it is done.
    written: Option<usize>,
    /// How long the write took.
    took: Duration,
    /// Keys that came to life (true) or ended, once they are written.
    living: Vec<(Bytes, bool)>,
}

impl StateStore {
    pub(crate) fn load(parts: Parts) -> io::Result<StateStore> {
        let Parts { shared, sink, origin } = parts;
        let db = shared.db();
        let raft = db.raft_rows()?;
        let machine = Machine::load(&Rows::now(&db)).map_err(|e| fault_io(&e))?;
        shared.publish(&machine, raft.applied.as_ref(), Vec::new());
        shared.wake_applied();
        Ok(StateStore { shared, sink, machine: Some(machine), raft, origin })
    }

    fn require_next(&self, previous: Option<&LogId>, entry: &Entry) -> io::Result<()> {
        let expected = previous.map_or(0, |p| p.index + 1);
        if entry.log_id.index == expected {
            return Ok(());
        }
        let text = format!("entry {} follows {}: entries are missing", entry.log_id.index, shown(previous));
        Err(self.shared.fatal.raise("applying the log", damaged(text)))
    }

    async fn apply_group(&mut self, group: Group) -> io::Result<()> {
        let Some((last, _)) = group.steps.last() else { return Ok(()) };
        let last = *last;
        self.shared.log.durable(last.index).await?;
        let result = self.apply_durable(group.steps, last, group.may_take_long).await;
        result.map_err(|e| self.shared.fatal.raise(&format!("applying entries up to {}", last.index), e))?;
        group.responders.into_iter().for_each(|r| r.send(()));
        Ok(())
    }

    async fn apply_durable(&mut self, steps: Vec<(LogId, Step)>, last: LogId, in_background: bool) -> io::Result<()> {
        let (db, origin) = (self.shared.db(), self.origin);
        let members = self.members_before(&steps);
        let mut machine =
            self.machine.take().ok_or_else(|| io::Error::other("an earlier group was not applied to its end"))?;
        let (machine, mut applied) = if in_background {
            self.shared.freeze_views();
            let db = db.clone();
            let work = move || {
                let mut applied = execute(&mut machine, &Rows::now(&db), &steps, origin, members)?;
                applied.write(&db, &last)?;
                Ok((machine, applied))
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)))?
        } else {
            let applied = execute(&mut machine, &Rows::now(&db), &steps, origin, members)?;
            (machine, applied)
        };
        let machine = &*self.machine.insert(machine);
        let counted = self.shared.publish_with(|| {
            applied.write(&db, &last)?;
            self.shared.publish(machine, Some(&last), std::mem::take(&mut applied.digests));
            io::Result::Ok(self.shared.counts.changed(&applied.living))
        })?;
        self.shared.commits.count(applied.took);
        self.shared.settle_counts(counted, &db)?;
        self.raft.applied = Some(last);
        let Applied { changes, answers, membership, written, .. } = applied;
        if let Some(membership) = membership {
            failpoint!("membership-after-apply");
            self.raft.membership = membership;
        }
        self.sink.applied(AppliedBatch { last, changes, answers });
        self.shared.wake_applied();
        self.shared.wrote(written.unwrap_or_default());
        Ok(())
    }

    /// The members before a group that changes them.
    fn members_before(&self, steps: &[(LogId, Step)]) -> BTreeSet<u64> {
        let changes = steps.iter().any(|(_, step)| matches!(step, Step::Membership(_)));
        let nodes = changes.then(|| self.raft.membership.nodes());
        nodes.into_iter().flatten().map(|(id, _)| *id).collect()
    }

    /// Switches to the state in another database.
    fn installed(&mut self, db: super::StateDb, meta: &SnapshotMeta) -> io::Result<()> {
        let machine = Machine::load(&Rows::now(&db)).map_err(|e| fault_io(&e))?;
        self.shared.replace(db, &machine, meta.last_log_id.as_ref());
        self.machine = Some(machine);
        self.raft = RaftRows { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.sink.installed();
        self.shared.wake_applied();
        Ok(())
    }
}

impl Applied {
    /// Writes the rows; does nothing if they are written already.
    fn write(&mut self, db: &StateDb, applied: &LogId) -> io::Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        failpoint!("apply-before-write");
        if self.membership.is_some() {
            failpoint!("membership-before-apply");
        }
        let writes = std::mem::take(&mut self.changes.writes);
        self.living = writes.living().collect();
        let begun = Instant::now();
        self.written = Some(db.write_applied(&writes, applied, self.membership.as_ref())?);
        self.took = begun.elapsed();
        failpoint!("apply-after-write");
        Ok(())
    }
}

/// Applies a group to the machine, without writing to the database. `members` are those before it,
/// if it changes them.
fn execute<V: View>(
    machine: &mut Machine,
    rows: &V,
    steps: &[(LogId, Step)],
    origin: u64,
    mut members: BTreeSet<u64>,
) -> io::Result<Applied> {
    let mut batch = machine.begin(rows);
    let (mut answers, mut membership, mut digests) = (Vec::new(), None, Vec::new());
    for (id, step) in steps {
        match step {
            Step::Nothing => {}
            Step::Membership(m) => {
                let now: BTreeSet<u64> = m.nodes().map(|(id, _)| *id).collect();
                // The first membership adds nobody to a running cluster.
                if !members.is_empty() {
                    let of = |a: &BTreeSet<u64>, b: &BTreeSet<u64>| a.difference(b).copied().collect::<Vec<u64>>();
                    batch.members_changed(&of(&now, &members), &of(&members, &now));
                }
                (members, membership) = (now, Some(m.clone()));
            }
            Step::Segments(segments) => execute_segments(&mut batch, id, segments, origin, &mut answers)?,
        }
        if id.index.is_multiple_of(DIGEST_EVERY) {
            digests.push((id.index, batch.digest()));
        }
    }
    let (took, living) = (Duration::ZERO, Vec::new());
    Ok(Applied { changes: batch.finish(), answers, membership, digests, written: None, took, living })
}

fn execute_segments<V: View>(
    batch: &mut Batch<'_, V>,
    id: &LogId,
    segments: &[Segment],
    origin: u64,
    answers: &mut Vec<Answer>,
) -> io::Result<()> {
    let at = Position { index: id.index, term: id.leader_id.term };
    for segment in segments {
        let own = segment.origin == origin;
        let mut outcomes = Vec::with_capacity(if own { segment.commands.len() } else { 0 });
        for command in &segment.commands {
            let outcome = batch.apply(at, command, own).map_err(|e| fault_io(&e))?;
            if own {
                outcomes.push(outcome);
            }
        }
        if own {
            answers.push(Answer { seq: segment.seq, outcomes, index: at.index, term: at.term });
        }
    }
    Ok(())
}

impl RaftStateMachine<C> for StateStore {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.raft.applied, self.raft.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        let limits = self.shared.limits.clone();
        let mut group = Group::default();
        let mut previous = self.raft.applied;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item.map_err(|e| self.shared.fatal.raise("reading the log", e))?;
            self.require_next(previous.as_ref(), &entry)?;
            previous = Some(entry.log_id);
            let index = entry.log_id.index;
            let pushed = group.push(entry);
            pushed.map_err(|e| self.shared.fatal.raise(&format!("decoding entry {index}"), e))?;
            group.responders.extend(responder);
            if group.bytes >= limits.apply_bytes || group.steps.len() >= limits.apply_commands {
                self.apply_group(std::mem::take(&mut group)).await?;
            }
        }
        self.apply_group(group).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { shared: self.shared.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, checkpoint: Checkpoint) -> Result<(), io::Error> {
        let (shared, wanted) = (self.shared.clone(), meta.clone());
        let made = tokio::task::spawn_blocking(move || snapshot::install(&shared, &wanted, &checkpoint)).await;
        let done = match made {
            Ok(Ok(db)) => self.installed(db, meta),
            Ok(Err(e)) => Err(e),
            Err(e) => Err(io::Error::other(e)),
        };
        done.map_err(|e| self.shared.fatal.raise("installing a snapshot", e))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.shared.snapshots.current())
    }
}

/// Builds a snapshot while `apply` goes on. Its metadata is read from the snapshot itself.
pub struct SnapshotBuilder {
    shared: Arc<State>,
}

impl RaftSnapshotBuilder<C> for SnapshotBuilder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let shared = self.shared.clone();
        let built = tokio::task::spawn_blocking(move || snapshot::build(&shared)).await;
        let built = built.unwrap_or_else(|e| Err(io::Error::other(e)));
        built.map_err(|e| self.shared.fatal.raise("building a snapshot", e))
    }
}
