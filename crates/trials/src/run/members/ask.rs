//! Asking for changes: through one member after the other, until it is made or has taken too long.

use super::{AskMember, Members, locked};
use crate::history::{ChangeKind, Fact, Listed, MemberChange, Members as MembersFact, now};
use anyhow::Result;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a change is asked for.
const TRIES: Duration = Duration::from_secs(7);
const AGAIN: Duration = Duration::from_millis(150);

impl Members {
    /// The next member to ask.
    fn next(&self) -> Option<usize> {
        let seated = self.world.seated();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        (!seated.is_empty()).then(|| seated[turn % seated.len()])
    }

    /// The members, by a linearizable read; none if nobody answers for long.
    pub(super) fn members(&self) -> Result<Option<Vec<Listed>>> {
        let until = Instant::now() + TRIES;
        while Instant::now() < until {
            let Some(node) = self.next() else { return Ok(None) };
            let asked = now();
            if let Ok(members) = self.world.probe.members(node, PATIENCE) {
                let listed = |member: conclave_api::etcdserverpb::Member| Listed {
                    id: member.id,
                    peer: member.peer_ur_ls.into_iter().next().unwrap_or_default(),
                    learner: member.is_learner,
                };
                let members: Vec<Listed> = members.into_iter().map(listed).collect();
                self.tell(Fact::Members(MembersFact { asked, members: members.clone() }))?;
                return Ok(Some(members));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(None)
    }

    /// Asks until `is_so` says of the members that it is made. Returns the member's id, if it is.
    fn ask(&self, ask: &AskMember, is_so: impl Fn(&[Listed]) -> Option<u64>) -> Result<Option<u64>> {
        let until = Instant::now() + TRIES;
        let (what, member, peer) = match ask {
            AskMember::Add { peer, learner: false } => (ChangeKind::Add, 0, peer.clone()),
            AskMember::Add { peer, learner: true } => (ChangeKind::AddLearner, 0, peer.clone()),
            AskMember::Promote { id } => (ChangeKind::Promote, *id, String::new()),
            AskMember::Remove { id } => (ChangeKind::Remove, *id, String::new()),
        };
        while Instant::now() < until {
            let Some(node) = self.next() else { return Ok(None) };
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            let mut change = MemberChange { number, what, member, peer: peer.clone(), done: false };
            self.tell(Fact::Change(change.clone()))?;
            if let Ok(id) = self.world.probe.change(node, ask, PATIENCE) {
                (change.member, change.done) = (id, true);
                self.tell(Fact::Change(change))?;
                let done = &mut *locked(&self.done);
                match what {
                    ChangeKind::Add | ChangeKind::AddLearner => done.added += 1,
                    ChangeKind::Promote => done.promoted += 1,
                    ChangeKind::Remove => done.removed += 1,
                }
                return Ok(Some(id));
            }
            // It may have been made all the same, by this attempt or an earlier one.
            if let Some(id) = self.members()?.and_then(|members| is_so(&members)) {
                return Ok(Some(id));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(None)
    }

    /// Adds a member that is to run on this node, which is ready for it, and runs it. Returns its
    /// id.
    pub(super) fn add(&self, node: usize, learner: bool) -> Result<Option<u64>> {
        let peer = self.world.peer_url(node);
        let ask = AskMember::Add { peer: peer.clone(), learner };
        let added = self.ask(&ask, |members| members.iter().find(|one| one.peer == peer).map(|one| one.id))?;
        if added.is_some() {
            self.takes_part(node)?;
        }
        Ok(added)
    }

    /// Whether it is a voter now.
    pub(super) fn promote(&self, id: u64) -> Result<bool> {
        let is_so = |members: &[Listed]| members.iter().find(|one| one.id == id && !one.learner).map(|one| one.id);
        Ok(self.ask(&AskMember::Promote { id }, is_so)?.is_some())
    }

    /// Removes the member on this node, if it can be. It may still run.
    pub(super) fn remove(&self, node: usize, id: u64) -> Result<()> {
        self.leaves(node);
        let is_so = |members: &[Listed]| members.iter().all(|one| one.id != id).then_some(id);
        if self.ask(&AskMember::Remove { id }, is_so)?.is_some() {
            self.world.unseat(node);
        }
        Ok(())
    }
}
