//! Properties of commands that the rest of the program needs before apply: the size, whether the
//! store grows, and whether any number of keys may be touched.

use crate::auth::Caller;
use crate::coord::CoordBody;
use crate::placement::{PlacementRule, Whom};
use crate::{Command, Op, PlaceId, PlacementChange, Target, Txn};

/// Bytes of a command, a compare or an operation in the log in addition to keys and values.
const HEAD: usize = 16;
/// Largest encoding of a number in the log.
const NUMBER: usize = 9;

/// The size of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Approximate bytes in the log, accurate enough to bound memory.
    About(usize),
    /// No estimate: the command has too many shapes, and is rare enough to be encoded for its size.
    Encoded,
}

impl Command {
    pub fn size(&self) -> Size {
        Size::About(
            HEAD + match self {
                Command::Put(put) => put.key.len() + put.value.len(),
                Command::DeleteRange(delete) => delete.range.size(),
                Command::Txn(txn) => txn.size(),
                Command::Enqueue(enqueue) => enqueue.name.len() + enqueue.value.len(),
                Command::Dequeue(dequeue) => dequeue.key.len(),
                Command::Cancel(cancel) => cancel.place.size(),
                Command::Proclaim(proclaim) => proclaim.key.len() + proclaim.value.len(),
                Command::Expire(expire) => expire.leases.len() * NUMBER,
                Command::CoordTimer(timer) => timer.ids.len() * NUMBER,
                Command::Announce(member) => {
                    member.name.len() + member.client_urls.iter().map(String::len).sum::<usize>()
                }
                Command::Compact { .. } | Command::LeaseGrant(_) | Command::LeaseRevoke { .. } | Command::Alarm(_) => 0,
                Command::Join(_) => 2 * NUMBER,
                Command::Version(_) => 6 * NUMBER,
                Command::PromoteWhenReady(_) => NUMBER + 1,
                Command::Placement(change) => change.size(),
                Command::By(by) => match by.command.size() {
                    Size::About(bytes) => bytes + by.caller.size(),
                    Size::Encoded => return Size::Encoded,
                },
                Command::Coord(_) | Command::Auth(_) => return Size::Encoded,
            },
        )
    }

    /// Whether it can make the store larger. Deletions also write, but must be possible when the
    /// store is full.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Command::Put(_) | Command::LeaseGrant(_) | Command::Enqueue(_) | Command::Proclaim(_) => true,
            Command::Txn(txn) => txn.puts(),
            Command::Coord(coord) => coord.body.grows(),
            Command::DeleteRange(_) | Command::Compact { .. } | Command::LeaseRevoke { .. } => false,
            Command::Expire(_) | Command::Dequeue(_) | Command::CoordTimer(_) | Command::Cancel(_) => false,
            Command::Announce(_) | Command::Alarm(_) | Command::Join(_) | Command::Auth(_) => false,
            Command::Version(_) | Command::PromoteWhenReady(_) | Command::Placement(_) => false,
            Command::By(by) => by.command.grows(),
        }
    }

    /// Whether it may read or change any number of keys, whatever its own size. Such a command is
    /// applied in the background.
    pub fn may_touch_many(&self) -> bool {
        match self {
            Command::DeleteRange(delete) => delete.range.is_interval(),
            Command::Txn(txn) => txn.may_touch_many(),
            // Everything attached to the lease ends with it.
            Command::LeaseRevoke { .. } | Command::Expire(_) => true,
            Command::Coord(coord) => coord.body.may_touch_many(),
            Command::CoordTimer(timer) => timer.ids.len() > 100,
            // Only for a queue that is not followed yet, or a place that is found again, all of the
            // queue is read: too seldom for each of them to go another way.
            Command::Enqueue(_) => false,
            Command::Put(_) | Command::Compact { .. } | Command::LeaseGrant(_) | Command::Dequeue(_) => false,
            Command::Proclaim(_) | Command::Announce(_) | Command::Alarm(_) | Command::Cancel(_) => false,
            Command::Join(_) | Command::Auth(_) | Command::Version(_) | Command::PromoteWhenReady(_) => false,
            Command::Placement(_) => false,
            Command::By(by) => by.command.may_touch_many(),
        }
    }
}

