//! Locks: exclusive, shared, and permits of a semaphore; one lock or several at once.
//!
//! One command puts a request into the line of each lock that it names, and the revision of that
//! command is its fence. The request holds all of its locks once it is first in every one of those
//! lines and is compatible with the current holders.
//!
//! 1. Every lock is first come, first served: no request passes a waiting one, even if it is
//!    compatible (no barging, no starved writers).
//! 2. No deadlock among requests: one command enters all lines together, so the oldest request
//!    waits for holders only.
//! 3. A fence is granted once. Fences of a lock are granted in rising order.
//! 4. The cost of finding the next request does not grow with the number of earlier ones
//!    ([`LockHead::first`]).
//! 5. A lock without holders, waiters and cool-downs has no row.
//! 6. A request without a dedupe id is found again by its attempt for as long as it lasts. That
//!    costs one row, which goes with the request, and none of the answers that the session's client
//!    wants remembered.

use super::project::Json;
use super::row::{self, Cause, Dependent, LockHead, LockRequest, Purpose, must};
use super::{Acquire, CoordResponse, Kind, LockMode, LockPart, Name, Release, keys};
use crate::attempt::PlaceRow;
use crate::machine::{Batch, Stop};
use crate::view::{Fault, Step, View};
use crate::{LeaseId, Rejection};
use std::collections::{BTreeMap, BTreeSet};

/// The locks that the request with a fence names; none if there is no such request.
pub(crate) fn lock_parts<V: View>(view: &V, fence: i64) -> Result<Vec<Name>, Fault> {
    let request: Option<LockRequest> = row::get(view, &keys::request(fence))?;
    Ok(request.map_or_else(Vec::new, |request| request.parts.into_iter().map(|part| part.lock).collect()))
}

