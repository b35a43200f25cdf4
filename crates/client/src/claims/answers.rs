//! What is answered.

use super::{
    Bid,
    tenancy::{Promise, worth},
};
use crate::{
    Error, ErrorKind, Token,
    api::conclave::v1::{self as pb, claim_result},
    clock::Moment,
    coord::token,
};
use std::time::Duration;

/// A claim that was taken or extended.
///
/// # Examples
/// ```no_run
/// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
/// use conclave_client::claims::Bid;
///
/// let claim = claims.claim(&Bid::new("postgresql", "postgresql/0")).await?;
/// let how = if claim.extended { "extended" } else { "taken" };
/// println!("{how} with fence {}, for {:?}, until {:?}", claim.fence, claim.guaranteed, claim.valid_until);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Claim {
    /// Greater than that of every earlier holder of this name. The same over all extensions.
    pub fence: i64,
    /// The proof of the tenure.
    pub token: Token,
    /// Whether it was held before and goes on.
    pub extended: bool,
    /// What is guaranteed, from when the call was made.
    pub guaranteed: Duration,
    /// Until when it surely lasts, on the client's clock; a thousandth of the duration is left out
    /// for clocks that do not run at the same rate.
    pub valid_until: Moment,
}

impl Claim {
    /// What it says of its time.
    pub(super) fn promise(&self) -> Promise {
        Promise { fence: self.fence, until: self.valid_until, term: self.guaranteed }
    }
}

/// The result of one claim among several.
///
/// [`Claims::claim_all`](super::Claims::claim_all) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Taken, or extended.
    Held(Claim),
    /// Another holds it.
    Denied(ClaimHolder),
    /// The duration is outside of these limits of the namespace.
    BadDuration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// It waits in line.
    Waiting {
        /// The place; rises along the line.
        ticket: u64,
    },
    /// Too many wait already.
    TooManyWaiting,
    /// The name was claimed before in the same request.
    Repeated,
}

/// Who holds a claim.
///
/// [`Claims::get`](super::Claims::get) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimHolder {
    /// Juju: the unit.
    pub holder: String,
    /// Which process of that name.
    pub instance: String,
    /// Its fence.
    pub fence: i64,
}

/// How a claim stands.
///
/// [`Claims::get`](super::Claims::get) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClaimState {
    /// Of which moment.
    pub revision: i64,
    /// Who holds it.
    pub holder: Option<ClaimHolder>,
    /// The longest duration promised in this tenure: up to it extensions write nothing.
    pub longest: Duration,
    /// Until it may expire, as the cluster's leader knows; `None` if it is not known, or nobody
    /// holds it, or it is pinned.
    pub remaining: Option<Duration>,
    /// How many wait.
    pub waiting_count: u32,
    /// The first of them.
    pub waiting: Vec<Waiter>,
    /// Who pins it.
    pub pins: Vec<Pin>,
}

/// Who waits for a claim.
///
/// [`Claims::get`](super::Claims::get) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// The place; rises along the line.
    pub ticket: u64,
    /// For whom.
    pub holder: String,
    /// Which process of that name.
    pub instance: String,
    /// For how long it is to be.
    pub duration: Duration,
    /// What the place goes with; 0: nothing.
    pub session: i64,
}

/// Who keeps a claim from expiring.
///
/// [`Claims::get`](super::Claims::get) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// Who.
    pub entity: String,
    /// Why.
    pub reason: String,
    /// What the pin goes with; 0: nothing.
    pub session: i64,
}

/// The end of a tenure.
///
/// [`Claims::await_vacant`](super::Claims::await_vacant) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vacancy {
    /// The revision at which it ended, or the present one if nobody held it.
    pub revision: i64,
    /// It went to the next in line in that very revision.
    pub handed_over: bool,
}

impl Outcome {
    /// `sent`: before the request was sent.
    pub(super) fn of(result: pb::ClaimResult, sent: Moment) -> Self {
        let held = |extended| {
            let guaranteed = Duration::from_millis(result.guaranteed_ms);
            let token = token(result.token.clone());
            Self::Held(Claim { fence: token.fence, token, extended, guaranteed, valid_until: sent + worth(guaranteed) })
        };
        match result.outcome() {
            claim_result::Outcome::Taken => held(false),
            claim_result::Outcome::Extended => held(true),
            claim_result::Outcome::Waiting => Self::Waiting { ticket: result.ticket },
            claim_result::Outcome::Denied => {
                let pb::ClaimResult { holder, instance, fence, .. } = result;
                Self::Denied(ClaimHolder { holder, instance, fence })
            }
            claim_result::Outcome::BadDuration => {
                let (min, max) = (Duration::from_millis(result.min_ms), Duration::from_millis(result.max_ms));
                Self::BadDuration { min, max }
            }
            claim_result::Outcome::TooManyWaiting => Self::TooManyWaiting,
            claim_result::Outcome::Repeated => Self::Repeated,
        }
    }

    /// Of a claim that was asked for alone.
    pub(super) fn into_claim(self, bid: &Bid) -> Result<Claim, Error> {
        Err(match self {
            Self::Held(claim) => return Ok(claim),
            Self::Denied(by) => denied(bid, &by),
            Self::BadDuration { min, max } => {
                let text = format!("a claim of {:?}; {min:?} to {max:?} are allowed", bid.duration());
                Error::new(ErrorKind::Invalid, text)
            }
            Self::TooManyWaiting => {
                Error::new(ErrorKind::Refused, format!("too many wait for the claim {}", bid.name()))
            }
            Self::Waiting { .. } | Self::Repeated => Error::new(ErrorKind::Refused, "an answer to another question"),
        })
    }
}

fn denied(bid: &Bid, by: &ClaimHolder) -> Error {
    let text = match by.holder.is_empty() {
        true => format!("claim denied: {} was not given to \"{}\"", bid.name(), bid.holder()),
        false => format!("claim denied: {} is held by \"{}\" under fence {}", bid.name(), by.holder, by.fence),
    };
    Error::new(ErrorKind::ClaimDenied, text)
}

impl From<pb::GetClaimResponse> for ClaimState {
    fn from(answer: pb::GetClaimResponse) -> Self {
        let (holder, instance, fence) = (answer.holder, answer.instance, answer.fence);
        Self {
            revision: answer.header.map_or(0, |header| header.revision),
            holder: (fence != 0).then_some(ClaimHolder { holder, instance, fence }),
            longest: Duration::from_millis(answer.longest_ms),
            remaining: (answer.remaining_ms != 0).then(|| Duration::from_millis(answer.remaining_ms)),
            waiting_count: answer.waiting_count,
            waiting: answer.waiting.into_iter().map(Waiter::from).collect(),
            pins: answer.pins.into_iter().map(Pin::from).collect(),
        }
    }
}

impl From<pb::get_claim_response::Waiter> for Waiter {
    fn from(waiter: pb::get_claim_response::Waiter) -> Self {
        let pb::get_claim_response::Waiter { ticket, holder, instance, duration_ms, session } = waiter;
        Self { ticket, holder, instance, duration: Duration::from_millis(duration_ms), session }
    }
}

impl From<pb::get_claim_response::PinState> for Pin {
    fn from(pin: pb::get_claim_response::PinState) -> Self {
        let pb::get_claim_response::PinState { entity, reason, session } = pin;
        Self { entity, reason, session }
    }
}
