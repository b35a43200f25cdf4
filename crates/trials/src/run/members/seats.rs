//! Which node is what: a member, free, or left with the directory of a member that was removed.

use super::{Members, locked};
use crate::{
    env::{NodeState, World},
    history::{Answered, Fact, Listed, now},
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// What a node says that must not take part, before it ends.
const REASONS: [&str; 3] =
    ["was removed from the cluster", "has been started before", "no member of the running cluster has the peer URLs"];
/// What a node says when it serves clients.
const SERVES: &str = "ready to serve client";
/// How long a removed member may take to notice, before the harness goes on.
const NOTICES: Duration = Duration::from_secs(4);
/// And how long when nothing is broken.
const STOPS: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Free,
    Member,
    /// A removal was asked for, and may happen yet: its end is excused.
    Leaving,
    /// It is down, with the directory of a member that was removed, or without one under a member's
    /// id.
    Old,
}

#[derive(Debug)]
pub(super) struct Seats(BTreeMap<usize, Seat>);

impl Seats {
    pub(super) fn new(nodes: usize, members: &[usize]) -> Self {
        let seat = |node: usize| (node, if members.contains(&node) { Seat::Member } else { Seat::Free });
        Self((0..nodes).map(seat).collect())
    }

    /// A node for a new member; one that was never one first.
    pub(super) fn free(&self) -> Option<usize> {
        let first = |wanted| self.0.iter().find(|(_, seat)| **seat == wanted).map(|(node, _)| *node);
        first(Seat::Free).or_else(|| first(Seat::Old))
    }

    pub(super) fn old(&self) -> Vec<usize> {
        self.0.iter().filter(|(_, seat)| **seat == Seat::Old).map(|(node, _)| *node).collect()
    }

    pub(super) fn of_peer(&self, world: &World, peer: &str) -> Option<usize> {
        self.0.keys().copied().find(|node| world.peer_url(*node) == peer)
    }
}

impl Members {
    /// Whether a node's directory could be emptied, for a new member among these.
    pub(super) fn empty(&self, node: usize, members: &[Listed]) -> Result<bool> {
        let mut cluster: BTreeSet<usize> = [node].into();
        let seats = locked(&self.seats);
        cluster.extend(members.iter().filter_map(|member| seats.of_peer(&self.world, &member.peer)));
        drop(seats);
        let emptied = self.world.prepare(node, &cluster.into_iter().collect::<Vec<_>>())?;
        if emptied && locked(&self.seats).0.insert(node, Seat::Free) == Some(Seat::Old) {
            self.world.excuse(node, false);
        }
        Ok(emptied)
    }

    /// Empties the directory of a member that is held down. From now on it may end by itself.
    pub(super) fn wipe(&self, node: usize) -> Result<bool> {
        if locked(&self.seats).0.get(&node) != Some(&Seat::Member) {
            return Ok(false);
        }
        let wiped = self.world.prepare(node, &self.world.seated())?;
        if wiped {
            self.leaves(node);
            self.world.unseat(node);
        }
        Ok(wiped)
    }

    /// From now on this member may end by itself.
    pub(super) fn leaves(&self, node: usize) {
        if locked(&self.seats).0.insert(node, Seat::Leaving) == Some(Seat::Member) {
            self.world.excuse(node, true);
        }
    }

    /// A node is the new member that it was made ready for.
    pub(super) fn takes_part(&self, node: usize) -> Result<()> {
        locked(&self.seats).0.insert(node, Seat::Member);
        self.world.seat(node)
    }

    /// Brings the seats in line with who is a member.
    pub(super) fn reconcile(&self) -> Result<Option<Vec<Listed>>> {
        let Some(members) = self.members()? else { return Ok(None) };
        let seats = locked(&self.seats).0.clone();
        for (node, seat) in seats {
            let url = self.world.peer_url(node);
            match (seat, members.iter().any(|member| member.peer == url)) {
                // It was added after all.
                (Seat::Free, true) => self.takes_part(node)?,
                (Seat::Leaving, false) => {
                    self.world.unseat(node);
                    self.retire(node)?;
                }
                // It lost its directory, and could not be removed then.
                (Seat::Leaving | Seat::Old, true) if !self.world.seated().contains(&node) => {
                    if let Some(member) = members.iter().find(|member| member.peer == url) {
                        self.remove(node, member.id)?;
                        self.retire(node)?;
                    }
                }
                (Seat::Member, false) => {
                    self.blame(format!("n{} is no member any more, and nobody removed it", node + 1))
                }
                _ => {}
            }
        }
        Ok(Some(members))
    }

    /// Waits until a removed member has noticed; it is down from then on.
    pub(super) fn retire(&self, node: usize) -> Result<()> {
        if locked(&self.seats).0.get(&node) != Some(&Seat::Leaving) || self.world.seated().contains(&node) {
            return Ok(());
        }
        let stopped = self.ends(node, NOTICES)?;
        self.world.hold_down(node)?;
        locked(&self.seats).0.insert(node, Seat::Old);
        locked(&self.done).stopped += u64::from(stopped);
        Ok(())
    }

    /// Some removed member is started again.
    pub(super) fn come_back_removed(&self) -> Result<()> {
        let first = locked(&self.seats).old().first().copied();
        match first {
            Some(node) => self.stays_out(node, false),
            None => Ok(()),
        }
    }

    /// Starts a node that must not take part. It never serves, and stops with a reason, at the
    /// latest when nothing is broken (`calm`).
    pub(super) fn stays_out(&self, node: usize, calm: bool) -> Result<()> {
        let was_down = locked(&self.seats).0.get(&node) == Some(&Seat::Old);
        if was_down {
            self.world.let_up(node)?;
        }
        let stopped = self.ends(node, if calm { STOPS } else { NOTICES })?;
        let log = self.world.life_log(node)?;
        if calm && !stopped {
            let state = self.world.node_state(node);
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            self.blame(format!(
                "n{} must not take part, and did not stop with a reason: {state:?}; {last:?}",
                node + 1
            ));
        }
        if log.contains(SERVES) {
            self.blame(format!("n{} must not take part, and serves", node + 1));
        }
        locked(&self.done).stopped += u64::from(stopped);
        if was_down { self.world.hold_down(node) } else { Ok(()) }
    }

    /// Whether a node ends with a reason before long. What it answers meanwhile is written down.
    fn ends(&self, node: usize, bound: Duration) -> Result<bool> {
        let until = Instant::now() + bound;
        while Instant::now() < until {
            let log = self.world.life_log(node)?;
            if self.world.node_state(node) == NodeState::Down && REASONS.iter().any(|reason| log.contains(reason)) {
                return Ok(true);
            }
            let asked = now();
            if let Ok(member) = self.world.probe.who_answers(node, Duration::from_millis(300)) {
                self.tell(Fact::Answered(Answered { asked, member }))?;
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }
}
