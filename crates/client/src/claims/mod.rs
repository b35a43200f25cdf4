//! Claims: a name held for at least a given duration, whatever happens to the servers meanwhile.
//! Juju's leadership.
//!
//! Everything here needs a Conclave cluster (`conclave.v1`).

mod answers;
mod bid;
mod hold;
mod keeper;
mod kept;
mod line;
mod manager;
mod tenancy;
mod tracker;
mod watch;

pub use answers::{Claim, ClaimHolder, ClaimState, Outcome, Pin, Vacancy, Waiter};
pub use bid::{Bid, Limits, Pinning, Twin};
pub use hold::ClaimHold;
pub(crate) use kept::Kept;
pub use manager::{ClaimManager, ManagerBuilder};
pub use tracker::{Lead, Tracker};
pub use watch::{ClaimEvent, ClaimEventKind, ClaimWatch};

use crate::{
    Client, Compare, Error, ErrorKind, Expect, Name, Session, Token,
    api::conclave::v1 as pb,
    coord::{Acting, call, pages, token},
};
use futures::stream::BoxStream;
use std::time::Duration;
use tokio::time::sleep;

/// The claims of a cluster, by name.
///
/// Who claims a name holds it for the duration asked for, at least, counted from when the call was
/// made; claiming again extends it. A claim depends on no session and no connection: it is what a
/// program takes that must be sure of the next half minute, not of the present instant.
///
/// # Guarantee
/// A claim that was [taken or extended](Claim) is not given to anybody else before
/// [`Claim::valid_until`], unless it is revoked by hand. It counts from before the call was sent,
/// on the client's clock, which goes on while the machine is suspended. It may end later: expiry is
/// an act of the cluster. An extension never shortens.
///
/// # Limits
/// Durations of 5 s to 5 min, unless the namespace's limits were [set](Claims::set_limits). Holders
/// of 1 to 256 bytes.
///
/// # Source
/// Juju's `leadership` package: [`claim`](Claims::claim) is `ClaimLeadership`,
/// [`check`](Claims::check) `CheckLeadership` with its token's `AssertOps`,
/// [`block_until_released`](Claims::block_until_released) `BlockUntilLeadershipReleased`; revoking,
/// pins and listing are those of later versions, [`Tracker`] is the agent's.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Claims, ErrorKind, Put, Txn, claims::Bid};
/// use std::time::Duration;
///
/// let claims = Claims::new(&client);
/// let bid = Bid::new("postgresql", "postgresql/0").lasting(Duration::from_secs(30));
/// match claims.claim(&bid).await {
///     Ok(claim) => {
///         // Ours for 30 s from when the call was made; and in the store not a write slips through after that.
///         client.guarded(claim.token).then([Put::new("settings/role", "primary")]).commit().await?;
///     }
///     Err(error) if error.kind() == ErrorKind::ClaimDenied => {
///         claims.block_until_released("postgresql").await?;
///     }
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Claims {
    acting: Acting,
}

