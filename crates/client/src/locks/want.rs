//! What is asked for.

use crate::{
    Name,
    api::conclave::v1::{self as pb, lock_part},
    coord::millis,
};
use std::time::Duration;

/// How a lock is held.
///
/// The [example](Want#examples) of [`Want`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Beside others that share.
    Shared,
    /// Beside other permits as long as the weights add up to no more than the capacity.
    Permits {
        /// How many, 1 to the capacity.
        weight: u32,
        /// How many there are: the same for all while the semaphore is in use.
        capacity: u32,
    },
}

/// What to acquire: one lock or several, all of them or none.
///
/// # Limits
/// 1 to 64 locks, each named once; an owner of 1 to 256 bytes.
///
/// # Examples
/// ```
/// use conclave_client::locks::{Mode, Want};
/// use std::time::Duration;
///
/// let report = Want::exclusive("report").owner("host-7").lock_delay(Duration::from_secs(5));
/// let slots = Want::permits("encoders", 2, 8).and_shared("library").max_hold(Duration::from_secs(3600));
/// let transfer = Want::new("account/7", Mode::Exclusive).and("account/9", Mode::Exclusive).and_permits("transfers", 1, 4);
/// let both = Want::shared("a").and_exclusive("b");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Want {
    pub(crate) parts: Vec<pb::LockPart>,
    pub(crate) owner: Option<String>,
    pub(crate) lock_delay: Duration,
    pub(crate) max_hold: Duration,
}

/// What to acquire, as in the [example](Want#examples).
impl Want {
    /// One lock in some mode.
    pub fn new(name: impl Into<Name>, mode: Mode) -> Self {
        Self { parts: vec![part(name, mode)], owner: None, lock_delay: Duration::ZERO, max_hold: Duration::ZERO }
    }

    /// A lock for oneself alone.
    pub fn exclusive(name: impl Into<Name>) -> Self {
        Self::new(name, Mode::Exclusive)
    }

    /// A lock beside others that share it.
    pub fn shared(name: impl Into<Name>) -> Self {
        Self::new(name, Mode::Shared)
    }

    /// Some of a semaphore's permits.
    pub fn permits(name: impl Into<Name>, weight: u32, capacity: u32) -> Self {
        Self::new(name, Mode::Permits { weight, capacity })
    }

    /// Another lock as well, in some mode.
    pub fn and(mut self, name: impl Into<Name>, mode: Mode) -> Self {
        self.parts.push(part(name, mode));
        self
    }

    /// Another lock as well, alone.
    pub fn and_exclusive(self, name: impl Into<Name>) -> Self {
        self.and(name, Mode::Exclusive)
    }

    /// Another lock as well, beside others that share it.
    pub fn and_shared(self, name: impl Into<Name>) -> Self {
        self.and(name, Mode::Shared)
    }

    /// Permits of another semaphore as well.
    pub fn and_permits(self, name: impl Into<Name>, weight: u32, capacity: u32) -> Self {
        self.and(name, Mode::Permits { weight, capacity })
    }

    /// Shown to those who look, and what an eviction's cool-down goes by. The session's id in
    /// hexadecimal unless set.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// For so long nobody gets these locks after they were lost: expired, evicted, held too long.
    /// Not after a release or an orderly end of the session. Whole milliseconds; off unless set. It
    /// gives late requests of a dead holder time to run out, where fences cannot be checked.
    /// Chubby's and Consul's lock-delay.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.lock_delay = delay;
        self
    }

    /// They are taken away after so long, however well the session is kept. Whole milliseconds; no
    /// limit unless set. Redisson's lease time.
    pub fn max_hold(mut self, hold: Duration) -> Self {
        self.max_hold = hold;
        self
    }

    pub(crate) fn wire(&self, caller: Option<pb::Caller>) -> pb::AcquireRequest {
        let session = caller.as_ref().map_or(0, |caller| caller.session);
        pb::AcquireRequest {
            caller,
            parts: self.parts.clone(),
            owner: self.owner.clone().unwrap_or_else(|| format!("{session:x}")),
            lock_delay_ms: millis(self.lock_delay),
            max_hold_ms: millis(self.max_hold),
            ..Default::default()
        }
    }
}

fn part(name: impl Into<Name>, mode: Mode) -> pb::LockPart {
    let mode = match mode {
        Mode::Exclusive => lock_part::Mode::Exclusive(true),
        Mode::Shared => lock_part::Mode::Shared(true),
        Mode::Permits { weight, capacity } => lock_part::Mode::Permits(lock_part::Permits { weight, capacity }),
    };
    pb::LockPart { lock: name.into().wire(), mode: Some(mode) }
}

pub(crate) fn mode(part: &pb::LockPart) -> Mode {
    match part.mode {
        Some(lock_part::Mode::Shared(true)) => Mode::Shared,
        Some(lock_part::Mode::Permits(lock_part::Permits { weight, capacity })) => Mode::Permits { weight, capacity },
        Some(lock_part::Mode::Exclusive(_) | lock_part::Mode::Shared(false)) | None => Mode::Exclusive,
    }
}
