//! Changes of the membership: one member at a time, each one entry of the log.
//!
//! Any member accepts a change and has the leader make it. The leader judges it by the membership
//! that is in effect, and appends the next one only if that has not changed meanwhile.
//!
//! 1. One change at a time: the next one is appended after this one is committed.
//! 2. An id is drawn at random for each member that is added, and never given again. What a removed
//!    member was is remembered in the state, by the entry that removes it.
//! 3. A member is one entry: peer URLs and vote are in the membership. Its name and client URLs are
//!    what it tells itself once it runs, so nothing is half done after a crash.
//! 4. The leader is not removed while it leads: it hands leadership over first.
//! 5. Who is removed, promoted or added to vote leaves a quorum of members that run, unless the
//!    strict check is off.

use crate::config::HttpUrl;
use crate::context::NodeContext;
use crate::placement;
use crate::reader::ReadError;
use conclave_state::read;
use conclave_storage::failpoint::failpoint;
use conclave_storage::types::{C, MemberNode, Membership, Payload, Raft, StoredMembership};
use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

pub use crate::membership_change::{Change, ChangeError, Changed, Members};

/// A learner that lacks more entries than this is not in sync.
const IN_SYNC: u64 = 1_000;
/// etcd makes ids of URLs and the second: an addition that is repeated within one meets its id.
const SAME_SECOND: Duration = Duration::from_secs(1);
/// A change waits so long for another one.
const IN_FLIGHT: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(20);
/// After a change, this member waits so long until it has applied it too.
const SEEN_HERE: Duration = Duration::from_secs(1);
/// A former leader may answer for so long after another one leads: it may have given its leadership
/// away for this change.
const LATE_ANSWER: Duration = Duration::from_secs(2);
/// Timeout for a successor to take over before the leader is removed.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Whether two lists of URLs name the same addresses. The scheme does not count: a cluster may be
/// changing to TLS.
pub fn same_addresses(a: &[String], b: &[String]) -> bool {
    !a.is_empty() && addresses(a) == addresses(b)
}

fn addresses(urls: &[String]) -> BTreeSet<String> {
    urls.iter().map(|url| HttpUrl::parse(url).map_or_else(|_| url.clone(), |url| url.authority())).collect()
}

/// The settings of this part.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strict: bool,
    pub max_learners: usize,
    pub timeout: Duration,
    /// A member that has not answered for longer is not reachable.
    pub patience: Duration,
}

#[derive(Clone)]
pub struct MembershipChanges(Arc<Inner>);

struct Inner {
    context: NodeContext,
    policy: Policy,
    /// Held by the change that is under way; inside is the addition that this leader made last.
    turn: Mutex<Option<Addition>>,
}

/// The peer URLs of a member, and when it was added.
type Addition = (BTreeSet<String>, Instant);

impl MembershipChanges {
    pub fn new(context: NodeContext, policy: Policy) -> MembershipChanges {
        MembershipChanges(Arc::new(Inner { context, policy, turn: Mutex::new(None) }))
    }

    pub fn members(&self) -> Members {
        self.0.context.leadership.members()
    }

    /// The members by an entry that is applied here. Before that the entry may yet be lost with its
    /// leader: nobody may be told that it is a member, and then not be one.
    pub async fn applied(&self) -> Result<Members, ReadError> {
        let Inner { context, policy, .. } = &*self.0;
        let mut applied = context.state.applied();
        let settled = async {
            loop {
                let (index, members) = context.leadership.members_at();
                if *applied.borrow_and_update() >= index {
                    return members;
                }
                // Either the entry is applied, or another one comes in its place.
                let _ = tokio::time::timeout(AGAIN, applied.changed()).await;
            }
        };
        tokio::time::timeout(policy.timeout, settled).await.map_err(|_| ReadError::TimedOut)
    }