/// Operations; what they do together is in the [example](Claims#examples).
impl Claims {
    /// The claims of this cluster. Makes no call.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self { acting: Acting::new(client) }
    }

    /// The same, whose operations take place only if things stand as expected. Bulk claims cannot
    /// expect anything.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Expect, claims::Bid};
    ///
    /// // Only to extend the tenure with fence 42; a new one is not begun.
    /// claims.expecting(Expect::new().fence(42)).claim(&Bid::new("postgresql", "postgresql/0")).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn expecting(&self, expect: Expect) -> Self {
        Self { acting: Acting { expect, ..self.acting.clone() } }
    }

    /// The same, whose places in line and pins go with a session. The claims themselves do not
    /// depend on it.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::Pinning;
    ///
    /// // The pin goes when this process does.
    /// claims.on_behalf_of(&session).pin("postgresql", Pinning::by("upgrade/4").with_session()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_behalf_of(&self, session: &Session) -> Self {
        Self { acting: Acting { session: Some(session.clone()), ..self.acting.clone() } }
    }

    /// Takes a claim, or extends it. Juju's `ClaimLeadership`.
    ///
    /// An extension within the longest promise of the tenure costs the cluster nothing but a
    /// confirmation of its leader.
    ///
    /// # Errors
    /// Final: [`ErrorKind::ClaimDenied`], another holds it (the message says who);
    /// [`ErrorKind::Invalid`], among others for a duration outside of the limits. Outcome unknown:
    /// no member answered in time; it may be held for the duration.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown; what was taken ends after its duration.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{ErrorKind, claims::Bid};
    /// use std::time::Duration;
    ///
    /// match claims.claim(&Bid::new("postgresql", "postgresql/0").lasting(Duration::from_secs(60))).await {
    ///     Ok(claim) => println!("ours until {:?}, fence {}", claim.valid_until, claim.fence),
    ///     Err(error) if error.kind() == ErrorKind::ClaimDenied => println!("{error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn claim(&self, bid: &Bid) -> Result<Claim, Error> {
        let mut outcomes = self.send(std::slice::from_ref(bid)).await?;
        outcomes.pop().ok_or_else(|| Error::new(ErrorKind::Refused, "a claim without an answer"))?.into_claim(bid)
    }

    /// Takes or extends several claims, each decided for itself, all in one revision. One answer
    /// for each, in order.
    ///
    /// # Limits
    /// 1 to 10,000; a name counts once.
    ///
    /// # Errors
    /// Final: [`ErrorKind::Invalid`]. Outcome unknown: no member answered in time. What concerns
    /// one claim is its [`Outcome`].
    ///
    /// # Cancel safety
    /// As [`Claims::claim`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::{Bid, Outcome};
    ///
    /// let bids: Vec<_> = ["redis", "mysql"].map(|service| Bid::new(service, "unit/3")).into();
    /// for (bid, outcome) in bids.iter().zip(claims.claim_all(&bids).await?) {
    ///     if let Outcome::Denied(holder) = outcome {
    ///         println!("{} is led by {}", bid.name(), holder.holder);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn claim_all(&self, bids: &[Bid]) -> Result<Vec<Outcome>, Error> {
        self.send(bids).await
    }

    /// Takes a claim as soon as it can be had, first come, first served, through failures of
    /// members. Nobody passes who waits.
    ///
    /// The place in line goes with the session, if there is [one](Claims::on_behalf_of); without
    /// one it is kept by asking again from time to time, and a process that dies leaves it for a
    /// minute at most.
    ///
    /// # Errors
    /// Final: [`ErrorKind::Refused`], too many wait; [`ErrorKind::SessionLost`],
    /// [`ErrorKind::LeaseNotFound`]; [`ErrorKind::Invalid`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future gives the place up in the background. If the claim came in that very
    /// moment, it ends after its duration.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::Bid;
    /// use std::time::Duration;
    ///
    /// let bid = Bid::new("postgresql", "postgresql/0");
    /// match tokio::time::timeout(Duration::from_secs(90), claims.claim_in_line(&bid)).await {
    ///     Ok(claim) => println!("ours, fence {}", claim?.fence),
    ///     Err(_) => println!("not in time; the place in line is given up"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn claim_in_line(&self, bid: &Bid) -> Result<Claim, Error> {
        line::wait(self, bid).await
    }

    /// The proof that `holder` holds the claim. Juju's `CheckLeadership`; [`Token::assert_ops`] is
    /// its token's `AssertOps`.
    ///
    /// A positive answer may be a moment old: it is the token in a transaction that keeps one safe.
    /// A negative one is of the present.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotHeld`], it does not. Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Claims, Compare, Put, Txn};
    ///
    /// let token = Claims::new(&client).check("postgresql", "postgresql/0").await?;
    /// let settings = Txn::new().when(token.assert_ops()).when([Compare::absent("settings/role")]);
    /// client.txn(settings.then([Put::new("settings/role", "primary")])).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self, name: impl Into<Name>, holder: &str) -> Result<Token, Error> {
        Ok(token(self.checked(name.into(), holder, false).await?.token))
    }

    /// A condition that holds whenever `holder` holds the claim, also in a later tenure: Juju's
    /// `AssertOps` of 2015. Mostly one wants [`Claims::check`].
    ///
    /// # Errors
    /// As [`Claims::check`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client, claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Put, Txn};
    ///
    /// let holds = claims.check_weakly("postgresql", "postgresql/0").await?;
    /// client.txn(Txn::new().when([holds]).then([Put::new("settings/seen", "yes")])).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check_weakly(&self, name: impl Into<Name>, holder: &str) -> Result<Compare, Error> {
        let weak = self.checked(name.into(), holder, true).await?.weak;
        weak.map(Compare::from).ok_or_else(|| Error::new(ErrorKind::Refused, "a check without an answer"))
    }

    /// Waits until a tenure of the claim ends; at once if nobody holds it. None that ends after the
    /// call is made is missed, also if another follows at once, and over failures of members.
    ///
    /// # Errors
    /// Final: [`ErrorKind::Invalid`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// let vacancy = claims.await_vacant("postgresql").await?;
    /// println!("ended at revision {}; the next in line has it: {}", vacancy.revision, vacancy.handed_over);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn await_vacant(&self, name: impl Into<Name>) -> Result<Vacancy, Error> {
        let name = name.into();
        loop {
            match self.get(&name).await {
                Ok(ClaimState { holder: None, revision, .. }) => return Ok(Vacancy { revision, handed_over: false }),
                Ok(ClaimState { holder: Some(holder), .. }) => return self.await_end(&name, holder.fence).await,
                Err(error) if error.is_final() => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// [`Claims::await_vacant`] by its name in Juju.
    ///
    /// # Errors
    /// As [`Claims::await_vacant`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// claims.block_until_released("postgresql").await?;
    /// println!("worth another try");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn block_until_released(&self, name: impl Into<Name>) -> Result<(), Error> {
        self.await_vacant(name).await.map(drop)
    }

    /// Waits until the tenure of this fence has ended: for clients that it denied.
    ///
    /// # Errors
    /// As [`Claims::await_vacant`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// if let Some(holder) = claims.get("postgresql").await?.holder {
    ///     claims.await_end("postgresql", holder.fence).await?;
    ///     println!("{} holds it no longer, or again in another tenure", holder.holder);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn await_end(&self, name: impl Into<Name>, fence: i64) -> Result<Vacancy, Error> {
        let name = name.into();
        loop {
            // One attempt, as long as it takes: the next one looks from the same revision on.
            let request = pb::AwaitVacantRequest { claim: name.wire(), min_revision: fence + 1 };
            let call = async |channel, request| crate::coord::claims(channel).await_vacant(request).await;
            let error = match self.client().wire().patient(tonic::Request::new(request), call).await {
                Ok(answer) => return Ok(Vacancy { revision: answer.revision, handed_over: answer.handed_over }),
                Err(error) => error.of_read(),
            };
            match error.kind() {
                // History since then is gone; whether that tenure lasts is seen from the present.
                ErrorKind::OutOfRange => match self.get(&name).await {
                    Ok(state) if state.holder.as_ref().is_none_or(|holder| holder.fence != fence) => {
                        return Ok(Vacancy { revision: state.revision, handed_over: state.holder.is_some() });
                    }
                    Ok(state) => tracing::debug!(fence, revision = state.revision, "a tenure outlasts the history"),
                    Err(error) if error.is_final() => return Err(error),
                    Err(_) => {}
                },
                _ if error.is_final() => return Err(error),
                _ => tracing::debug!(%error, "waiting for the end of a claim goes on"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Ends a tenure now: that of `holder`, or of any holder (`None`, an operator's). Pins do not
    /// prevent it. Returns whether it was held.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotHeld`], another holds it. Outcome unknown: no member confirmed it in
    /// time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// // Our own, at the end of the work; and anybody's, by hand.
    /// claims.revoke("postgresql", Some("postgresql/0")).await?;
    /// claims.revoke("postgresql", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, name: impl Into<Name>, holder: Option<&str>) -> Result<bool, Error> {
        let request = pb::RevokeRequest {
            caller: self.acting.caller(),
            claim: name.into().wire(),
            holder: holder.map(str::to_owned),
            instance: None,
        };
        Ok(self.client().repeatable(request, call!(claims.revoke)).await?.changed)
    }

    /// Stops waiting in line. Not to wait is no error. Returns whether it waited.
    ///
    /// # Errors
    /// Outcome unknown: no member confirmed it in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// let bid = conclave_client::claims::Bid::new("postgresql", "postgresql/0");
    /// let waited = claims.unclaim(&bid).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unclaim(&self, bid: &Bid) -> Result<bool, Error> {
        let caller = self.acting.caller();
        let request = bid.unclaim(caller);
        Ok(self.client().repeatable(request, call!(claims.unclaim)).await?.changed)
    }

    /// Pins a claim: while any entity does, it does not expire. Also before anybody holds it; then
    /// the pin is for who does next. Returns whether this entity did not pin it before. Juju's
    /// `PinLeadership`.
    ///
    /// # Errors
    /// Final: [`ErrorKind::LeaseNotFound`], [`ErrorKind::Invalid`] (a pin that goes with the
    /// session needs [one](Claims::on_behalf_of)). Outcome unknown: no member confirmed it in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::Pinning;
    /// use std::time::Duration;
    ///
    /// claims.pin("postgresql", Pinning::by("upgrade/4").reason("series upgrade").at_most(Duration::from_secs(3600))).await?;
    /// // … the leader does not change by time …
    /// claims.unpin("postgresql", "upgrade/4").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pin(&self, name: impl Into<Name>, pinning: Pinning) -> Result<bool, Error> {
        let request = pinning.wire(self.acting.caller(), &name.into());
        Ok(self.client().repeatable(request, call!(claims.pin)).await?.changed)
    }

    /// Takes an entity's pin away. When the last one goes, the holder has its whole duration again.
    /// Returns whether there was one. Juju's `UnpinLeadership`.
    ///
    /// # Errors
    /// Outcome unknown: no member confirmed it in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// [`Claims::pin`] has an example.
    pub async fn unpin(&self, name: impl Into<Name>, entity: &str) -> Result<bool, Error> {
        let (caller, claim) = (self.acting.caller(), name.into().wire());
        let request = pb::UnpinRequest { caller, claim, entity: entity.to_owned() };
        Ok(self.client().repeatable(request, call!(claims.unpin)).await?.changed)
    }

    /// Who holds a claim, who waits (the first 1000), who pins it; linearizable.
    ///
    /// # Errors
    /// Retryable: no member answered in time. Final: [`ErrorKind::Invalid`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// let state = claims.get("postgresql").await?;
    /// if let Some(holder) = &state.holder {
    ///     println!("{} holds it with fence {}, {:?} left", holder.holder, holder.fence, state.remaining);
    /// }
    /// state.waiting.iter().for_each(|waiter| println!("{} waits", waiter.holder));
    /// state.pins.iter().for_each(|pin| println!("pinned by {}: {}", pin.entity, pin.reason));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, name: impl Into<Name>) -> Result<ClaimState, Error> {
        const MOST: u32 = 1000;
        let request = pb::GetClaimRequest { claim: name.into().wire(), limit: MOST, ..Default::default() };
        Ok(self.client().read(request, call!(claims.get)).await?.into())
    }

    /// The names of claims that are held, waited for or pinned, in order; of one namespace or of
    /// all. The stream ends after an error.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use futures::TryStreamExt;
    ///
    /// let mut names = claims.list(Some("default"));
    /// while let Some(name) = names.try_next().await? {
    ///     println!("{name}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> BoxStream<'static, Result<Name, Error>> {
        let client = self.client().clone();
        pages(namespace, move |request| {
            let client = client.clone();
            async move {
                client
                    .read(request, call!(claims.list))
                    .await
                    .map(|page: pb::ListClaimsResponse| (page.names, page.more))
            }
        })
    }

    /// Follows a claim: every change of its holder, in order, none left out or told twice, over
    /// failures of members. Begins with how things stand.
    ///
    /// # Errors
    /// Retryable: no member took it within [`Builder::timeout`](crate::Builder::timeout). The
    /// stream ends after an error: [`ErrorKind::OutOfRange`] if history that it needs is compacted,
    /// or a refusal.
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::{ClaimEventKind, ClaimWatch};
    /// use futures::TryStreamExt;
    ///
    /// let mut changes = claims.watch(ClaimWatch::new("postgresql").from_revision(42)).await?;
    /// while let Some(event) = changes.try_next().await? {
    ///     match (event.kind, event.holder) {
    ///         (ClaimEventKind::Vacant, _) => println!("{}: free, {}", event.revision, event.cause),
    ///         (_, holder) => println!("{}: {holder:?}, {}", event.revision, event.cause),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(
        &self,
        watch: impl Into<ClaimWatch>,
    ) -> Result<BoxStream<'static, Result<ClaimEvent, Error>>, Error> {
        watch.into().begin(self.client()).await
    }

    /// Sets what claims of a namespace may ask for; `None`: back to the defaults. Tenures that
    /// there are stay as they are. Returns whether it changed anything. Juju's `Secretary`.
    ///
    /// # Errors
    /// Final: [`ErrorKind::Invalid`]. Outcome unknown: no member confirmed it in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(claims: conclave_client::Claims) -> Result<(), conclave_client::Error> {
    /// use conclave_client::claims::Limits;
    /// use std::time::Duration;
    ///
    /// let limits = Limits { min: Duration::from_secs(1), max: Duration::from_secs(3600), max_waiting: 100 };
    /// claims.set_limits("billing", Some(limits)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_limits(&self, namespace: &str, limits: Option<Limits>) -> Result<bool, Error> {
        let caller = crate::coord::caller(self.acting.session.as_ref(), &Expect::default());
        let limits = limits.map(pb::Limits::from);
        let request = pb::SetLimitsRequest { caller, namespace: namespace.to_owned(), limits };
        Ok(self.client().repeatable(request, call!(claims.set_limits)).await?.changed)
    }

    async fn send(&self, bids: &[Bid]) -> Result<Vec<Outcome>, Error> {
        let items = bids.iter().map(Bid::item).collect();
        let sent = self.client().clock().now();
        let request = pb::ClaimRequest { caller: self.acting.caller(), items };
        let answer = self.client().repeatable(request, call!(claims.claim)).await?;
        Ok(answer.results.into_iter().map(|result| Outcome::of(result, sent)).collect())
    }

    async fn checked(&self, name: Name, holder: &str, weak: bool) -> Result<pb::CheckResponse, Error> {
        let request = pb::CheckRequest { claim: name.wire(), holder: holder.to_owned(), instance: None, weak };
        self.client().read(request, call!(claims.check)).await.map_err(|error: Error| match error.kind() {
            ErrorKind::Refused => Error::new(ErrorKind::NotHeld, error.message()),
            _ => error,
        })
    }

    fn client(&self) -> &Client {
        &self.acting.client
    }
}

/// Between two attempts of what waits.
const PAUSE: Duration = Duration::from_millis(200);
