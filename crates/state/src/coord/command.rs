//! The commands of conclave.v1: operations on elections, locks and claims.
//!
//! One command is one decision in `apply`. Durations are in milliseconds and the state only stores
//! them; 0 switches the feature off. Variants and fields are only ever appended, as everywhere in
//! the log.

use crate::LeaseId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An operation with the fields that all operations have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coord {
    /// The session of the client, which is a lease. 0 for an operator without a session.
    pub session: LeaseId,
    /// Chosen at random by the client and repeated in retries, so that the operation takes effect
    /// once.
    pub dedupe: Option<[u8; 16]>,
    pub expect: Option<Expect>,
    pub body: CoordBody,
}

/// Preconditions of the operation. Only for bodies that name one election or one claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The term id of an election (also if its leader is gone), or the fence of a claim.
    pub fence: Option<i64>,
    /// The revision that last changed its leader or its queue.
    pub revision: Option<i64>,
    /// The leader or holder; empty for none.
    pub holder: Option<String>,
}

/// The name of an election, a lock or a claim. Each kind has its own names.
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
    /// Stop waiting for a claim.
    Unclaim(Unclaim),
    Revoke(Revoke),
    Pin(Pin),
    Unpin(Unpin),
    SetLimits(SetLimits),
}

/// Become a candidate under the session's lease, or find the own candidacy again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enter {
    pub election: Name,
    pub candidate: String,
    /// The process in the session; the session's own instance if empty.
    pub instance: String,
    /// Waiting candidates with a higher priority come first.
    pub priority: i64,
    pub labels: Vec<(String, String)>,
    /// The value of the leader's key once this candidate leads.
    pub value: Bytes,
    /// Enter only if the candidate leads at once.
    pub try_only: bool,
    /// Replace a candidate of that name of another session or instance, at its place.
    pub takeover: bool,
    /// Take the leadership if the priority is above the leader's.
    pub preempt: bool,
    /// Time without a leader after this candidate is lost as leader (expired, evicted, held too
    /// long).
    pub lock_delay_ms: u64,
    /// The longest time that it may lead in one term.
    pub max_hold_ms: u64,
    /// See [`Cancel`](crate::Cancel). 0: no call may give the candidate up.
    pub attempt: u64,
}

/// Withdraw. With a session, only that session's candidate. A missing candidate is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    pub election: Name,
    pub candidate: String,
    /// Only that instance, if given; the session's own instance if empty.
    pub instance: Option<String>,
}

/// Make a candidate the leader. The previous leader becomes the first in line.
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
    /// This many places ahead; a move past the first in line takes the leadership.
    Places(u32),
    /// To the first place in line; the leader stays.
    Front,
    Lead,
}

/// Move back by a number of places. A leader hands over to the first in line.
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
    /// Time during which it may not enter again.
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

/// Ask the leader to hand over to a waiting candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTransfer {
    pub election: Name,
    pub to: String,
    /// When the request expires; 0 never.
    pub deadline_ms: u64,
    /// At the deadline the transfer takes place instead of expiring.
    pub force: bool,
}

/// The leader hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub election: Name,
    /// The term that the caller leads.
    pub term_id: i64,
    /// The new leader; if empty, the one in the pending request.
    pub to: String,
    /// Withdraw as well, instead of becoming first in line.
    pub leave: bool,
}

/// Take one lock or several at once, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    pub parts: Vec<LockPart>,
    /// Shown in lists; cool-downs apply to it.
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
    /// Together with other shared holders.
    Shared,
    /// Permits of a semaphore: together with others while the sum of the weights is at most the
    /// capacity.
    Permits { weight: u32, capacity: u32 },
}

/// Release exactly the request with a fence, or stop waiting for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub fence: i64,
    /// By an operator: whatever the session, with lock-delay, and a cool-down for the owner.
    pub evict: bool,
    pub cooldown_ms: u64,
}

/// Take a claim or extend the own one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub claim: Name,
    pub holder: String,
    /// The process in the session; the session's own instance if empty. Without a session it must
    /// be named, unless the tenure is shared.
    pub instance: String,
    pub duration_ms: u64,
    pub twin: Twin,
    /// Wait in line if another holds it.
    pub wait: bool,
    /// When waiting ends by itself; 0 never.
    pub wait_ms: u64,
}

/// The result of a claim under the holder's name by another session or instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Twin {
    #[default]
    Deny,
    /// A new tenure: the other instance is fenced out.
    TakeOver,
    /// The same tenure for both, as in Juju, if the holder also asked to share; otherwise denied.
    Share,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclaim {
    pub claim: Name,
    pub holder: String,
    pub instance: String,
}

/// End a claim. It is no error if the claim is not held, but one if another holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    pub claim: Name,
    /// `None`: any holder.
    pub holder: Option<String>,
    pub instance: Option<String>,
}

/// While any entity pins a claim, it does not expire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub claim: Name,
    pub entity: String,
    pub reason: String,
    /// The pin ends with the command's session.
    pub with_session: bool,
    /// The pin ends after that time; 0 never.
    pub max_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpin {
    pub claim: Name,
    pub entity: String,
}

/// Limits of the claims in a namespace; `None` restores the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLimits {
    pub namespace: String,
    pub limits: Option<Limits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub min_ms: u64,
    pub max_ms: u64,
    /// The most waiters for one claim.
    pub max_waiting: u32,
}

impl Default for Limits {
    /// Juju's 5 s to 5 min.
    fn default() -> Limits {
        Limits { min_ms: 5_000, max_ms: 300_000, max_waiting: 100_000 }
    }
}

/// Ends timers whose time is over according to the Raft leader. Ignored unless the entry's own term
/// is `term`. A timer that was disarmed or armed again has another id and is skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordTimer {
    pub ids: Vec<u64>,
    pub term: u64,
}