    /// Makes a change, through the leader.
    pub async fn change(&self, change: Change) -> Result<Changed, ChangeError> {
        let Inner { context, policy, .. } = &*self.0;
        let deadline = Instant::now() + policy.timeout;
        let me = context.leadership.me();
        loop {
            let tried = match context.leadership.current().leader {
                None => Err(ChangeError::NotLeader),
                Some(leader) if leader == me => self.change_as_leader(change.clone()).await,
                Some(leader) => self.change_through(leader, &change).await,
            };
            match tried {
                Err(ChangeError::NotLeader) if Instant::now() < deadline => sleep(AGAIN).await,
                Err(ChangeError::NotLeader) => return Err(ChangeError::NoLeader),
                Err(error) => return Err(error),
                Ok(changed) => {
                    let mut applied = context.state.applied();
                    let seen = applied.wait_for(|applied| *applied >= changed.index);
                    // A member that was removed by this never sees it.
                    let _ = tokio::time::timeout(SEEN_HERE, seen).await;
                    return Ok(changed);
                }
            }
        }
    }

    /// Has another member make a change that leads. If it does not any more and does not answer,
    /// nobody knows what became of it.
    async fn change_through(&self, leader: u64, change: &Change) -> Result<Changed, ChangeError> {
        let context = &self.0.context;
        let mut leadership = context.leadership.subscribe();
        let deposed = async {
            // Without a sender this member stops, and so does the call.
            let _ = leadership.wait_for(|now| now.leader != Some(leader)).await;
            sleep(LATE_ANSWER).await;
        };
        tokio::select! {
            answer = context.peers.change(leader, change) => answer,
            () = deposed => Err(ChangeError::TimedOut),
        }
    }

    /// Makes a change if this member leads.
    pub(crate) async fn change_as_leader(&self, change: Change) -> Result<Changed, ChangeError> {
        let Inner { context, policy, turn } = &*self.0;
        let deadline = Instant::now() + policy.timeout;
        let Ok(mut last) = timeout_at(deadline, turn.lock()).await else { return Err(ChangeError::Unhealthy) };
        let busy_until = Instant::now() + IN_FLIGHT;
        loop {
            let Some(raft) = context.raft.get() else { return Err(ChangeError::NotLeader) };
            if !context.leadership.current().is_me {
                return Err(ChangeError::NotLeader);
            }
            let effective = raft.server_metrics().borrow_watched().membership_config.clone();
            let judged = self.now(raft, &effective)?.judge(&change, policy);
            let next = judged.map_err(|error| repeated(error, &change, last.as_ref()))?;
            if matches!(change, Change::Remove { id } if id == context.leadership.me()) {
                return Err(hand_over(raft, context).await);
            }
            failpoint!("change-before-append");
            let Ok(written) = timeout_at(deadline, write(raft, &effective, &next)).await else {
                return Err(ChangeError::TimedOut);
            };
            match written {
                Ok(index) => {
                    failpoint!("change-before-answer");
                    if let Change::Add { peer_urls, .. } = &change {
                        *last = Some((addresses(peer_urls), Instant::now()));
                    }
                    return Ok(Changed { id: next.id, index, membership: next.membership()? });
                }
                Err(Failed::Busy) if Instant::now() < busy_until => sleep(AGAIN).await,
                Err(Failed::Busy) => return Err(ChangeError::Unhealthy),
                Err(Failed::Other(error)) => return Err(error),
            }
        }
    }

    /// Whether a promotion would be made now, as far as this leader can tell.
    pub(crate) fn may_promote(&self, id: u64) -> bool {
        let Inner { context, policy, .. } = &*self.0;
        let Some(raft) = context.raft.get() else { return false };
        let effective = raft.server_metrics().borrow_watched().membership_config.clone();
        self.now(raft, &effective).and_then(|now| now.judge(&Change::Promote { id }, policy)).is_ok()
    }

