//! The commands of the state machine.
//!
//! Conversion turns a client's request into a [`Command`] and validates it, so a command in the log
//! is well formed. Only `apply` decides whether it *succeeds*.
//!
//! The serialized form is what the log holds and what peers exchange: variants and fields are only
//! ever appended (`storage::codec` keeps golden bytes of every variant).

use crate::LeaseId;
use crate::auth::{AuthChange, Caller};
use crate::coord::{Coord, CoordTimer, Name};
use crate::key_range::KeyRange;
use crate::placement::{Labels, PlacementPolicy};
use crate::shared;
use crate::version::VersionChange;
use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;

/// One change of state, decided deterministically in `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(Txn),
    /// Remove versions that are obsolete at `revision`.
    Compact {
        revision: i64,
    },
    LeaseGrant(LeaseGrant),
    LeaseRevoke {
        id: LeaseId,
    },
    Expire(Expire),
    Enqueue(Enqueue),
    Dequeue(Dequeue),
    Proclaim(Proclaim),
    Announce(Member),
    Alarm(AlarmChange),
    /// An operation on elections, locks and claims.
    Coord(Box<Coord>),
    CoordTimer(CoordTimer),
    Cancel(Cancel),
    /// A change of users and roles.
    Auth(Box<AuthChange>),
    /// See [`Join`].
    Join(Join),
    /// What the members support, and the cluster's version.
    Version(VersionChange),
    /// See [`PromoteWhenReady`].
    PromoteWhenReady(PromoteWhenReady),
    /// See [`crate::placement`].
    Placement(Box<PlacementChange>),
    /// Any other command, with who sent it. Its stored form is another one: see `storage::codec`.
    #[serde(skip)]
    By(Box<By>),
}

impl Command {
    /// Who sent it, and what to do.
    pub fn parts(&self) -> (Option<&Caller>, &Command) {
        match self {
            Command::By(by) => (Some(&by.caller), &by.command),
            command => (None, command),
        }
    }

    /// The same command, sent by `caller`.
    #[must_use]
    pub fn by(self, caller: Caller) -> Command {
        let command = match self {
            Command::By(by) => by.command,
            command => command,
        };
        Command::By(Box::new(By { caller, command }))
    }
}

/// A command with its caller. Never nested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    pub caller: Caller,
    pub command: Command,
}

/// The first start of a member that was added to a running cluster: its data directory claims the
/// member's id. The first claim wins for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub member: u64,
    /// Drawn at random for an empty directory; not 0.
    pub incarnation: u64,
}

/// Whether the leader is to give this learner its vote once it is in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteWhenReady {
    pub member: u64,
    pub wanted: bool,
}

/// A change of what decides which member should lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementChange {
    /// A member announces its labels.
    Labels { member: u64, labels: Labels },
    /// A member gives leadership away and is not chosen, or no longer so.
    Maintenance { member: u64, on: bool },
    /// Takes the place of the policy before it.
    Policy(PlacementPolicy),
}

/// etcd's Put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    #[serde(deserialize_with = "shared::bytes")]
    pub key: Bytes,
    #[serde(deserialize_with = "shared::bytes")]
    pub value: Bytes,
    /// 0 attaches no lease, and detaches the previous one.
    pub lease: LeaseId,
    pub prev_kv: bool,
    /// Keep the value the key has; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease the key has; the key must exist.
    pub ignore_lease: bool,
}

/// etcd's DeleteRange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRange {
    pub range: KeyRange,
    pub prev_kv: bool,
}

/// etcd's Txn: all compares of the whole tree against the state before it, then one branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Range(RangeQuery),
    Put(Put),
    DeleteRange(DeleteRange),
    Txn(#[serde(deserialize_with = "nested")] Txn),
}

/// The deepest nesting of transactions: more than a request on the wire can have, and far less than
/// the stack allows.
const DEEPEST: u32 = 64;