impl<V: View> Batch<'_, V> {
    /// `remembered`: the answer is remembered under a dedupe id.
    pub(super) fn acquire(
        &mut self,
        session: LeaseId,
        acquire: &Acquire,
        remembered: bool,
    ) -> Result<CoordResponse, Stop> {
        if session == 0 {
            return Err(Rejection::LeaseNotFound.into());
        }
        let found_by = if remembered { 0 } else { acquire.attempt };
        if let Some(answer) = self.found_by_attempt(session, found_by)? {
            return Ok(answer);
        }
        let free = self.check_acquire(acquire)?;
        if acquire.try_only && !free {
            return Ok(CoordResponse::Lock { fence: 0, held_since: 0 });
        }
        let fence = self.next_revision();
        let Acquire { parts, owner, wait_ms, lock_delay_ms, max_hold_ms, .. } = acquire;
        let timer = match wait_ms {
            0 => 0,
            _ if free => 0,
            millis => self.arm(Purpose::LockWait { fence }, *millis)?,
        };
        let request = LockRequest {
            lease: session,
            owner: owner.clone(),
            parts: parts.clone(),
            held_since: 0,
            lock_delay_ms: *lock_delay_ms,
            max_hold_ms: *max_hold_ms,
            timer,
            found_by,
        };
        if found_by != 0 {
            self.put_row(keys::request_of(session, found_by), &fence);
        }
        self.depend(session, &Dependent::Lock { fence }, acquire.attempt);
        for LockPart { lock, mode } in parts {
            let mut head = self.lock_head(lock)?;
            if head.waiting == 0 {
                head.first = fence;
            }
            head.waiting += 1;
            if let LockMode::Permits { capacity, .. } = mode {
                head.capacity = *capacity;
            }
            self.put_lock_head(lock, &head);
            self.put_row(keys::turn(Kind::Lock, lock, fence.cast_unsigned()), &());
            self.show(keys::lock_waiter_key(lock, fence), request_value(&request, *mode).done(), session);
        }
        self.put_row(keys::request(fence), &request);
        if free {
            self.hold(fence, request, Cause::Acquired)?;
        }
        Ok(CoordResponse::Lock { fence, held_since: if free { fence } else { 0 } })
    }

    /// All checks that can reject the request. Returns whether all of its locks can be granted at
    /// once.
    fn check_acquire(&self, acquire: &Acquire) -> Result<bool, Stop> {
        let mut names = BTreeSet::new();
        let mut free = true;
        for LockPart { lock, mode } in &acquire.parts {
            let head = self.lock_head(lock)?;
            if let LockMode::Permits { weight, capacity } = *mode {
                if weight == 0 || weight > capacity {
                    return Err(Rejection::Malformed.into());
                }
                if head.capacity != 0 && head.capacity != capacity {
                    return Err(Rejection::CapacityDiffers { capacity: head.capacity }.into());
                }
            }
            if self.is_banned(Kind::Lock, lock, &acquire.owner)? {
                return Err(Rejection::CoolingDown.into());
            }
            names.insert(lock);
            free &= head.waiting == 0 && head.delay_timer == 0 && fits(&head, *mode);
        }
        if names.is_empty() || names.len() < acquire.parts.len() {
            return Err(Rejection::Malformed.into());
        }
        Ok(free)
    }

    pub(super) fn release(&mut self, session: LeaseId, release: &Release) -> Result<CoordResponse, Stop> {
        let Release { fence, evict, cooldown_ms } = *release;
        let Some(request) = self.get_row::<LockRequest>(&keys::request(fence))? else {
            return Ok(CoordResponse::Released { released: false });
        };
        if !evict && session != 0 && session != request.lease {
            return Err(Rejection::NotHolder.into());
        }
        if evict {
            for part in &request.parts {
                self.ban(Kind::Lock, &part.lock, &request.owner, cooldown_ms)?;
            }
        }
        self.give_back(fence, if evict { Cause::Evicted } else { request.ended() })?;
        Ok(CoordResponse::Released { released: true })
    }

    fn give_back(&mut self, fence: i64, cause: Cause) -> Result<(), Fault> {
        let mut freed = BTreeMap::new();
        self.end_request(fence, cause, &mut freed)?;
        self.serve(freed)
    }

    /// Ends the request of a cancelled attempt. Returns whether it ended.
    pub(crate) fn cancel_request(
        &mut self,
        session: LeaseId,
        attempt: u64,
        fence: i64,
        dedupe: Option<&[u8; 16]>,
    ) -> Result<bool, Fault> {
        let fence = match (fence, dedupe) {
            (0, Some(id)) => self.fence_remembered(session, id)?,
            (0, None) => self.fence_of(session, attempt)?.unwrap_or(0),
            (fence, _) => fence,
        };
        let Some(request) = self.get_row::<LockRequest>(&keys::request(fence))? else { return Ok(false) };
        let place = PlaceRow::of_dependent(session, &Dependent::Lock { fence });
        if self.attempt_cancelled(place, attempt)?.decide(|| Ok(request.held_since != 0))? {
            return Ok(false);
        }
        self.give_back(fence, request.ended())?;
        Ok(true)
    }

    /// The answer to an attempt whose request lasts.
    fn found_by_attempt(&self, session: LeaseId, attempt: u64) -> Result<Option<CoordResponse>, Fault> {
        let Some(fence) = self.fence_of(session, attempt)? else { return Ok(None) };
        let request: LockRequest = must(self.get_row(&keys::request(fence))?, "a request of an attempt")?;
        Ok(Some(CoordResponse::Lock { fence, held_since: request.held_since }))
    }

    /// The fence of the request that an attempt made without a dedupe id.
    pub(super) fn fence_of(&self, session: LeaseId, attempt: u64) -> Result<Option<i64>, Fault> {
        if attempt == 0 { Ok(None) } else { self.get_row(&keys::request_of(session, attempt)) }
    }

    pub(super) fn settle_locks(&mut self, requests: BTreeMap<i64, Cause>, delays: BTreeSet<Name>) -> Result<(), Fault> {
        let mut freed = BTreeMap::new();
        for lock in delays {
            let mut head = self.lock_head(&lock)?;
            head.delay_timer = 0;
            self.put_lock_head(&lock, &head);
            freed.insert(lock, Cause::DelayOver);
        }
        for (fence, cause) in requests {
            self.end_request(fence, cause, &mut freed)?;
        }
        self.serve(freed)
    }

    /// Removes a request, held or waiting, and records the locks whose lines may advance.
    fn end_request(&mut self, fence: i64, cause: Cause, freed: &mut BTreeMap<Name, Cause>) -> Result<(), Fault> {
        let Some(request) = self.get_row::<LockRequest>(&keys::request(fence))? else { return Ok(()) };
        self.delete_row(keys::request(fence));
        self.free(request.lease, &Dependent::Lock { fence });
        if request.found_by != 0 {
            self.delete_row(keys::request_of(request.lease, request.found_by));
        }
        self.disarm(request.timer)?;
        for LockPart { lock, mode } in &request.parts {
            let mut head = self.lock_head(lock)?;
            if request.held_since == 0 {
                head.waiting -= 1;
                if head.first == fence {
                    head.first += 1;
                }
                self.delete_row(keys::turn(Kind::Lock, lock, fence.cast_unsigned()));
                self.hide(keys::lock_waiter_key(lock, fence));
            } else {
                head.holders -= 1;
                head.used -= weight(*mode);
                head.mode = head.mode.filter(|_| head.holders > 0);
                head.last = fence;
                self.delete_row(keys::grant(lock, fence));
                self.hide(keys::lock_holder_key(lock, fence));
                if cause.is_abnormal() && request.lock_delay_ms > 0 {
                    self.disarm(head.delay_timer)?;
                    head.delay_timer = self.arm(Purpose::LockDelay { lock: lock.clone() }, request.lock_delay_ms)?;
                }
            }
            self.put_lock_head(lock, &head);
            freed.insert(lock.clone(), cause);
        }
        Ok(())
    }

    /// Grants all requests that can be granted now, lock by lock, until none is left.
    fn serve(&mut self, mut freed: BTreeMap<Name, Cause>) -> Result<(), Fault> {
        while let Some((lock, cause)) = freed.pop_first() {
            while let Some(fence) = self.next_turn(&lock)? {
                let request: LockRequest = must(self.get_row(&keys::request(fence))?, "a request in line")?;
                if !self.can_hold(fence, &request)? {
                    self.note_first(&lock, fence)?;
                    break;
                }
                for part in request.parts.iter().filter(|part| part.lock != lock) {
                    freed.entry(part.lock.clone()).or_insert(cause);
                }
                self.hold(fence, request, cause)?;
            }
        }
        Ok(())
    }

    fn can_hold(&self, fence: i64, request: &LockRequest) -> Result<bool, Fault> {
        for LockPart { lock, mode } in &request.parts {
            let head = self.lock_head(lock)?;
            if head.delay_timer != 0 || !fits(&head, *mode) || self.next_turn(lock)? != Some(fence) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hold(&mut self, fence: i64, mut request: LockRequest, cause: Cause) -> Result<(), Fault> {
        self.disarm(request.timer)?;
        request.timer = match request.max_hold_ms {
            0 => 0,
            millis => self.arm(Purpose::LockHold { fence }, millis)?,
        };
        request.held_since = self.next_revision();
        for LockPart { lock, mode } in &request.parts {
            let mut head = self.lock_head(lock)?;
            head.waiting -= 1;
            // The request was the first in every line.
            head.first = fence + 1;
            head.holders += 1;
            head.used += weight(*mode);
            head.mode = Some(*mode);
            self.put_lock_head(lock, &head);
            self.delete_row(keys::turn(Kind::Lock, lock, fence.cast_unsigned()));
            self.put_row(keys::grant(lock, fence), &());
            self.hide(keys::lock_waiter_key(lock, fence));
            let mut value = request_value(&request, *mode).text("cause", cause.word());
            if head.last != 0 {
                value = value.number("previous", head.last);
            }
            self.show(keys::lock_holder_key(lock, fence), value.done(), request.lease);
        }
        self.put_row(keys::request(fence), &request);
        Ok(())
    }

    fn lock_head(&self, lock: &Name) -> Result<LockHead, Fault> {
        Ok(self.get_row(&keys::head(Kind::Lock, lock))?.unwrap_or_default())
    }

    fn put_lock_head(&mut self, lock: &Name, head: &LockHead) {
        let row = keys::head(Kind::Lock, lock);
        if head.holders == 0 && head.waiting == 0 && head.delay_timer == 0 {
            self.delete_row(row);
        } else {
            self.put_row(row, head);
        }
    }

    fn note_first(&mut self, lock: &Name, fence: i64) -> Result<(), Fault> {
        let mut head = self.lock_head(lock)?;
        if head.first < fence {
            head.first = fence;
            self.put_lock_head(lock, &head);
        }
        Ok(())
    }

    /// The next request in line. To skip the tombstones of earlier requests, no row is read if
    /// there are no waiters, and otherwise only rows from `first` on.
    fn next_turn(&self, lock: &Name) -> Result<Option<i64>, Fault> {
        let head = self.lock_head(lock)?;
        if head.waiting == 0 {
            return Ok(None);
        }
        let mut first = None;
        let from = keys::turn(Kind::Lock, lock, head.first.cast_unsigned());
        row::each(&self.rows, (from, keys::line(Kind::Lock, lock).all().1), |key, ()| {
            first = keys::split_id(key).map(u64::cast_signed);
            Ok(Step::Stop)
        })?;
        Ok(first)
    }
}

impl LockRequest {
    /// Why it ends if its owner ends it.
    fn ended(&self) -> Cause {
        if self.held_since == 0 { Cause::Withdrawn } else { Cause::Released }
    }
}

fn weight(mode: LockMode) -> u64 {
    match mode {
        LockMode::Permits { weight, .. } => u64::from(weight),
        LockMode::Exclusive | LockMode::Shared => 0,
    }
}

/// Whether another holder is compatible with the current ones.
fn fits(head: &LockHead, mode: LockMode) -> bool {
    match (head.mode, mode) {
        (None, _) | (Some(LockMode::Shared), LockMode::Shared) => true,
        (Some(LockMode::Permits { .. }), LockMode::Permits { weight, capacity }) => {
            head.used + u64::from(weight) <= u64::from(capacity)
        }
        _ => false,
    }
}

fn request_value(request: &LockRequest, mode: LockMode) -> Json {
    let json = Json::new().text("owner", &request.owner);
    let json = match mode {
        LockMode::Exclusive => json.text("mode", "exclusive"),
        LockMode::Shared => json.text("mode", "shared"),
        LockMode::Permits { weight, capacity } => {
            json.text("mode", "permits").number("weight", weight).number("capacity", capacity)
        }
    };
    json.number("locks", request.parts.len() as u64)
}
