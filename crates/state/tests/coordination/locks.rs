//! Locks in the model: a list of requests, looked through again and again.

use super::{Askers, World, generate};
use conclave_state::coord::Purpose;
use conclave_state::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) lease: i64,
    owner: String,
    pub(crate) parts: Vec<LockPart>,
    pub(crate) held: bool,
    delay: bool,
    hold: bool,
    wait: bool,
    askers: Askers,
    /// What finds it again, if no dedupe id does.
    asked: u64,
}

impl Request {
    pub(crate) fn mode(&self, lock: &Name) -> Option<LockMode> {
        self.parts.iter().find(|part| part.lock == *lock).map(|part| part.mode)
    }
}

impl World {
    fn fits(&self, lock: &Name, mode: LockMode) -> bool {
        let held: Vec<LockMode> =
            self.requests.values().filter(|request| request.held).filter_map(|request| request.mode(lock)).collect();
        let used: u32 =
            held.iter().map(|mode| if let LockMode::Permits { weight, .. } = mode { *weight } else { 0 }).sum();
        match mode {
            _ if self.delays.contains(&lock.name) => false,
            LockMode::Exclusive => held.is_empty(),
            LockMode::Shared => held.iter().all(|mode| *mode == LockMode::Shared),
            LockMode::Permits { weight, capacity } => {
                held.iter().all(|mode| matches!(mode, LockMode::Permits { .. })) && used + weight <= capacity
            }
        }
    }

    fn waits_before(&self, lock: &Name, fence: i64) -> bool {
        self.requests.range(..fence).any(|(_, request)| !request.held && request.mode(lock).is_some())
    }

    fn grantable(&self, fence: i64, parts: &[LockPart]) -> bool {
        parts.iter().all(|part| self.fits(&part.lock, part.mode) && !self.waits_before(&part.lock, fence))
    }

    fn grant_all(&mut self) {
        loop {
            let next =
                self.requests.iter().find(|(fence, request)| !request.held && self.grantable(**fence, &request.parts));
            let Some(fence) = next.map(|(fence, _)| *fence) else { return };
            let request = self.requests.get_mut(&fence).expect("it was just found");
            (request.held, request.wait) = (true, false);
        }
    }

    pub(crate) fn acquire(&mut self, session: i64, acquire: &Acquire, revision: i64, remembered: bool) -> Option<()> {
        let asked = if remembered { 0 } else { acquire.attempt };
        if asked != 0 && self.fence_of(session, asked) != 0 {
            return Some(());
        }
        let names: BTreeSet<&Name> = acquire.parts.iter().map(|part| &part.lock).collect();
        let banned = |name: &&Name| self.lock_bans.contains(&(name.name.clone(), acquire.owner.clone()));
        if session == 0 || names.len() < acquire.parts.len() || names.iter().any(banned) {
            return None;
        }
        let free = self.grantable(revision, &acquire.parts);
        if acquire.try_only && !free {
            return Some(());
        }
        let request = Request {
            lease: session,
            owner: acquire.owner.clone(),
            parts: acquire.parts.clone(),
            held: free,
            delay: acquire.lock_delay_ms > 0,
            hold: acquire.max_hold_ms > 0,
            wait: acquire.wait_ms > 0 && !free,
            askers: Askers::new(acquire.attempt),
            asked,
        };
        self.requests.insert(revision, request);
        Some(())
    }

    fn end(&mut self, fence: i64, abnormal: bool) {
        let Some(request) = self.requests.remove(&fence) else { return };
        if request.held && request.delay && abnormal {
            self.delays.extend(request.parts.iter().map(|part| part.lock.name.clone()));
        }
    }

    /// The request that an attempt made without a dedupe id; 0 if there is none.
    pub(super) fn fence_of(&self, session: i64, attempt: u64) -> i64 {
        let made = self.requests.iter().find(|(_, request)| request.lease == session && request.asked == attempt);
        made.map_or(0, |(fence, _)| *fence)
    }

    /// A request that is remembered is asked for again.
    pub(crate) fn join(&mut self, acquire: &Acquire, answer: &CoordResponse) {
        let CoordResponse::Lock { fence, .. } = answer else { return };
        if let Some(request) = self.requests.get_mut(fence) {
            request.askers.join(acquire.attempt);
        }
    }

    pub(super) fn cancel_request(&mut self, session: i64, attempt: u64, fence: i64) -> bool {
        let own = self.requests.get_mut(&fence).filter(|request| request.lease == session);
        let ended = own.is_some_and(|request| request.askers.leave(attempt, request.held));
        if ended {
            self.end(fence, false);
            self.grant_all();
        }
        ended
    }

    pub(crate) fn release(&mut self, session: i64, release: &Release) -> Option<()> {
        let fence = release.fence;
        let Some(request) = self.requests.get(&fence).cloned() else { return Some(()) };
        if !release.evict && session != 0 && session != request.lease {
            return None;
        }
        if release.cooldown_ms > 0 {
            self.lock_bans.extend(request.parts.iter().map(|part| (part.lock.name.clone(), request.owner.clone())));
        }
        self.end(fence, release.evict);
        self.grant_all();
        Some(())
    }

    pub(crate) fn locks_settle(&mut self, leases: &BTreeSet<i64>, fired: &[Purpose], abnormal: bool) {
        for purpose in fired {
            match purpose {
                Purpose::LockDelay { lock } => drop(self.delays.remove(&lock.name)),
                Purpose::LockHold { fence } => self.end(*fence, true),
                Purpose::LockWait { fence } => self.end(*fence, false),
                _ => {}
            }
        }
        let dead = self.requests.iter().filter(|(_, request)| leases.contains(&request.lease));
        for fence in dead.map(|(fence, _)| *fence).collect::<Vec<_>>() {
            self.end(fence, abnormal);
        }
        self.grant_all();
    }

    pub(crate) fn lock_timers(&self) -> Vec<Purpose> {
        let delays = self.delays.iter().map(|lock| Purpose::LockDelay { lock: generate::name(lock) });
        let holds = self.requests.iter().filter(|(_, request)| request.held && request.hold);
        let waits = self.requests.iter().filter(|(_, request)| request.wait);
        delays
            .chain(holds.map(|(fence, _)| Purpose::LockHold { fence: *fence }))
            .chain(waits.map(|(fence, _)| Purpose::LockWait { fence: *fence }))
            .collect()
    }

    /// The fences of a lock's holders, and of those who wait, in order.
    pub(crate) fn fences(&self, lock: &Name, held: bool) -> Vec<i64> {
        let of = self.requests.iter().filter(|(_, request)| request.held == held && request.mode(lock).is_some());
        of.map(|(fence, _)| *fence).collect()
    }
}
