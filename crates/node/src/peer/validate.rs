//! Validates everything that a peer sends, before consensus, the proposer or the disk use it.
//!
//! openraft trusts its peers: a gap in the log, an absurd term or an entry that cannot be decoded
//! ends the process, sometimes at every start. Input from a network must not be able to do that,
//! regardless of its sender.
//!
//! 1. The rules are functions of the message, its sender, and what this member knows ([`Known`]).
//!    They change only the memory of [`Terms`].
//! 2. Everything that an honest member sends passes, however different the two members' states are.
//!    Outdated messages (an old leader, an old vote) pass too: openraft answers them.
//! 3. A refusal names the broken rule, but no id or number of this member.
//! 4. Replies are peer input too.

use super::pb;
pub(crate) use super::refusal::Refusal;
use super::terms::Terms;
use crate::config::HttpUrl;
use crate::supported::judge;
use bytes::Bytes;
use conclave_storage::proposal::{self, MAX_COMMANDS, MAX_PACK};
use parking_lot::RwLock;
use std::collections::BTreeSet;

/// An index that no log reaches: a million entries a second would take more than a hundred thousand
/// years.
const HIGHEST_INDEX: u64 = 1 << 62;
/// Entries of one request; consensus sends at most half as many.
const MAX_ENTRIES: usize = 8_192;
/// Renewals of one request. Batches are smaller, except for a client request that extends very many
/// claims.
const MAX_RENEWALS: usize = 1 << 18;
/// Length of a member's name in a membership.
const MAX_NAME: usize = 1_024;
/// Peer URLs of a member.
pub(crate) const MAX_URLS: usize = 16;
/// Members of a membership. An operator has a few.
const MAX_MEMBERS: usize = 1_024;

type Verdict = Result<(), Refusal>;

fn require(holds: bool, otherwise: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(Refusal(otherwise)) }
}

/// A position in the log. The order is that of consensus: a later term is further than a higher
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl From<pb::LogId> for At {
    fn from(id: pb::LogId) -> At {
        At { term: id.term, index: id.index }
    }
}

/// What this member knows when a message arrives. It may be slightly outdated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The term of its vote.
    pub(crate) term: u64,
    pub(crate) committed: Option<At>,
}

/// Whether both positions can be in one log, where terms rise with indexes.
fn in_order(a: At, b: At) -> bool {
    match a.index.cmp(&b.index) {
        std::cmp::Ordering::Less => a.term <= b.term,
        std::cmp::Ordering::Equal => a.term == b.term,
        std::cmp::Ordering::Greater => a.term >= b.term,
    }
}

/// The rules for one member of a cluster.
///
/// Who is a member is no rule: a member that was away meets leaders and candidates of a membership
/// that it does not know yet, and replays memberships of the past. Only those whose removal it has
/// applied are refused.
pub struct Rules {
    me: u64,
    removed: RwLock<BTreeSet<u64>>,
    terms: Terms,
}

impl Rules {
    pub fn new(me: u64) -> Rules {
        Rules { me, removed: RwLock::default(), terms: Terms::default() }
    }

    pub(super) fn was_removed(&self, id: u64) -> bool {
        self.removed.read().contains(&id)
    }

    /// The members whose removal was applied here.
    pub(crate) fn are_removed(&self, ids: impl IntoIterator<Item = u64>) {
        self.removed.write().extend(ids);
    }

    // ---- requests ----

    /// A vote by which the sender leads or wants to lead must be its own.
    fn own_vote(&self, from: u64, vote: Option<&pb::BallotVote>, leads: bool, known: Known) -> Result<u64, Refusal> {
        let vote = vote.ok_or(Refusal("no vote"))?;
        require(
            vote.node == from && from != self.me && !self.was_removed(from),
            "a vote that is not the sender's own",
        )?;
        require(
            vote.committed == leads,
            if leads { "a leader without an election" } else { "a candidate that leads" },
        )?;
        // Term zero is before every election.
        require(vote.term > 0, "an election of no term")?;
        self.terms.admit(known.term, vote.term)?;
        Ok(vote.term)
    }