thread_local! {
    /// Nesting of the transaction that is being decoded on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Decodes a nested transaction. Decoding recurses for each level, and so do all later uses
/// including drop, so untrusted bytes must not choose the number of levels.
fn nested<'de, D: Deserializer<'de>>(from: D) -> Result<Txn, D::Error> {
    struct Level;

    impl Drop for Level {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }

    if DEPTH.get() >= DEEPEST {
        return Err(D::Error::custom("transactions are nested too deeply"));
    }
    DEPTH.set(DEPTH.get() + 1);
    let _level = Level;
    Txn::deserialize(from)
}

/// True if `target` of *every* key in `range` is in `relation` to the operand. An empty range
/// counts as one missing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub range: KeyRange,
    pub relation: Relation,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    Equal,
    Greater,
    Less,
    NotEqual,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Version(i64),
    CreateRevision(i64),
    ModRevision(i64),
    Value(Bytes),
    Lease(LeaseId),
}

/// etcd's Range without its consistency level, which concerns the reader and not the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeQuery {
    pub range: KeyRange,
    /// 0 = no limit.
    pub limit: i64,
    /// ≤ 0 = latest outside a transaction; inside one, negative is compacted.
    pub revision: i64,
    pub order: Order,
    pub sort_by: SortBy,
    pub keys_only: bool,
    pub count_only: bool,
    /// Inclusive bounds, 0 = unset.
    pub min_mod_revision: i64,
    pub max_mod_revision: i64,
    pub min_create_revision: i64,
    pub max_create_revision: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    #[default]
    None,
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortBy {
    #[default]
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// A new lease under an id chosen by the proposing node or by the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    pub id: LeaseId,
    /// Already raised to the minimum. Whole seconds for leases of etcd's API.
    pub ttl_ms: u64,
}

/// Ends leases whose time is over according to the Raft leader. Ignored unless the entry's own term
/// is `term`, so that a deposed leader's clock has no effect. All leases end in one revision,
/// ordered by lease id and key.
///
/// A client may revoke a lease and grant the same id again while this is on its way. The new lease
/// is not what was due: leases that an entry after `observed` granted, this one included, are
/// spared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expire {
    pub leases: Vec<LeaseId>,
    pub term: u64,
    /// The log index up to which the leader had observed grants when it found these due.
    pub observed: u64,
}

/// Take a place in the queue `name/`, or find it again: the key `name/<lease in hex>`, attached to
/// the lease.
///
/// Campaign and Lock of etcd. With `grant_ttl_ms > 0` the same command creates the lease (etcd's
/// `lease = 0`).
///
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueue {
    pub kind: QueueKind,
    pub name: Bytes,
    pub lease: LeaseId,
    pub grant_ttl_ms: u64,
    /// The candidate's value. A place that is found again gets it too. Empty for a lock.
    pub value: Bytes,
    /// See [`Cancel`]. 0: no call may give the place up.
    pub attempt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QueueKind {
    Lock,
    Election,
}

/// Replace the value of the key created at `create_revision`, keeping its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proclaim {
    pub key: Bytes,
    pub create_revision: i64,
    pub value: Bytes,
}

/// End a place in a queue. A late command finds no place and has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dequeue {
    pub key: Bytes,
    pub by: DequeueBy,
}

/// Which place at a key to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DequeueBy {
    /// Exactly the incarnation created at this revision: Resign.
    CreateRevision(i64),
    /// The key of a lock, whatever its revision: Unlock, which has no revision on the wire.
    Lock,
}

/// Give up an attempt: its commands take no place any more, and the place that it alone asked for
/// ends.
///
/// An *attempt* is one call that asks for a place, or several of one member for the same place at
/// one time. Its number is drawn at random, and the commands that ask carry it: [`Enqueue`],
/// `Enter` and `Acquire`. A client may make several attempts: its connection breaks, it asks again
/// at another member, and the first member learns only later that its caller is gone. Each member
/// gives up its own attempt and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The lease that the place ends with.
    pub session: LeaseId,
    pub attempt: u64,
    pub place: PlaceId,
}

/// Which place an attempt asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlaceId {
    /// A key of a queue of etcd's wire.
    Key(Bytes),
    Candidate {
        election: Name,
        candidate: String,
    },
    /// A request for locks. Fence 0: the caller knows no fence; the dedupe id or the attempt finds
    /// it.
    Request {
        fence: i64,
        dedupe: Option<[u8; 16]>,
    },
}

/// A member's name and URLs, published once it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub client_urls: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmChange {
    pub raise: bool,
    pub alarm: Alarm,
}

/// A member's alarm. `NoSpace` refuses what would grow the store; `Corrupt` refuses every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    pub member: u64,
    pub kind: AlarmKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlarmKind {
    NoSpace,
    Corrupt,
}