    /// The cluster as the leader sees it.
    fn now(&self, raft: &Raft, effective: &StoredMembership) -> Result<Situation, ChangeError> {
        let Inner { context, policy, .. } = &*self.0;
        let view = context.state.view();
        let announced = read::members(&view).map_err(|_| ChangeError::Unhealthy)?;
        let me = context.leadership.me();
        let metrics = raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let answered = metrics.heartbeat.iter().flatten();
        let reached = answered.filter(|(_, at)| at.as_deref().is_some_and(|at| at.elapsed() < policy.patience));
        let last = metrics.last_log.as_ref().map_or(0, |id| id.index());
        let matched = metrics.replication.iter().flatten();
        let in_sync = matched.filter(|(_, matched)| matched.as_ref().is_some_and(|m| m.index() + IN_SYNC >= last));
        let membership = effective.membership();
        Ok(Situation {
            voters: membership.voter_ids().collect(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
            started: announced.iter().map(|member| member.id).collect(),
            reached: reached.map(|(id, _)| *id).chain([me]).collect(),
            in_sync: in_sync.map(|(id, _)| *id).collect(),
            unused: loop {
                let id = rand::random::<u64>();
                let removed = read::was_removed(&view, id).map_err(|_| ChangeError::Unhealthy)?;
                if id != 0 && !removed && membership.get_node(&id).is_none() {
                    break id;
                }
            },
        })
    }
}

/// The error of an addition that was made a moment ago, in etcd's words.
fn repeated(error: ChangeError, change: &Change, last: Option<&Addition>) -> ChangeError {
    match (error, change, last) {
        (ChangeError::UrlsExist, Change::Add { peer_urls, .. }, Some((urls, at)))
            if at.elapsed() < SAME_SECOND && *urls == addresses(peer_urls) =>
        {
            ChangeError::IdExists
        }
        (error, ..) => error,
    }
}

/// Hands leadership to a follower; the caller finds that it does not lead any more.
async fn hand_over(raft: &Raft, context: &NodeContext) -> ChangeError {
    let me = context.leadership.me();
    let successors = placement::successors(&context.leadership, &context.state.view());
    let Some(to) = successors.into_iter().next() else { return ChangeError::Unhealthy };
    tracing::info!(to = %format_args!("{to:x}"), "handing leadership over: this member is to be removed");
    let mut leadership = context.leadership.subscribe();
    if raft.trigger().transfer_leader(to).await.is_err() {
        return ChangeError::NotLeader;
    }
    let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != me));
    match tokio::time::timeout(HAND_OVER, moved).await {
        Ok(_) => ChangeError::NotLeader,
        Err(_) => ChangeError::Unhealthy,
    }
}

enum Failed {
    /// Another change is under way, or this leader has committed nothing yet.
    Busy,
    Other(ChangeError),
}

/// Appends the next membership unless there is another one since `effective`. Returns its index.
async fn write(raft: &Raft, effective: &StoredMembership, next: &Next) -> Result<u64, Failed> {
    let unchanged = [Precondition::<C>::LastMembershipLogId { last_membership_log_id: *effective.log_id() }];
    let written = match &next.update {
        None => raft.append_membership(next.membership().map_err(Failed::Other)?, Payload::Blank, unchanged).await,
        Some(node) => {
            let nodes = ChangeMembers::SetNodes(BTreeMap::from([(next.id, node.clone())]));
            raft.change_membership_if(nodes, true, unchanged).await
        }
    };
    match written {
        Ok(response) => Ok(response.log_id.index()),
        Err(RaftError::APIError(error)) => Err(match error {
            ClientWriteError::ForwardToLeader(_) => Failed::Other(ChangeError::NotLeader),
            ClientWriteError::LogEntryDiscarded(_) => Failed::Other(ChangeError::TimedOut),
            ClientWriteError::PreconditionFailed(_)
            | ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            ) => Failed::Busy,
            ClientWriteError::ChangeMembershipError(error) => {
                tracing::error!(%error, "a change of the membership is refused by consensus");
                Failed::Other(ChangeError::Unhealthy)
            }
        }),
        Err(RaftError::Fatal(_)) => Err(Failed::Other(ChangeError::TimedOut)),
    }
}

/// The membership after a change.
#[derive(Debug)]
struct Next {
    id: u64,
    voters: BTreeSet<u64>,
    nodes: BTreeMap<u64, MemberNode>,
    /// The change is of this node alone.
    update: Option<MemberNode>,
}

