//! Changes of the members under way: asks for them, starts and stops the nodes that they concern,
//! and writes down what was asked and acknowledged.
//!
//! 1. Who is a member is what a linearizable read says, never what was asked for: a change whose
//!    outcome is not known is found made, or not.
//! 2. A node has one directory a membership. The directory of a removed member stays until the node
//!    becomes a new member, and a process that is started with it must stop with a reason: some
//!    meanwhile, all of those that are left at the end.
//! 3. A member that has lost its directory must not come back under its id.
//! 4. What others broke may keep a change from being made. Then it is given up after a while, and
//!    does not count.

mod ask;
mod seats;

use crate::{
    env::{AskMember, Change, Effect, Fault, Hurt, Installed, NotPossible, Target, World, resolve},
    history::{Entry, Fact, Journal, Listed, Process},
};
use anyhow::Result;
use seats::Seats;
use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

/// Members are as many as this at most, and voters as many as this at least.
const MOST: usize = 5;
const FEWEST: usize = 2;
/// How long a member is hurt before it is removed.
const SUFFERS: Duration = Duration::from_millis(400);

pub(super) struct Members {
    world: Arc<World>,
    journal: Journal,
    seats: Mutex<Seats>,
    number: AtomicU64,
    /// Whom to ask next.
    turn: AtomicU64,
    done: Mutex<Done>,
    /// What was found that must not be.
    wrong: Mutex<Vec<String>>,
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    added: u64,
    promoted: u64,
    removed: u64,
    stopped: u64,
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Members {
    pub(super) fn new(world: &Arc<World>, journal: &Journal) -> Self {
        Self {
            world: Arc::clone(world),
            journal: journal.clone(),
            seats: Mutex::new(Seats::new(world.nodes(), &world.seated())),
            number: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            done: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    fn tell(&self, fact: Fact) -> Result<()> {
        self.journal.write(&Process::Harness("members".into()), None, Entry::Fact(fact))
    }

    fn blame(&self, what: String) {
        locked(&self.wrong).push(what);
    }

    /// What must not be and was seen.
    pub(super) fn wrong(&self) -> Vec<String> {
        locked(&self.wrong).clone()
    }

    /// Makes a change, as far as it can be made. Returns what was acknowledged.
    ///
    /// # Errors
    /// The harness failed.
    pub(super) fn make(&self, change: Change) -> Result<Option<Effect>> {
        let before = *locked(&self.done);
        // What an earlier change left open comes first.
        let Some(members) = self.reconcile()? else { return Ok(None) };
        for learner in members.iter().filter(|member| member.learner) {
            self.finish_learner(learner)?;
        }
        let voters = members.iter().filter(|member| !member.learner).count();
        match change {
            Change::Return => self.come_back_removed()?,
            Change::Grow { .. } if members.len() >= MOST => self.shrink(Target::Follower(0), Hurt::Nothing)?,
            Change::Grow { learner } => drop(self.grow(learner)?),
            Change::Shrink { target, hurt } | Change::Replace { target, hurt } if voters <= FEWEST + 1 => {
                self.replace(target, hurt)?;
            }
            Change::ShrinkTwice { target } if voters <= FEWEST + 1 => self.replace(target, Hurt::Nothing)?,
            Change::Shrink { target, hurt } => self.shrink(target, hurt)?,
            Change::ShrinkTwice { target } => {
                self.shrink(target, Hurt::Nothing)?;
                self.shrink(target, Hurt::Nothing)?;
            }
            Change::Replace { target, hurt } if members.len() < MOST => self.replace(target, hurt)?,
            Change::Replace { target, hurt } => self.shrink(target, hurt)?,
            Change::Both { target } if voters > FEWEST && members.len() < MOST => self.both(target)?,
            Change::Both { .. } => drop(self.grow(true)?),
        }
        let now = *locked(&self.done);
        let effect = Effect::Changed {
            added: now.added - before.added,
            promoted: now.promoted - before.promoted,
            removed: now.removed - before.removed,
            stopped: now.stopped - before.stopped,
        };
        let nothing = Effect::Changed { added: 0, promoted: 0, removed: 0, stopped: 0 };
        Ok((effect != nothing).then_some(effect))
    }

    /// After everything is healed: no learner is left, and no directory of a removed member comes
    /// back.
    ///
    /// # Errors
    /// The harness failed.
    pub(super) fn settle(&self) -> Result<()> {
        for _ in 0..3 {
            let Some(members) = self.reconcile()? else { continue };
            let mut open = members.iter().filter(|member| member.learner).peekable();
            if open.peek().is_none() {
                break;
            }
            open.try_for_each(|learner| self.finish_learner(learner))?;
        }
        let old = locked(&self.seats).old();
        std::thread::scope(|scope| {
            let all: Vec<_> = old.iter().map(|node| scope.spawn(|| self.stays_out(*node, true))).collect();
            all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a start failed"))?)
        })
    }

    /// A node that is ready for a new member.
    fn ready(&self) -> Result<Option<usize>> {
        let Some(node) = locked(&self.seats).free() else { return Ok(None) };
        let Some(members) = self.members()? else { return Ok(None) };
        Ok(self.empty(node, &members)?.then_some(node))
    }

    /// Adds a member to a free seat, and runs it. Returns its node.
    fn grow(&self, learner: bool) -> Result<Option<usize>> {
        let Some(node) = self.ready()? else { return Ok(None) };
        let Some(id) = self.add(node, learner)? else { return Ok(None) };
        // What it is before anybody asks for its promotion is looked at, too.
        self.members()?;
        if learner && !self.promote(id)? {
            return Ok(None);
        }
        Ok(Some(node))
    }

    /// A learner that was left behind is promoted, or goes.
    fn finish_learner(&self, learner: &Listed) -> Result<()> {
        if self.promote(learner.id)? {
            return Ok(());
        }
        let node = locked(&self.seats).of_peer(&self.world, &learner.peer);
        match node {
            Some(node) => {
                self.remove(node, learner.id)?;
                self.retire(node)
            }
            None => Ok(()),
        }
    }

    fn shrink(&self, target: Target, hurt: Hurt) -> Result<()> {
        let Some((node, id)) = self.victim(target)? else { return Ok(()) };
        let installed = self.hurt(node, hurt)?;
        self.remove(node, id)?;
        self.mend(node, installed)
    }

    /// As with a dead machine: a new member, and then the old one goes.
    fn replace(&self, target: Target, hurt: Hurt) -> Result<()> {
        let Some((node, id)) = self.victim(target)? else { return Ok(()) };
        let installed = self.hurt(node, hurt)?;
        if self.grow(true)?.is_some() {
            self.remove(node, id)?;
        }
        self.mend(node, installed)
    }

    /// Both at the same moment.
    fn both(&self, target: Target) -> Result<()> {
        let Some(new) = self.ready()? else { return Ok(()) };
        let Some((node, id)) = self.victim(target)? else { return Ok(()) };
        std::thread::scope(|scope| {
            let comes = scope.spawn(|| self.add(new, false).map(drop));
            let goes = scope.spawn(|| self.remove(node, id).and_then(|()| self.retire(node)));
            [comes, goes]
                .into_iter()
                .try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a change's thread failed"))?)
        })
    }

    /// The member that a target is now, with its id.
    fn victim(&self, target: Target) -> Result<Option<(usize, u64)>> {
        let Some(members) = self.members()? else { return Ok(None) };
        let Ok(nodes) = resolve(&self.world, target, self.world.leader_now()) else { return Ok(None) };
        let Some(node) = nodes.first().copied() else { return Ok(None) };
        let url = self.world.peer_url(node);
        Ok(members.iter().find(|member| member.peer == url && !member.learner).map(|member| (node, member.id)))
    }

    /// Hurts a member that is about to go.
    fn hurt(&self, node: usize, hurt: Hurt) -> Result<Option<Installed>> {
        let target = Target::Node(node);
        let fault = match hurt {
            Hurt::Nothing => return Ok(None),
            Hurt::Killed | Hurt::Wiped => Fault::Kill { target },
            Hurt::Paused => Fault::Pause { target },
            Hurt::CutOff => Fault::Isolate { target, clients_too: false },
        };
        let installed = match self.world.install(&fault) {
            Ok(installed) => installed,
            Err(error) if error.downcast_ref::<NotPossible>().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        if hurt == Hurt::Wiped {
            // Somebody starts it with an empty directory. It is not removed yet, and must not come
            // back all the same.
            let wiped = self.wipe(node)?;
            self.world.heal(installed)?;
            if wiped {
                self.stays_out(node, false)?;
            }
            return Ok(None);
        }
        std::thread::sleep(SUFFERS);
        Ok(Some(installed))
    }

    fn mend(&self, node: usize, installed: Option<Installed>) -> Result<()> {
        if let Some(installed) = installed {
            self.world.heal(installed)?;
        }
        self.retire(node)
    }
}