impl PlacementChange {
    fn size(&self) -> usize {
        let texts = |texts: &[&String]| texts.iter().map(|text| text.len() + 2).sum::<usize>();
        match self {
            PlacementChange::Labels { labels, .. } => {
                NUMBER + labels.iter().map(|(name, value)| texts(&[name, value])).sum::<usize>()
            }
            PlacementChange::Maintenance { .. } => NUMBER + 1,
            PlacementChange::Policy(policy) => {
                let rule = |rule: &PlacementRule| match &rule.whom {
                    Whom::Member(name) => texts(&[name]) + NUMBER,
                    Whom::Label { name, value } => texts(&[name, value]) + NUMBER,
                };
                NUMBER + policy.rules.iter().map(rule).sum::<usize>()
            }
        }
    }
}

impl Caller {
    fn size(&self) -> usize {
        match self {
            Caller::Server => 1,
            Caller::User(login) => login.user.len() + NUMBER,
        }
    }
}

impl CoordBody {
    fn grows(&self) -> bool {
        match self {
            CoordBody::Enter(_) | CoordBody::ProclaimTerm(_) | CoordBody::RequestTransfer(_) => true,
            CoordBody::Acquire(_) | CoordBody::Claim(_) | CoordBody::Pin(_) | CoordBody::SetLimits(_) => true,
            CoordBody::Leave(_) | CoordBody::Evict(_) | CoordBody::EvictEverywhere(_) => false,
            CoordBody::Anoint(_) | CoordBody::Promote(_) | CoordBody::Demote(_) | CoordBody::Transfer(_) => false,
            CoordBody::DeleteElection(_) | CoordBody::Release(_) | CoordBody::Unclaim(_) => false,
            CoordBody::Revoke(_) | CoordBody::Unpin(_) => false,
        }
    }

    fn may_touch_many(&self) -> bool {
        matches!(
            self,
            CoordBody::DeleteElection(_) | CoordBody::EvictEverywhere(_) | CoordBody::Revoke(_) | CoordBody::Unclaim(_)
        )
    }
}

impl PlaceId {
    fn size(&self) -> usize {
        match self {
            PlaceId::Key(key) => key.len(),
            PlaceId::Candidate { election, candidate } => {
                election.namespace.len() + election.name.len() + candidate.len()
            }
            PlaceId::Request { .. } => NUMBER + 16,
        }
    }
}

impl Txn {
    /// Whether no branch changes anything.
    pub fn only_reads(&self) -> bool {
        self.ops().all(|op| match op {
            Op::Range(_) => true,
            Op::Put(_) | Op::DeleteRange(_) => false,
            Op::Txn(txn) => txn.only_reads(),
        })
    }

    /// Whether any branch contains a Put.
    fn puts(&self) -> bool {
        self.ops().any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(txn) => txn.puts(),
            Op::Range(_) | Op::DeleteRange(_) => false,
        })
    }

    fn may_touch_many(&self) -> bool {
        let op = |op: &Op| match op {
            Op::Range(query) => query.range.is_interval(),
            Op::Put(_) => false,
            Op::DeleteRange(delete) => delete.range.is_interval(),
            Op::Txn(txn) => txn.may_touch_many(),
        };
        self.compares.iter().any(|compare| compare.range.is_interval()) || self.ops().any(op)
    }

    fn size(&self) -> usize {
        let compares = self.compares.iter().map(|compare| {
            let operand = if let Target::Value(value) = &compare.target { value.len() } else { NUMBER };
            HEAD + compare.range.size() + operand
        });
        let ops = self.ops().map(|op| {
            HEAD + match op {
                Op::Range(query) => query.range.size(),
                Op::Put(put) => put.key.len() + put.value.len(),
                Op::DeleteRange(delete) => delete.range.size(),
                Op::Txn(txn) => txn.size(),
            }
        });
        compares.chain(ops).sum()
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.success.iter().chain(&self.failure)
    }
}
