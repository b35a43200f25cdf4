//! The rows of elections, locks and claims.
//!
//! A head contains the leader or holder and the number of waiters. Each waiter has its own row and
//! a row in the line. The leader of an election is in the head and not in the line, so no fact is
//! stored twice.

use super::field::{self, Field, choices, fields};
use super::{Limits, LockMode, LockPart, Name, keys};
use crate::LeaseId;
use crate::view::{Fault, Step, Table, View};
use bytes::Bytes;

/// The cause of a change of leader or holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    #[default]
    Entered,
    Left,
    /// The lease ran out.
    Expired,
    /// The lease was revoked.
    SessionClosed,
    Evicted,
    Anointed,
    Promoted,
    Demoted,
    Preempted,
    TakenOver,
    Transferred,
    TransferRequested,
    TransferLapsed,
    HoldEnded,
    DelayOver,
    Acquired,
    Released,
    Withdrawn,
    Claimed,
    Revoked,
}

impl Cause {
    const ALL: [Cause; 20] = [
        Cause::Entered,
        Cause::Left,
        Cause::Expired,
        Cause::SessionClosed,
        Cause::Evicted,
        Cause::Anointed,
        Cause::Promoted,
        Cause::Demoted,
        Cause::Preempted,
        Cause::TakenOver,
        Cause::Transferred,
        Cause::TransferRequested,
        Cause::TransferLapsed,
        Cause::HoldEnded,
        Cause::DelayOver,
        Cause::Acquired,
        Cause::Released,
        Cause::Withdrawn,
        Cause::Claimed,
        Cause::Revoked,
    ];

    /// The word in projected values.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Entered => "entered",
            Cause::Left => "left",
            Cause::Expired => "expired",
            Cause::SessionClosed => "session_closed",
            Cause::Evicted => "evicted",
            Cause::Anointed => "anointed",
            Cause::Promoted => "promoted",
            Cause::Demoted => "demoted",
            Cause::Preempted => "preempted",
            Cause::TakenOver => "taken_over",
            Cause::Transferred => "transferred",
            Cause::TransferRequested => "transfer_requested",
            Cause::TransferLapsed => "transfer_lapsed",
            Cause::HoldEnded => "hold_ended",
            Cause::DelayOver => "delay_over",
            Cause::Acquired => "acquired",
            Cause::Released => "released",
            Cause::Withdrawn => "withdrawn",
            Cause::Claimed => "claimed",
            Cause::Revoked => "revoked",
        }
    }

    /// The cause that is called so.
    pub fn from_word(word: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.word() == word)
    }

    /// The holder did not release by itself, so others may need protection from its remaining work.
    pub(crate) fn is_abnormal(self) -> bool {
        matches!(self, Cause::Expired | Cause::Evicted | Cause::HoldEnded)
    }
}

impl Field for Cause {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(from: &mut &[u8]) -> Option<Cause> {
        Cause::ALL.get(usize::from(u8::take(from)?)).copied()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ElectionHead {
    /// Kept when the leader ends.
    pub(crate) term_id: i64,
    pub(crate) seq: u64,
    pub(crate) leader: Option<String>,
    /// Waiting candidates, without the leader.
    pub(crate) waiting: u32,
    /// The rank of the next candidate; only rises.
    pub(crate) next_rank: i64,
    /// The revision of the last projected change, and its cause.
    pub(crate) changed: i64,
    pub(crate) cause: Cause,
    pub(crate) subject: String,
    /// The previous leader, if that change was a change of leader.
    pub(crate) previous: Option<String>,
    pub(crate) reason: String,
    pub(crate) transfer: Option<PendingTransfer>,
    /// While not 0, no leader is installed.
    pub(crate) delay_timer: u64,
    pub(crate) hold_timer: u64,
    /// No waiting candidate is before this place. The search for the first starts here and skips
    /// earlier tombstones.
    pub(crate) first: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingTransfer {
    pub(crate) to: String,
    pub(crate) timer: u64,
    pub(crate) force: bool,
}

/// A place in line: higher class first, then lower rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) class: i64,
    pub(crate) rank: i64,
}

impl Place {
    pub(crate) fn is_before(self, other: Place) -> bool {
        self.class > other.class || (self.class == other.class && self.rank < other.rank)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) instance: String,
    pub(crate) lease: LeaseId,
    pub(crate) priority: i64,
    /// For a leader: its last place in line.
    pub(crate) place: Place,
    /// The revision at which it entered.
    pub(crate) joined: i64,
    pub(crate) value: Bytes,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) lock_delay_ms: u64,
    pub(crate) max_hold_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockHead {
    /// The mode of the holders; for permits with the capacity.
    pub(crate) mode: Option<LockMode>,
    /// Permits in use.
    pub(crate) used: u64,
    pub(crate) holders: u32,
    pub(crate) waiting: u32,
    pub(crate) delay_timer: u64,
    /// For a semaphore: fixed while the head exists.
    pub(crate) capacity: u32,
    /// The last fence that ended.
    pub(crate) last: i64,
    /// No waiter has a smaller fence. The search for the first starts here and skips earlier
    /// tombstones.
    pub(crate) first: i64,
}

/// The request under one fence, for one lock or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockRequest {
    pub(crate) lease: LeaseId,
    pub(crate) owner: String,
    pub(crate) parts: Vec<LockPart>,
    /// The revision of the grant; 0 while it waits.
    pub(crate) held_since: i64,
    pub(crate) lock_delay_ms: u64,
    pub(crate) max_hold_ms: u64,
    /// The timer that ends the hold or the wait.
    pub(crate) timer: u64,
    /// The attempt that finds it again; 0 if a dedupe id does.
    pub(crate) found_by: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimHead {
    pub(crate) tenure: Option<Tenure>,
    pub(crate) waiting: u32,
    pub(crate) pins: u32,
    /// The revision of the last change of holder, line or pins.
    pub(crate) changed: i64,
    /// The previous holder.
    pub(crate) previous: String,
    /// No waiter has a smaller ticket.
    pub(crate) first: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) holder: String,
    pub(crate) instance: String,
    pub(crate) fence: i64,
    /// The longest duration promised in this tenure.
    pub(crate) longest_ms: u64,
    /// 0 if it ran out while the claim was pinned.
    pub(crate) timer: u64,
    /// The session of the holder; 0 if taken without one. The tenure does not end with the session.
    pub(crate) session: LeaseId,
    /// The holder allows other instances to share it.
    pub(crate) shared: bool,
}

/// A waiter for a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimWaiter {
    pub(crate) holder: String,
    pub(crate) instance: String,
    pub(crate) duration_ms: u64,
    pub(crate) lease: LeaseId,
    pub(crate) timer: u64,
    /// As in the tenure that it will become.
    pub(crate) shared: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PinRow {
    pub(crate) reason: String,
    pub(crate) lease: LeaseId,
    pub(crate) timer: u64,
}

/// Things that end with a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependent {
    Candidate {
        election: Name,
        id: String,
    },
    Lock {
        fence: i64,
    },
    Waiter {
        claim: Name,
        ticket: u64,
    },
    Pin {
        claim: Name,
        entity: String,
    },
    /// A tenure under the session's own instance; the tenure goes on without a session.
    Tenure {
        claim: Name,
    },
}