    pub(crate) fn append(&self, from: u64, request: &pb::AppendRequest, known: Known) -> Verdict {
        let term = self.own_vote(from, request.vote.as_ref(), true, known)?;
        supported(request.version)?;
        require(request.entries.len() <= MAX_ENTRIES, "too many entries")?;
        let previous = position(request.previous.as_ref())?;
        let mut last = previous;
        for entry in &request.entries {
            let at = At { term: entry.term, index: entry.index };
            require(at.index == last.map_or(0, |last| last.index + 1), "a gap between entries")?;
            require(last.is_none_or(|last| last.term <= at.term), "terms of entries that fall")?;
            // A new leader begins before what this member has, to find where the logs agree. What
            // is committed here is not written again, and may be in a form of a later version,
            // which the cluster has left.
            let is_here = known.committed.is_some_and(|committed| at.index <= committed.index);
            self.payload(entry, is_here)?;
            last = Some(at);
        }
        require(last.is_none_or(|last| last.term <= term), "an entry of a term after its leader's")?;
        let commit = position(request.commit.as_ref())?;
        require(commit.is_none_or(|commit| commit.term <= term), "a commit of a term after its leader's")?;
        let entries = || request.entries.iter().map(|entry| At { term: entry.term, index: entry.index });
        let agree = |with: At| previous.into_iter().chain(entries()).all(|at| in_order(at, with));
        require(commit.is_none_or(agree), "a commit that contradicts the entries")?;
        // openraft refuses an older leader without reading the rest of the request.
        let Some(committed) = known.committed.filter(|_| term >= known.term) else { return Ok(()) };
        let agrees = agree(committed) && commit.is_none_or(|commit| in_order(commit, committed));
        require(agrees, "a log that contradicts what is committed")
    }

    fn payload(&self, entry: &pb::Entry, is_here: bool) -> Verdict {
        match &entry.payload {
            None => Ok(()),
            Some(pb::entry::Payload::Pack(_)) if is_here => Ok(()),
            Some(pb::entry::Payload::Pack(pack)) => {
                let checked = proposal::check_pack(pack);
                checked.map(drop).map_err(|_| Refusal("an entry that cannot be decoded, or is too large"))
            }
            Some(pb::entry::Payload::Membership(membership)) => self.membership(membership),
        }
    }

    pub(crate) fn heartbeat(&self, from: u64, request: &pb::AppendRequest, known: Known) -> Verdict {
        require(request.entries.is_empty(), "a heartbeat with entries")?;
        self.append(from, request, known)
    }

    pub(crate) fn vote(&self, from: u64, request: &pb::VoteRequest, known: Known) -> Verdict {
        let term = self.own_vote(from, request.vote.as_ref(), false, known)?;
        let last = position(request.last.as_ref())?;
        require(last.is_none_or(|last| last.term < term), "a candidate with entries of its own future")
    }

    pub(crate) fn transfer(&self, from: u64, request: &pb::TransferRequest, known: Known) -> Verdict {
        let term = self.own_vote(from, request.from.as_ref(), true, known)?;
        require(request.to != 0 && !self.was_removed(request.to), "a successor that is no member")?;
        let last = position(request.last.as_ref())?;
        require(last.is_none_or(|last| last.term <= term), "an entry of a term after its leader's")
    }

    pub(crate) fn snapshot(&self, from: u64, head: &pb::snapshot_part::Head, known: Known) -> Verdict {
        let term = self.own_vote(from, head.vote.as_ref(), true, known)?;
        supported(head.version)?;
        let last = position(head.last.as_ref())?.ok_or(Refusal("a snapshot of nothing"))?;
        require(last.term <= term, "a snapshot of a later term than its sender's")?;
        let changed = position(head.membership_at.as_ref())?.ok_or(Refusal("a snapshot without a membership"))?;
        require(changed.index <= last.index && changed.term <= last.term, "a membership after the snapshot")?;
        self.membership(head.membership.as_ref().ok_or(Refusal("a snapshot without a membership"))?)?;
        let agrees = known.committed.is_none_or(|committed| in_order(last, committed));
        require(term < known.term || agrees, "a snapshot that contradicts what is committed")
    }

    /// A membership must consist of members that can be reached, each at peer URLs, and have
    /// voters.
    fn membership(&self, membership: &pb::Membership) -> Verdict {
        let nodes: BTreeSet<u64> = membership.nodes.iter().map(|node| node.id).collect();
        require(nodes.len() == membership.nodes.len(), "a membership that names a member twice")?;
        require(nodes.len() <= MAX_MEMBERS && !nodes.contains(&0), "a membership of too many, or of nobody")?;
        let sound = |node: &pb::membership::Node| {
            node.name.len() <= MAX_NAME
                && (1..=MAX_URLS).contains(&node.peer_urls.len())
                && node.peer_urls.iter().all(|url| url.len() <= MAX_NAME && HttpUrl::parse(url).is_ok())
        };
        require(membership.nodes.iter().all(sound), "a membership with a member that has no valid name or peer URLs")?;
        // Two while a change is under way.
        require((1..=2).contains(&membership.configs.len()), "a membership without voters")?;
        let voters = |config: &pb::membership::Voters| {
            !config.ids.is_empty() && config.ids.len() <= nodes.len() && config.ids.iter().all(|id| nodes.contains(id))
        };
        require(membership.configs.iter().all(voters), "a membership with voters that are no members")
    }

