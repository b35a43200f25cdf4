//! The machine: its memory between batches, and the dispatch of commands.
//!
//! It keeps the revision, the compacted revision, the digest and the alarms, which are also in the
//! meta table, the users and roles, and two caches: the first places of queues and the metadata of
//! keys. Everything else is in rows.
//!
//! 1. Between batches the numbers in memory equal those in the view. A batch that is dropped before
//!    [`Batch::finish`] leaves them ahead: after a [`Fault`] the machine must not be used again
//!    (the node stops).
//! 2. `sub` counts the changes of the current command. If there were any, the revision increases by
//!    one after it.
//! 3. Rejections depend only on the state and the command. `answer` only decides whether the result
//!    is built.

use crate::auth::{self, Auth, AuthEvent};
use crate::bounds::{Bounds, Budget, MOST_KEYS, Meta, ReadStop, unlimited_exceeded};
use crate::digest::Digest;
use crate::event::{Changes, Event, LeaseChange, TimerChange};
use crate::heads::Heads;
use crate::meta;
use crate::overlay::Overlay;
use crate::queue::Firsts;
use crate::version::ClusterVersion;
use crate::view::{Fault, View};
use crate::{Alarm, AlarmKind, Command, LeaseId, Outcome, Rejection, Response};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The log position of the current command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub index: u64,
    pub term: u64,
}

pub struct Machine {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) digest: Digest,
    pub(crate) alarms: BTreeSet<Alarm>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) queues: Firsts,
    pub(crate) heads: Heads,
}

impl Machine {
    /// The machine for the state in `view`, or for the empty store if the view is empty.
    pub fn load<V: View>(view: &V) -> Result<Machine, Fault> {
        let numbers = meta::meta(view)?;
        Ok(Machine {
            revision: numbers.revision,
            compacted: numbers.compacted,
            digest: Digest(numbers.digest),
            alarms: meta::alarms(view)?.into_iter().collect(),
            auth: Arc::new(auth::load(view)?),
            queues: Firsts::default(),
            heads: Heads::default(),
        })
    }

    /// A machine that only answers reads. Alarms do not refuse reads.
    pub(crate) fn at(bounds: Bounds) -> Machine {
        Machine {
            revision: bounds.current,
            compacted: bounds.compacted,
            digest: Digest::EMPTY,
            alarms: BTreeSet::new(),
            auth: Arc::default(),
            queues: Firsts::default(),
            heads: Heads::default(),
        }
    }

    /// Drops all caches, for tests. It changes only speed.
    pub fn forget(&mut self) {
        self.queues.clear();
        self.heads.clear();
    }

    /// Starts a batch. `view` must hold exactly what earlier batches wrote.
    pub fn begin<'a, V: View>(&'a mut self, view: &'a V) -> Batch<'a, V> {
        let before = self.meta();
        Batch {
            machine: self,
            rows: Overlay::new(view),
            events: Vec::new(),
            leases: Vec::new(),
            timers: Vec::new(),
            auth: Vec::new(),
            version: None,
            projected: Projected::new(),
            before,
            reads: Budget::unlimited(),
            sub: 0,
            answer: true,
            repeats: None,
            keys_left: Cell::new(MOST_KEYS),
        }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn digest(&self) -> u64 {
        self.digest.0
    }

    /// The users and roles.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// The numbers that are stored with the applied rows.
    pub fn meta(&self) -> Meta {
        Meta { revision: self.revision, compacted: self.compacted, digest: self.digest.0 }
    }

    /// The rejection of a command by a raised alarm, if any.
    fn refusal(&self, command: &Command) -> Option<Rejection> {
        let reads = || matches!(command, Command::Txn(txn) if txn.only_reads());
        if self.alarms.is_empty() || matches!(command, Command::Alarm(_)) || reads() {
            return None;
        }
        let raised = |kind| self.alarms.iter().any(|alarm| alarm.kind == kind);
        if raised(AlarmKind::Corrupt) {
            return Some(Rejection::Corrupt);
        }
        (raised(AlarmKind::NoSpace) && command.grows()).then_some(Rejection::NoSpace)
    }
}

/// The intended projected keys: a value with its lease, or deleted.
pub(crate) type Projected = BTreeMap<Vec<u8>, Option<(Vec<u8>, LeaseId)>>;

/// Commands applied together, for one write.
pub struct Batch<'a, V> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) rows: Overlay<'a, V>,
    pub(crate) events: Vec<Event>,
    pub(crate) leases: Vec<LeaseChange>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) auth: Vec<AuthEvent>,
    /// The cluster's version, if the batch changed it.
    pub(crate) version: Option<ClusterVersion>,
    /// Projected keys of the current command; empty between commands.
    pub(crate) projected: Projected,
    /// The numbers when the batch began.
    before: Meta,
    /// The remaining read budget of the current command.
    pub(crate) reads: Budget,
    pub(crate) sub: u32,
    pub(crate) answer: bool,
    /// The revision of the remembered answer that the current command repeats.
    pub(crate) repeats: Option<i64>,
    /// The number of keys that ranges of the current command may still cover.
    pub(crate) keys_left: Cell<usize>,
}