impl Dependent {
    /// The row that says so: also the ledger's ([`crate::attempt`]).
    pub(crate) fn row(&self, lease: LeaseId) -> Vec<u8> {
        keys::dependent(lease, &field::encode(self))
    }
}

/// The purpose of a timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    ElectionDelay { election: Name },
    ElectionHold { election: Name },
    TransferDeadline { election: Name },
    ElectionCooldown { election: Name, who: String },
    LockDelay { lock: Name },
    LockHold { fence: i64 },
    LockWait { fence: i64 },
    LockCooldown { lock: Name, who: String },
    ClaimEnd { claim: Name },
    ClaimWait { claim: Name, ticket: u64 },
    PinEnd { claim: Name, entity: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerRow {
    pub(crate) purpose: Purpose,
    pub(crate) millis: u64,
}

fields!(Name { namespace, name });
fields!(ElectionHead {
    term_id,
    seq,
    leader,
    waiting,
    next_rank,
    changed,
    cause,
    subject,
    previous,
    reason,
    transfer,
    delay_timer,
    hold_timer,
    first,
});
fields!(PendingTransfer { to, timer, force });
fields!(Place { class, rank });
fields!(Candidate { instance, lease, priority, place, joined, value, labels, lock_delay_ms, max_hold_ms });
fields!(LockHead { mode, used, holders, waiting, delay_timer, capacity, last, first });
fields!(LockPart { lock, mode });
fields!(LockRequest { lease, owner, parts, held_since, lock_delay_ms, max_hold_ms, timer, found_by });
fields!(ClaimHead { tenure, waiting, pins, changed, previous, first });
fields!(Tenure { holder, instance, fence, longest_ms, timer, session, shared });
fields!(ClaimWaiter { holder, instance, duration_ms, lease, timer, shared });
fields!(PinRow { reason, lease, timer });
fields!(TimerRow { purpose, millis });
fields!(Limits { min_ms, max_ms, max_waiting });
choices!(Dependent {
    1 => Candidate { election, id },
    2 => Lock { fence },
    3 => Waiter { claim, ticket },
    4 => Pin { claim, entity },
    5 => Tenure { claim },
});
choices!(Purpose {
    1 => ElectionDelay { election },
    2 => ElectionHold { election },
    3 => TransferDeadline { election },
    4 => ElectionCooldown { election, who },
    5 => LockDelay { lock },
    6 => LockHold { fence },
    7 => LockWait { fence },
    8 => LockCooldown { lock, who },
    9 => ClaimEnd { claim },
    10 => ClaimWait { claim, ticket },
    11 => PinEnd { claim, entity },
});

impl Field for LockMode {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            LockMode::Exclusive => out.push(1),
            LockMode::Shared => out.push(2),
            LockMode::Permits { weight, capacity } => {
                out.push(3);
                weight.put(out);
                capacity.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<LockMode> {
        match u8::take(from)? {
            1 => Some(LockMode::Exclusive),
            2 => Some(LockMode::Shared),
            3 => Some(LockMode::Permits { weight: u32::take(from)?, capacity: u32::take(from)? }),
            _ => None,
        }
    }
}

pub(crate) fn get<V: View, T: Field>(view: &V, key: &[u8]) -> Result<Option<T>, Fault> {
    view.decoded(Table::Coord, key, |row| field::decode(row))
}

/// Visits the rows of a range until the visitor stops.
pub(crate) fn each<V: View, T: Field>(
    view: &V,
    (from, below): (Vec<u8>, Vec<u8>),
    mut visit: impl FnMut(&[u8], T) -> Result<Step, Fault>,
) -> Result<(), Fault> {
    view.scan(Table::Coord, &from, &below, &mut |key, row| visit(key, field::decode(row)?))
}

/// A row that must exist because another row refers to it.
pub(crate) fn must<T>(row: Option<T>, what: &str) -> Result<T, Fault> {
    row.ok_or_else(|| Fault::Corrupt(format!("the row of {what} is missing in the table coord")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_reads_back() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
            assert_eq!(field::decode::<Cause>(&field::encode(&cause)).unwrap(), cause);
            assert_eq!(Cause::from_word(cause.word()), Some(cause));
        }
    }
}
