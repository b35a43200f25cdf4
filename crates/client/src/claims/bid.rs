//! What is asked for.

use crate::{Name, api::conclave::v1 as pb, coord::millis};
use std::time::Duration;

/// What to claim: which name, for whom, for how long.
///
/// # Examples
/// ```
/// use conclave_client::claims::{Bid, Twin};
/// use std::time::Duration;
///
/// let bid = Bid::new("postgresql", "postgresql/0").lasting(Duration::from_secs(60)).twin(Twin::TakeOver);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Bid {
    name: Name,
    holder: String,
    instance: String,
    duration: Duration,
    twin: Twin,
}

/// If the holder's name holds the claim already, but in another session or as another instance.
///
/// # Examples
/// ```
/// use conclave_client::claims::{Bid, Twin};
///
/// // The new process of this unit takes over from the old one, which is fenced out.
/// let bid = Bid::new("postgresql", "postgresql/0").instance("process 4711").twin(Twin::TakeOver);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Twin {
    /// Denied, as by any other holder.
    #[default]
    Deny,
    /// A new tenure with a new fence: the other instance is fenced out.
    TakeOver,
    /// The same tenure for both, as in Juju, if the holder bid so too; else denied.
    Share,
}

/// What to claim, as in the [example](Bid#examples).
impl Bid {
    /// A bid of this holder (Juju: the unit), for 30 s, by an instance drawn at random: each `Bid`
    /// made so is another process's, and clones are the same one's.
    pub fn new(name: impl Into<Name>, holder: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            holder: holder.into(),
            instance: format!("{:016x}", rand::random::<u64>()),
            duration: Duration::from_secs(30),
            twin: Twin::Deny,
        }
    }

    /// Which process of that name this is. The same one extends. Empty is the session's own, for
    /// claims that are made [on behalf of](super::Claims::on_behalf_of) one; without a session it
    /// is refused, unless the tenure is shared.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = instance.into();
        self
    }

    /// For how long, at least; whole milliseconds, counted from when the call is made.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// What if another instance of the holder has it.
    pub fn twin(mut self, twin: Twin) -> Self {
        self.twin = twin;
        self
    }

    /// The claim.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// For whom.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// For how long.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    pub(super) fn item(&self) -> pb::ClaimItem {
        let twin = match self.twin {
            Twin::Deny => pb::claim_item::Twin::Deny,
            Twin::TakeOver => pb::claim_item::Twin::TakeOver,
            Twin::Share => pb::claim_item::Twin::Share,
        };
        pb::ClaimItem {
            claim: self.name.wire(),
            holder: self.holder.clone(),
            instance: self.instance.clone(),
            duration_ms: millis(self.duration),
            twin: twin.into(),
            wait: false,
            wait_ms: 0,
        }
    }

    pub(super) fn unclaim(&self, caller: Option<pb::Caller>) -> pb::UnclaimRequest {
        let (holder, instance) = (self.holder.clone(), self.instance.clone());
        pb::UnclaimRequest { caller, claim: self.name.wire(), holder, instance }
    }

    /// Gives up exactly what this bid holds.
    pub(super) fn revocation(&self, caller: Option<pb::Caller>) -> pb::RevokeRequest {
        let (holder, instance) = (Some(self.holder.clone()), Some(self.instance.clone()));
        pb::RevokeRequest { caller, claim: self.name.wire(), holder, instance }
    }
}

/// Who pins a claim, why, and for how long.
///
/// # Examples
/// ```
/// use conclave_client::claims::Pinning;
///
/// let pinning = Pinning::by("backup/7").reason("nightly backup").with_session();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Pinning {
    entity: String,
    reason: String,
    with_session: bool,
    at_most: Duration,
}

/// How to pin, as in the [example](Pinning#examples).
impl Pinning {
    /// By some entity; pins are a set of them.
    pub fn by(entity: impl Into<String>) -> Self {
        Self { entity: entity.into(), reason: String::new(), with_session: false, at_most: Duration::ZERO }
    }

    /// Why, up to 1 KiB; shown to those who look.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The pin goes with the session that it is made [on behalf of](super::Claims::on_behalf_of).
    pub fn with_session(mut self) -> Self {
        self.with_session = true;
        self
    }

    /// The pin goes after so long; whole milliseconds. Never, unless set.
    pub fn at_most(mut self, time: Duration) -> Self {
        self.at_most = time;
        self
    }

    pub(super) fn wire(self, caller: Option<pb::Caller>, name: &Name) -> pb::PinRequest {
        let Self { entity, reason, with_session, at_most } = self;
        pb::PinRequest { caller, claim: name.wire(), entity, reason, with_session, max_duration_ms: millis(at_most) }
    }
}

/// What claims of a namespace may ask for.
///
/// [`Claims::set_limits`](super::Claims::set_limits) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The shortest duration, inclusive.
    pub min: Duration,
    /// The longest, inclusive.
    pub max: Duration,
    /// How many may wait for one claim.
    pub max_waiting: u32,
}

impl From<Limits> for pb::Limits {
    fn from(Limits { min, max, max_waiting }: Limits) -> Self {
        Self { min_ms: millis(min), max_ms: millis(max), max_waiting }
    }
}
