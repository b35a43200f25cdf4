//! What elections, locks and claims can be told to do: the commands of conclave.v1.
//!
//! One command is one decision, taken in `apply`. Durations are numbers of milliseconds that the state only remembers; 0 switches the
//! feature off. As everywhere in the log, variants and fields are only ever appended.

use crate::LeaseId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An operation with what every one of them carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coord {
    /// Who asks: the lease that stands for a client. 0 for an operator without a session.
    pub session: LeaseId,
    /// Chosen at random by the client, kept over its retries: the operation takes effect once.
    pub dedupe: Option<[u8; 16]>,
    pub expect: Option<Expect>,
    pub body: CoordBody,
}

/// What must be true for the operation to take place. Of bodies that name one election or one claim only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The term id of an election (also of one whose leader is gone), the fence of a claim.
    pub fence: Option<i64>,
    /// The revision that last changed its leader or its queue.
    pub revision: Option<i64>,
    /// Who leads or holds; the empty text for nobody.
    pub holder: Option<String>,
}

/// An election, a lock or a claim; each kind has names of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CoordBody {
    Enter(Enter),
    Leave(Leave),
    Anoint(Anoint),
    Promote(Promote),
    Demote(Demote),
    Evict(Evict),
    EvictEverywhere(EvictEverywhere),
    ProclaimTerm(ProclaimTerm),
    RequestTransfer(RequestTransfer),
    Transfer(Transfer),
    DeleteElection(Name),
    Acquire(Acquire),
    Release(Release),
    Claim(Vec<Claim>),
    /// Give up waiting for a claim.
    Unclaim(Unclaim),
    Revoke(Revoke),
    Pin(Pin),
    Unpin(Unpin),
    SetLimits(SetLimits),
}

/// Stand for election under the session's lease, or find one's candidacy again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enter {
    pub election: Name,
    pub candidate: String,
    /// Which process in the session this is; the session's own if empty.
    pub instance: String,
    /// Higher stands further ahead among those who wait.
    pub priority: i64,
    pub labels: Vec<(String, String)>,
    /// What the leader's key holds once this candidate leads.
    pub value: Bytes,
    /// Only if it leads at once.
    pub try_only: bool,
    /// Replace a candidate of that name that is another session's or instance's, at its place.
    pub takeover: bool,
    /// A priority above the leader's takes the leadership.
    pub preempt: bool,
    /// How long nobody leads after this candidate was lost as a leader (expired, evicted, held too long).
    pub lock_delay_ms: u64,
    /// How long it may lead in one term.
    pub max_hold_ms: u64,
    /// See [`Cancel`](crate::Cancel). 0: no call may give the candidate up.
    pub attempt: u64,
}

/// Withdraw: with a session only what is that session's. Not to be a candidate is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    pub election: Name,
    pub candidate: String,
    /// Only that instance, if given; the session's own if empty.
    pub instance: Option<String>,
}

/// Make a candidate the leader; the leader before it is first in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anoint {
    pub election: Name,
    pub candidate: String,
    /// An unknown candidate is no error.
    pub ignore_missing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    pub election: Name,
    pub candidate: String,
    pub to: PromoteTo,
    pub ignore_missing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteTo {
    /// So many places ahead; past the first in line is the leadership.
    Places(u32),
    /// First in line, the leader stays.
    Front,
    Lead,
}

/// So many places back; a leader that steps back hands over to the first in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demote {
    pub election: Name,
    pub candidate: String,
    /// `u32::MAX` is the end of the line.
    pub places: u32,
    pub ignore_missing: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    pub election: Name,
    pub candidate: String,
    /// How long it may not enter again.
    pub cooldown_ms: u64,
    pub reason: String,
    pub ignore_missing: bool,
}

/// Evict a candidate from every election, of one namespace or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictEverywhere {
    pub namespace: Option<String>,
    pub candidate: String,
    pub cooldown_ms: u64,
    pub reason: String,
}

/// Replace the value of the leader's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProclaimTerm {
    pub election: Name,
    /// The term that the caller leads.
    pub term_id: i64,
    pub value: Bytes,
}

/// Ask the leader to hand over to a candidate that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTransfer {
    pub election: Name,
    pub to: String,
    /// When the request lapses; 0 never.
    pub deadline_ms: u64,
    /// At the deadline the transfer takes place instead of lapsing.
    pub force: bool,
}

/// The leader hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub election: Name,
    /// The term that the caller leads.
    pub term_id: i64,
    /// Empty: whom the pending request names.
    pub to: String,
    /// Withdraw as well, instead of being first in line.
    pub leave: bool,
}

/// Take one lock or several at once, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    pub parts: Vec<LockPart>,
    /// Shown to those who look; a cool-down goes by it.
    pub owner: String,
    pub try_only: bool,
    /// When waiting ends by itself; 0 never.
    pub wait_ms: u64,
    pub lock_delay_ms: u64,
    pub max_hold_ms: u64,
    /// See [`Cancel`](crate::Cancel). 0: no call may give the request up. Without a dedupe id the
    /// attempt also finds the request again, for as long as it lasts.
    pub attempt: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPart {
    pub lock: Name,
    pub mode: LockMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// Alone.
    Exclusive,
    /// Beside others that share.
    Shared,
    /// Permits of a semaphore: beside others as long as the weights add up to no more than the capacity.
    Permits { weight: u32, capacity: u32 },
}

/// Give back exactly what was acquired under a fence, or stop waiting for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub fence: i64,
    /// An operator's: whoever the session is, with lock-delay, and a cool-down for the owner.
    pub evict: bool,
    pub cooldown_ms: u64,
}

/// Take a claim or extend one's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub claim: Name,
    pub holder: String,
    /// Which process in the session this is; the session's own if empty. Without a session it must be named, unless the tenure is shared.
    pub instance: String,
    pub duration_ms: u64,
    pub twin: Twin,
    /// Stand in line if another holds it.
    pub wait: bool,
    /// When waiting ends by itself; 0 never.
    pub wait_ms: u64,
}

/// What a claim by the holder's name, but another session or instance, comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Twin {
    #[default]
    Deny,
    /// A new tenure: the other instance is fenced out.
    TakeOver,
    /// The same tenure for both, as Juju has it, if the holder asked for that too; else denied.
    Share,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclaim {
    pub claim: Name,
    pub holder: String,
    pub instance: String,
}

/// End a claim. Not to be held is no error; to be held by another is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    pub claim: Name,
    /// `None`: whoever holds it.
    pub holder: Option<String>,
    pub instance: Option<String>,
}

/// While any entity pins a claim, it does not expire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub claim: Name,
    pub entity: String,
    pub reason: String,
    /// The pin goes with the command's session.
    pub with_session: bool,
    /// The pin goes after that time; 0 never.
    pub max_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpin {
    pub claim: Name,
    pub entity: String,
}

/// What claims of a namespace may ask for; `None` returns to the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLimits {
    pub namespace: String,
    pub limits: Option<Limits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub min_ms: u64,
    pub max_ms: u64,
    /// How many may wait for one claim.
    pub max_waiting: u32,
}

impl Default for Limits {
    /// Juju's 5 s to 5 min.
    fn default() -> Limits {
        Limits { min_ms: 5_000, max_ms: 300_000, max_waiting: 100_000 }
    }
}

/// The Raft leader's word that these timers have run out. Ignored unless the entry's own term is `term`. A timer that was disarmed or
/// armed anew has another id by now, and is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordTimer {
    pub ids: Vec<u64>,
    pub term: u64,
}
