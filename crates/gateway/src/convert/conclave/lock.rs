//! Messages of locks.

use super::{BadField, Caller, Expecting, Problem, Session, caller, fields, named, token};
use conclave_api::conclave::v1::{self, lock_part};
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::coord::read::{LockState, RequestState};
use conclave_state::coord::token as tokens;
use conclave_state::{Acquire, LockMode, LockPart, Name, Release};
use std::collections::BTreeSet;

const MOST_PARTS: usize = 64;

pub fn acquire(request: v1::AcquireRequest) -> Result<(Caller, Acquire), BadField> {
    let v1::AcquireRequest { caller: who, parts, owner, try_only, wait_ms, lock_delay_ms, max_hold_ms } = request;
    let who = caller(who, Session::Required, Expecting::Refused)?;
    if try_only && wait_ms != 0 {
        return Err(Problem::Other("is set beside try_only, which never waits").of("wait_ms"));
    }
    let acquire = Acquire {
        parts: lock_parts(parts)?,
        owner: fields::text("owner", owner)?,
        try_only,
        wait_ms: fields::millis("wait_ms", wait_ms)?,
        lock_delay_ms: fields::millis("lock_delay_ms", lock_delay_ms)?,
        max_hold_ms: fields::millis("max_hold_ms", max_hold_ms)?,
        attempt: 0,
    };
    Ok((who, acquire))
}

fn lock_parts(parts: Vec<v1::LockPart>) -> Result<Vec<LockPart>, BadField> {
    match parts.len() {
        0 => return Err(Problem::Empty.of("parts")),
        count if count > MOST_PARTS => return Err(Problem::TooMany { count, most: MOST_PARTS }.of("parts")),
        _ => {}
    }
    let mut names = BTreeSet::new();
    let convert = |(at, part)| {
        let part: LockPart = lock_part(part).map_err(|bad: BadField| bad.within(format_args!("parts[{at}]")))?;
        if names.insert(part.lock.clone()) {
            Ok(part)
        } else {
            Err(Problem::Other("is named twice; each lock is asked for once").of("lock").within(format!("parts[{at}]")))
        }
    };
    parts.into_iter().enumerate().map(convert).collect()
}

fn lock_part(part: v1::LockPart) -> Result<LockPart, BadField> {
    let lock = super::name("lock", part.lock)?;
    let mode = match part.mode {
        None | Some(lock_part::Mode::Exclusive(true)) => LockMode::Exclusive,
        Some(lock_part::Mode::Shared(true)) => LockMode::Shared,
        Some(lock_part::Mode::Exclusive(false)) => {
            return Err(Problem::Other("is false; set the mode that is wanted").of("exclusive"));
        }
        Some(lock_part::Mode::Shared(false)) => {
            return Err(Problem::Other("is false; set the mode that is wanted").of("shared"));
        }
        Some(lock_part::Mode::Permits(lock_part::Permits { weight, capacity })) => match weight {
            0 => return Err(Problem::Other("is 0; it must be 1 to the capacity").of("permits.weight")),
            weight if weight > capacity => {
                return Err(Problem::TooLarge { value: weight.into(), most: capacity.into() }.of("permits.weight"));
            }
            weight => LockMode::Permits { weight, capacity },
        },
    };
    Ok(LockPart { lock, mode })
}

pub fn release(request: v1::ReleaseRequest) -> Result<(Caller, Release), BadField> {
    let v1::ReleaseRequest { caller: who, fence, evict, cooldown_ms } = request;
    let who = caller(who, Session::Optional, Expecting::Refused)?;
    if fence <= 0 {
        return Err(Problem::Other("is not a fence; it is the one that the request was answered with").of("fence"));
    }
    if cooldown_ms != 0 && !evict {
        return Err(Problem::Other("is set without evict; only who is evicted is kept away").of("cooldown_ms"));
    }
    Ok((who, Release { fence, evict, cooldown_ms: fields::millis("cooldown_ms", cooldown_ms)? }))
}

/// A look at a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetLock {
    pub lock: Name,
    pub serializable: bool,
    pub limit: usize,
    pub after: i64,
}

pub fn get(request: v1::GetLockRequest) -> Result<GetLock, BadField> {
    let v1::GetLockRequest { lock, serializable, limit, after } = request;
    let lock = super::name("lock", lock)?;
    // Unlike where names are listed, 0 is none at all.
    let limit = if limit == 0 { 0 } else { fields::limit("limit", limit)? };
    Ok(GetLock { lock, serializable, limit, after: fields::revision("after", after)? })
}

/// What a watch of one name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchLock {
    pub lock: Name,
    /// `None`: from now.
    pub start: Option<i64>,
    pub snapshot: bool,
}

pub fn watch(request: v1::WatchLockRequest) -> Result<WatchLock, BadField> {
    let v1::WatchLockRequest { lock, start_revision, no_snapshot } = request;
    let start = Some(fields::revision("start_revision", start_revision)?).filter(|start| *start != 0);
    Ok(WatchLock { lock: super::name("lock", lock)?, start, snapshot: start.is_none() && !no_snapshot })
}

/// Who holds the locks of `parts` under a fence, granted by revision `held_since`.
#[must_use]
pub fn held(header: ResponseHeader, parts: &[LockPart], fence: i64, held_since: i64) -> v1::AcquireResponse {
    let token = token(tokens::locks(parts, fence, held_since));
    v1::AcquireResponse { header: Some(header), fence, held_since, token: Some(token) }
}