    /// Returns the number of forwarded commands. `own` is the origin of this member's segments,
    /// which no peer may use.
    pub(crate) fn forward(&self, request: &pb::ForwardRequest, own: u64) -> Result<usize, Refusal> {
        let bytes: usize = request.segments.iter().map(Bytes::len).sum();
        require(bytes <= MAX_PACK, "more than fits into an entry")?;
        require(!request.segments.is_empty(), "nothing to propose")?;
        let (mut commands, mut origin) = (0, None);
        for segment in &request.segments {
            let head = proposal::check_segment(segment).map_err(|_| Refusal("a segment that cannot be decoded"))?;
            require(head.commands > 0, "nothing to propose")?;
            require(head.origin != own, "a segment in the name of its receiver")?;
            require(*origin.get_or_insert(head.origin) == head.origin, "segments of several origins")?;
            commands += head.commands;
            require(commands <= MAX_COMMANDS, "more than fits into an entry")?;
        }
        Ok(commands)
    }

    pub(crate) fn keep_alive(&self, request: &pb::KeepAliveRequest) -> Verdict {
        kept(request.kept)?;
        require(request.ids.len() <= MAX_RENEWALS, "too many renewals")?;
        let spans = request.span_millis.len();
        require(spans == 0 || spans == request.ids.len(), "renewals and spans that do not pair")
    }

    pub(crate) fn remaining(&self, request: &pb::RemainingRequest) -> Verdict {
        kept(request.kept)
    }

    /// A member may register only itself, so the registry has at most one row per member.
    pub(crate) fn register(&self, from: u64, request: &pb::RegisterRequest) -> Verdict {
        require(request.member == from, "a member that registers another one")
    }

    /// A process may be admitted only as itself.
    pub(crate) fn join(&self, from: u64, request: &pb::JoinRequest) -> Verdict {
        require(request.member == from && request.incarnation != 0, "a member that joins as another one")
    }

    // ---- replies ----

    /// A vote in a reply may be for any member of the past or the future.
    pub(crate) fn told_vote(&self, vote: Option<&pb::BallotVote>, own_term: u64) -> Verdict {
        let vote = vote.ok_or(Refusal("no vote"))?;
        require(vote.term == 0 || vote.node != 0, "a vote for nobody")?;
        self.terms.admit(own_term, vote.term)
    }

    /// Checks the reply to a request after which the log ends at `last`, from a leader of
    /// `own_term`.
    pub(crate) fn append_reply(&self, reply: &pb::AppendReply, last: Option<pb::LogId>, own_term: u64) -> Verdict {
        if reply.higher.is_some() {
            return self.told_vote(reply.higher.as_ref(), own_term);
        }
        match reply.conflict {
            Some(conflict) => {
                let within = last.is_some_and(|last| conflict.index <= last.index);
                require(within, "a conflict behind what was sent")
            }
            None => require(reply.matched.is_none() || reply.matched == last, "a match that was not asked for"),
        }
    }

    pub(crate) fn vote_reply(&self, reply: &pb::VoteReply, own_term: u64) -> Verdict {
        self.told_vote(reply.vote.as_ref(), own_term)?;
        position(reply.last.as_ref()).map(drop)
    }
}

pub(super) fn read_index(reply: &pb::ReadIndexReply) -> Verdict {
    require(reply.index <= HIGHEST_INDEX, "an index that no log reaches")
}

/// Whether this program can read what a cluster of that version writes.
fn supported(version: u32) -> Verdict {
    require(judge(version).is_ok(), "the cluster is of a version that this member's program does not support")
}

/// An unknown kind would be decoded as the first one.
fn kept(kind: i32) -> Verdict {
    require(pb::Kept::try_from(kind).is_ok(), "an unknown kind of deadline")
}

fn position(id: Option<&pb::LogId>) -> Result<Option<At>, Refusal> {
    require(id.is_none_or(|id| id.index <= HIGHEST_INDEX), "an index that no log reaches")?;
    Ok(id.copied().map(At::from))
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