impl Next {
    fn membership(&self) -> Result<Membership, ChangeError> {
        Membership::new(vec![self.voters.clone()], self.nodes.clone()).map_err(|_| ChangeError::Unhealthy)
    }
}

/// What a change is judged by.
#[derive(Clone, Debug)]
struct Situation {
    voters: BTreeSet<u64>,
    nodes: BTreeMap<u64, MemberNode>,
    /// Members that have told their names.
    started: BTreeSet<u64>,
    /// Members that answered of late, this one among them.
    reached: BTreeSet<u64>,
    in_sync: BTreeSet<u64>,
    /// An id that no member has had.
    unused: u64,
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Situation {
    fn judge(self, change: &Change, policy: &Policy) -> Result<Next, ChangeError> {
        match change {
            Change::Add { peer_urls, learner } => self.add(peer_urls, *learner, policy),
            Change::Remove { id } => self.remove(*id, policy),
            Change::Update { id, peer_urls } => self.update(*id, peer_urls),
            Change::Promote { id } => self.promote(*id, policy),
        }
    }

    fn count(&self, of: &BTreeSet<u64>) -> usize {
        self.voters.intersection(of).count()
    }

    /// The URLs, in one spelling and sorted, if no member but `but` has one of them.
    fn free(&self, urls: &[String], but: Option<u64>) -> Result<Vec<String>, ChangeError> {
        let parsed: Result<BTreeSet<HttpUrl>, _> = urls.iter().map(|url| HttpUrl::parse(url)).collect();
        let parsed = parsed.map_err(|_| ChangeError::InvalidUrls)?;
        if parsed.is_empty() || parsed.len() > crate::peer::validate::MAX_URLS || parsed.iter().any(|u| u.port() == 0) {
            return Err(ChangeError::InvalidUrls);
        }
        let urls: Vec<String> = parsed.iter().map(ToString::to_string).collect();
        let wanted = addresses(&urls);
        let others = self.nodes.iter().filter(|(id, _)| Some(**id) != but);
        for (_, node) in others {
            if !addresses(&node.peer_urls).is_disjoint(&wanted) {
                return Err(ChangeError::UrlsExist);
            }
        }
        Ok(urls)
    }

    fn add(mut self, urls: &[String], learner: bool, policy: &Policy) -> Result<Next, ChangeError> {
        let peer_urls = self.free(urls, None)?;
        let needed = quorum(self.voters.len() + 1);
        match learner {
            true if self.nodes.len() - self.voters.len() >= policy.max_learners => {
                return Err(ChangeError::TooManyLearners);
            }
            false if policy.strict && self.voters.len() < needed => return Err(ChangeError::AtRisk),
            false if policy.strict && self.count(&self.started) < needed => return Err(ChangeError::NotEnoughStarted),
            false if policy.strict && self.count(&self.reached) < needed => return Err(ChangeError::Unhealthy),
            _ => {}
        }
        let id = self.unused;
        self.nodes.insert(id, MemberNode { name: String::new(), peer_urls });
        if !learner {
            self.voters.insert(id);
        }
        Ok(Next { id, voters: self.voters, nodes: self.nodes, update: None })
    }

    fn remove(mut self, id: u64, policy: &Policy) -> Result<Next, ChangeError> {
        self.nodes.remove(&id).ok_or(ChangeError::NotFound)?;
        let reached = self.count(&self.reached);
        if self.voters.remove(&id) {
            if self.voters.is_empty() {
                return Err(ChangeError::NotEnoughStarted);
            }
            let needed = quorum(self.voters.len());
            if policy.strict && self.count(&self.started) < needed {
                return Err(ChangeError::NotEnoughStarted);
            }
            // A member that is down counts for nothing, so its removal takes nothing away.
            if policy.strict && self.reached.contains(&id) && reached - 1 < needed {
                return Err(ChangeError::Unhealthy);
            }
        }
        Ok(Next { id, voters: self.voters, nodes: self.nodes, update: None })
    }

    fn update(self, id: u64, urls: &[String]) -> Result<Next, ChangeError> {
        let known = self.nodes.get(&id).ok_or(ChangeError::NotFound)?;
        let node = MemberNode { name: known.name.clone(), peer_urls: self.free(urls, Some(id))? };
        let mut nodes = self.nodes;
        nodes.insert(id, node.clone());
        Ok(Next { id, voters: self.voters, nodes, update: Some(node) })
    }

    fn promote(mut self, id: u64, policy: &Policy) -> Result<Next, ChangeError> {
        if !self.nodes.contains_key(&id) {
            return Err(ChangeError::NotFound);
        }
        if self.voters.contains(&id) {
            return Err(ChangeError::NotLearner);
        }
        if !self.in_sync.contains(&id) || !self.reached.contains(&id) {
            return Err(ChangeError::NotInSync);
        }
        self.voters.insert(id);
        let needed = quorum(self.voters.len());
        // The learner counts as started: it is in sync.
        self.started.insert(id);
        if policy.strict && self.count(&self.started) < needed {
            return Err(ChangeError::NotEnoughStarted);
        }
        if policy.strict && self.count(&self.reached) < needed {
            return Err(ChangeError::Unhealthy);
        }
        Ok(Next { id, voters: self.voters, nodes: self.nodes, update: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { strict: true, max_learners: 1, timeout: Duration::from_secs(5), patience: Duration::from_secs(1) };

    fn url(id: u64) -> Vec<String> {
        vec![format!("http://m{id}:2380")]
    }

    /// Voters from 1 on that all run.
    fn voters(n: u64) -> Situation {
        let ids: BTreeSet<u64> = (1..=n).collect();
        let node = |id: &u64| (*id, MemberNode { name: format!("m{id}"), peer_urls: url(*id) });
        Situation {
            nodes: ids.iter().map(node).collect(),
            started: ids.clone(),
            reached: ids.clone(),
            in_sync: ids.clone(),
            voters: ids,
            unused: 99,
        }
    }

    fn with_learner(n: u64, runs: bool) -> Situation {
        let mut now = voters(n);
        now.nodes.insert(50, MemberNode { name: String::new(), peer_urls: url(50) });
        if runs {
            now.reached.insert(50);
            now.in_sync.insert(50);
        }
        now
    }

    fn down(mut now: Situation, ids: &[u64]) -> Situation {
        now.reached.retain(|id| !ids.contains(id));
        now
    }

    fn add(now: Situation, learner: bool) -> Result<Next, ChangeError> {
        now.judge(&Change::Add { peer_urls: url(40), learner }, &POLICY)
    }

    fn remove(now: Situation, id: u64) -> Result<Next, ChangeError> {
        now.judge(&Change::Remove { id }, &POLICY)
    }

    fn promote(now: Situation, id: u64) -> Result<Next, ChangeError> {
        now.judge(&Change::Promote { id }, &POLICY)
    }

    fn error(judged: Result<Next, ChangeError>) -> ChangeError {
        judged.map(|next| next.id).unwrap_err()
    }

    #[test]
    fn members_are_added_by_urls_that_nobody_has() {
        let next = add(voters(3), false).unwrap();
        assert_eq!((next.id, next.voters.len(), next.nodes.len()), (99, 4, 4));
        assert_eq!(next.nodes[&99], MemberNode { name: String::new(), peer_urls: url(40) });
        let next = add(voters(3), true).unwrap();
        assert_eq!((next.voters.len(), next.nodes.len()), (3, 4));
        let urls = |urls: &[&str]| {
            let peer_urls = urls.iter().map(ToString::to_string).collect();
            voters(3).judge(&Change::Add { peer_urls, learner: true }, &POLICY)
        };
        for bad in [&[][..], &["x"], &["http://a:0"], &["http://a:1", "ftp://b:1"]] {
            assert_eq!(error(urls(bad)), ChangeError::InvalidUrls, "{bad:?}");
        }
        assert_eq!(error(urls(&["http://a:1", "https://M2:2380"])), ChangeError::UrlsExist);
    }

    #[test]
    fn an_addition_that_is_repeated_at_once_is_told_so() {
        let again = |urls: Vec<String>| Change::Add { peer_urls: urls, learner: true };
        let last = (addresses(&url(4)), Instant::now());
        let told = |error, change: &Change, last| repeated(error, change, last);
        assert_eq!(told(ChangeError::UrlsExist, &again(url(4)), Some(&last)), ChangeError::IdExists);
        let https = vec!["https://M4:2380".to_owned()];
        assert_eq!(told(ChangeError::UrlsExist, &again(https), Some(&last)), ChangeError::IdExists);
        assert_eq!(told(ChangeError::UrlsExist, &again(url(3)), Some(&last)), ChangeError::UrlsExist);
        assert_eq!(told(ChangeError::UrlsExist, &again(url(4)), None), ChangeError::UrlsExist);
        assert_eq!(told(ChangeError::TooManyLearners, &again(url(4)), Some(&last)), ChangeError::TooManyLearners);
        let update = Change::Update { id: 1, peer_urls: url(4) };
        assert_eq!(told(ChangeError::UrlsExist, &update, Some(&last)), ChangeError::UrlsExist);
    }

    #[test]
    fn a_new_voter_leaves_a_quorum_without_it() {
        assert_eq!(error(add(voters(1), false)), ChangeError::AtRisk);
        assert!(add(voters(1), true).is_ok() && add(voters(2), false).is_ok());
        assert_eq!(error(add(down(voters(3), &[3]), false)), ChangeError::Unhealthy);
        assert!(add(down(voters(4), &[3]), false).is_ok());
        let mut new = voters(3);
        new.started.remove(&3);
        assert_eq!(error(add(new, false)), ChangeError::NotEnoughStarted);
        let lax = Policy { strict: false, ..POLICY };
        assert!(voters(1).judge(&Change::Add { peer_urls: url(40), learner: false }, &lax).is_ok());
    }

    #[test]
    fn there_are_as_many_learners_as_allowed() {
        assert_eq!(error(add(with_learner(3, true), true)), ChangeError::TooManyLearners);
        assert!(add(with_learner(3, true), false).is_ok());
    }

    #[test]
    fn a_removal_leaves_a_quorum_that_runs() {
        assert_eq!(remove(voters(3), 2).unwrap().voters, BTreeSet::from([1, 3]));
        assert_eq!(error(remove(voters(3), 8)), ChangeError::NotFound);
        assert_eq!(error(remove(voters(1), 1)), ChangeError::NotEnoughStarted, "the last one");
        assert!(remove(down(voters(3), &[3]), 3).is_ok(), "one that is down");
        assert_eq!(error(remove(down(voters(3), &[3]), 2)), ChangeError::Unhealthy);
        assert!(remove(down(voters(5), &[5]), 4).is_ok());
        assert!(remove(down(with_learner(3, false), &[3]), 50).is_ok(), "learners count for nothing");
    }

    #[test]
    fn a_learner_in_sync_is_promoted() {
        assert_eq!(promote(with_learner(3, true), 50).unwrap().voters, BTreeSet::from([1, 2, 3, 50]));
        assert!(promote(with_learner(1, true), 50).is_ok());
        assert_eq!(error(promote(with_learner(3, false), 50)), ChangeError::NotInSync);
        assert_eq!(error(promote(voters(3), 2)), ChangeError::NotLearner);
        assert_eq!(error(promote(voters(3), 8)), ChangeError::NotFound);
        assert_eq!(error(promote(down(with_learner(3, true), &[2, 3]), 50)), ChangeError::Unhealthy);
    }

    #[test]
    fn an_update_changes_urls_and_nothing_else() {
        let update = |now: Situation, id, peer_urls| now.judge(&Change::Update { id, peer_urls }, &POLICY);
        let next = update(with_learner(3, true), 50, url(9)).unwrap();
        assert_eq!((next.voters.len(), next.update.unwrap().peer_urls), (3, url(9)));
        assert_eq!(error(update(voters(3), 1, url(2))), ChangeError::UrlsExist);
        assert!(update(voters(3), 1, url(1)).is_ok());
        assert_eq!(error(update(voters(3), 8, url(9))), ChangeError::NotFound);
    }
}