/// Tried, and not to be had at once.
#[must_use]
pub fn not_at_once(header: ResponseHeader) -> v1::AcquireResponse {
    v1::AcquireResponse { header: Some(header), ..v1::AcquireResponse::default() }
}

#[must_use]
pub fn lock_state(
    header: ResponseHeader,
    state: Option<LockState>,
    holders: Vec<RequestState>,
    waiting: Vec<RequestState>,
) -> v1::GetLockResponse {
    let (used, capacity, holder_count, waiting_count, delayed) = state
        .map_or((0, 0, 0, 0, false), |state| (state.used, state.capacity, state.holders, state.waiting, state.delayed));
    v1::GetLockResponse {
        header: Some(header),
        holders: holders.into_iter().map(request_state).collect(),
        waiting: waiting.into_iter().map(request_state).collect(),
        holder_count,
        waiting_count,
        used,
        capacity,
        delayed,
    }
}

fn request_state(state: RequestState) -> v1::LockRequestState {
    let RequestState { fence, lease, owner, parts, held_since } = state;
    let parts = parts.into_iter().map(part).collect();
    v1::LockRequestState { fence, owner, session: lease, parts, held_since }
}

fn part(part: LockPart) -> v1::LockPart {
    let mode = match part.mode {
        LockMode::Exclusive => lock_part::Mode::Exclusive(true),
        LockMode::Shared => lock_part::Mode::Shared(true),
        LockMode::Permits { weight, capacity } => lock_part::Mode::Permits(lock_part::Permits { weight, capacity }),
    };
    v1::LockPart { lock: Some(named(part.lock)), mode: Some(mode) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part_of(name: &str, mode: Option<lock_part::Mode>) -> v1::LockPart {
        v1::LockPart { lock: Some(v1::Name { namespace: String::new(), name: name.into() }), mode }
    }

    fn request(parts: Vec<v1::LockPart>) -> v1::AcquireRequest {
        let who = v1::Caller { session: 7, ..Default::default() };
        v1::AcquireRequest { caller: Some(who), parts, owner: "me".into(), ..Default::default() }
    }

    fn said(request: v1::AcquireRequest) -> String {
        acquire(request).expect_err("it is no good").to_string()
    }

    #[test]
    fn parts_are_checked_one_by_one() {
        let permits = |weight, capacity| Some(lock_part::Mode::Permits(lock_part::Permits { weight, capacity }));
        let one = |mode| request(vec![part_of("a", None), part_of("b", mode)]);
        assert_eq!(said(request(vec![])), "parts is empty");
        let many = (0..65).map(|at| part_of(&at.to_string(), None)).collect();
        assert_eq!(said(request(many)), "parts has 65 entries; at most 64 are allowed");
        assert_eq!(said(one(permits(0, 3))), "parts[1].permits.weight is 0; it must be 1 to the capacity");
        assert_eq!(said(one(permits(4, 3))), "parts[1].permits.weight is 4; at most 3 is allowed");
        assert_eq!(
            said(one(Some(lock_part::Mode::Shared(false)))),
            "parts[1].shared is false; set the mode that is wanted"
        );
        let twice = request(vec![part_of("a", None), part_of("a", Some(lock_part::Mode::Shared(true)))]);
        assert_eq!(said(twice), "parts[1].lock is named twice; each lock is asked for once");
        assert_eq!(said(request(vec![part_of("", None)])), "parts[0].lock.name is empty");
        let (_, full) = acquire(one(permits(u32::MAX, u32::MAX))).unwrap();
        assert_eq!(full.parts[0].mode, LockMode::Exclusive);
        assert_eq!(full.parts[1].mode, LockMode::Permits { weight: u32::MAX, capacity: u32::MAX });
        assert_eq!(full.parts[1].lock, Name { namespace: "default".into(), name: "b".into() });
    }

    #[test]
    fn contradictions_are_refused() {
        let fine = || request(vec![part_of("a", None)]);
        assert!(said(v1::AcquireRequest { try_only: true, wait_ms: 1, ..fine() }).starts_with("wait_ms is set beside"));
        assert_eq!(said(v1::AcquireRequest { owner: String::new(), ..fine() }), "owner is empty");
        assert!(said(v1::AcquireRequest { max_hold_ms: u64::MAX, ..fine() }).starts_with("max_hold_ms is 1844"));
        assert!(said(v1::AcquireRequest { caller: None, ..fine() }).starts_with("caller.session is 0"));
        let back = |fence, evict, cooldown_ms| {
            release(v1::ReleaseRequest { caller: None, fence, evict, cooldown_ms }).map_err(|bad| bad.to_string())
        };
        assert!(back(5, true, 9).is_ok());
        assert!(back(0, false, 0).unwrap_err().starts_with("fence is not a fence"));
        assert!(back(5, false, 9).unwrap_err().starts_with("cooldown_ms is set without evict"));
        let look = v1::GetLockRequest { lock: part_of("a", None).lock, limit: 10_001, ..Default::default() };
        assert_eq!(get(look).unwrap_err().to_string(), "limit is 10001; at most 10000 is allowed");
        let from = |start_revision| {
            watch(v1::WatchLockRequest { lock: part_of("a", None).lock, start_revision, no_snapshot: false })
        };
        assert_eq!(from(-1).unwrap_err().to_string(), "start_revision is negative");
        assert!(from(0).unwrap().snapshot && !from(1).unwrap().snapshot);
    }
}