/// Why a command stops: it is rejected (a value), its read budget is used up (reads only), or the
/// state cannot be read (fatal).
#[derive(Debug)]
pub(crate) enum Stop {
    Rejected(Rejection),
    OverBudget,
    Fault(Fault),
}

impl From<ReadStop> for Stop {
    fn from(stop: ReadStop) -> Stop {
        match stop {
            ReadStop::Rejected(rejection) => Stop::Rejected(rejection),
            ReadStop::OverBudget => Stop::OverBudget,
        }
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Stop {
        Stop::Rejected(rejection)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

impl<'a, V: View> Batch<'a, V> {
    /// Applies one command. With `answer = false` no caller on this node waits for it, and the
    /// answer is not built.
    pub fn apply(&mut self, at: Position, command: &Command, answer: bool) -> Result<Outcome, Fault> {
        self.sub = 0;
        self.answer = answer;
        self.keys_left.set(MOST_KEYS);
        self.repeats = None;
        let result = self.admit(at, command);
        self.machine.revision = self.seen();
        self.sub = 0;
        let result = match result {
            Ok(response) => Ok(if answer { response } else { Response::Unasked }),
            Err(Stop::Rejected(rejection)) => Err(rejection),
            Err(Stop::OverBudget) => return Err(unlimited_exceeded()),
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        Ok(Outcome { revision: self.machine.revision, repeats: self.repeats.take(), result })
    }

    /// Executes a command if its caller may send it and no alarm refuses it.
    fn admit(&mut self, at: Position, command: &Command) -> Result<Response, Stop> {
        let (caller, command) = command.parts();
        if self.machine.auth.enabled() {
            let auth = Arc::clone(&self.machine.auth);
            auth.check_command(caller, &self.rows, command)?.map_err(Rejection::from)?;
        }
        match self.machine.refusal(command) {
            // A retry of a request that was executed before the alarm is not refused, because that
            // would claim that it was not executed.
            Some(Rejection::NoSpace) if self.is_remembered(command)? => self.execute(at, command),
            Some(rejection) => Err(Stop::Rejected(rejection)),
            None => self.execute(at, command),
        }
    }

    /// The running digest right after the last command.
    pub fn digest(&self) -> u64 {
        self.machine.digest()
    }

    /// All changes of the batch, for one atomic write.
    pub fn finish(mut self) -> Changes {
        let after = self.machine.meta();
        if after != self.before {
            meta::store_meta(&mut self.rows, &after);
        }
        Changes {
            writes: self.rows.into_writes(),
            events: self.events,
            leases: self.leases,
            timers: self.timers,
            auth: self.auth,
            version: self.version,
            compacted: (after.compacted != self.before.compacted).then_some(after.compacted),
            revision: after.revision,
        }
    }

    fn execute(&mut self, at: Position, command: &Command) -> Result<Response, Stop> {
        match command {
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => self.delete_range(delete).map(Response::DeleteRange),
            Command::Txn(txn) => self.txn(txn).map(Response::Txn),
            Command::Compact { revision } => self.compact(*revision),
            Command::LeaseGrant(grant) => self.lease_grant(at, *grant),
            Command::LeaseRevoke { id } => self.lease_revoke(*id),
            Command::Expire(expire) => self.expire(at, expire),
            Command::Enqueue(enqueue) => self.enqueue(at, enqueue),
            Command::Dequeue(dequeue) => self.dequeue(dequeue),
            Command::Proclaim(proclaim) => self.proclaim(proclaim),
            Command::Announce(member) => self.announce(member).map_err(Stop::Fault),
            Command::Alarm(change) => Ok(self.alarm(*change)),
            Command::Coord(coord) => self.coord(coord),
            Command::CoordTimer(timer) => self.coord_timer(at, timer),
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::Join(join) => self.join(*join).map_err(Stop::Fault),
            Command::PromoteWhenReady(wish) => self.promote_when_ready(*wish).map_err(Stop::Fault),
            Command::Placement(change) => self.placement_change(change),
            Command::Version(change) => self.version_change(*change).map_err(Stop::Fault),
            Command::Auth(change) => self.auth_change(at, change),
            Command::By(_) => Err(Rejection::Malformed.into()),
        }
    }

    /// The revision of the changes of the current command.
    pub(crate) fn next_revision(&self) -> i64 {
        self.machine.revision + 1
    }

    /// The revision as the current command sees it: the next one once it has changed a key.
    pub(crate) fn seen(&self) -> i64 {
        if self.sub == 0 { self.machine.revision } else { self.machine.revision + 1 }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { current: self.seen(), compacted: self.machine.compacted }
    }
}
