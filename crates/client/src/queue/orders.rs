//! Orders: what an operator, or a program in charge, does to an election.

use super::{Answer, QueueElection};
use crate::{
    Client, Error,
    api::conclave::v1::{self as pb, promote_request::To},
    coord::{Expect, call, caller, millis},
};
use std::time::Duration;

/// How far ahead a candidate is moved.
///
/// [`QueueElection::promote`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promotion {
    /// So many places, past the first in line to the leadership. Atomix's Go versions: one.
    Places(u32),
    /// First in line; the leader stays. Atomix's Java version.
    FrontOfLine,
    /// To the leadership.
    Lead,
}

/// How a candidate is taken out. The default: at once, without a reason, and it may come back.
///
/// # Examples
/// ```
/// use conclave_client::queue::Eviction;
/// use std::time::Duration;
///
/// let draining = Eviction::new().reason("node-2 is drained").cooldown(Duration::from_secs(600));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Eviction {
    cooldown: Duration,
    reason: String,
}

/// How, as in the [example](Eviction#examples).
impl Eviction {
    /// At once, and it may come back.
    pub fn new() -> Self {
        Self::default()
    }

    /// For so long this id may not enter again (whole milliseconds).
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Told to those who watch, and to who waits; up to 1 KiB.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }
}

/// # Orders
/// All of them: takes effect once, is tried again over failures of members within
/// [`Builder::timeout`](crate::Builder::timeout); outcome unknown if no member confirmed it in
/// time. Final: [`ErrorKind::Refused`](crate::ErrorKind::Refused) for who is no candidate,
/// [`ErrorKind::NotAsExpected`](crate::ErrorKind::NotAsExpected),
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid). Dropping the future leaves the outcome
/// unknown.
impl QueueElection {
    /// Makes a candidate the leader; the leader before it is first in line.
    ///
    /// # Errors
    /// As all orders: see above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// let answer = election.anoint("node-2").await?;
    /// assert_eq!(answer.term.leader.as_deref(), Some("node-2"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn anoint(&self, candidate: &str) -> Result<Answer, Error> {
        let (caller, election, candidate) = self.about(candidate);
        let request = pb::AnointRequest { caller, election, candidate, ignore_missing: false };
        Ok(self.client().repeatable(request, call!(elections.anoint)).await?.into())
    }

    /// Moves a candidate ahead.
    ///
    /// # Errors
    /// As all orders: see above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// use conclave_client::queue::Promotion;
    ///
    /// let answer = election.promote("node-3", Promotion::FrontOfLine).await?;
    /// println!("changed: {}, led by {:?}", answer.changed, answer.term.leader);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn promote(&self, candidate: &str, promotion: Promotion) -> Result<Answer, Error> {
        let (caller, election, candidate) = self.about(candidate);
        let to = Some(match promotion {
            Promotion::Places(places) => To::Places(places),
            Promotion::FrontOfLine => To::FrontOfQueue(true),
            Promotion::Lead => To::Lead(true),
        });
        let request = pb::PromoteRequest { caller, election, candidate, to, ignore_missing: false };
        Ok(self.client().repeatable(request, call!(elections.promote)).await?.into())
    }

    /// Moves a candidate back by so many places; [`u32::MAX`] is the end of the line. A leader
    /// steps down for the first in line.
    ///
    /// # Errors
    /// As all orders: see above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// election.demote("node-1", u32::MAX).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn demote(&self, candidate: &str, places: u32) -> Result<Answer, Error> {
        let (caller, election, candidate) = self.about(candidate);
        let request = pb::DemoteRequest { caller, election, candidate, places, ignore_missing: false };
        Ok(self.client().repeatable(request, call!(elections.demote)).await?.into())
    }

    /// Takes a candidate out.
    ///
    /// # Errors
    /// As all orders: see above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// use conclave_client::queue::Eviction;
    /// use std::time::Duration;
    ///
    /// election.evict("node-2", Eviction::new().reason("disk full").cooldown(Duration::from_secs(300))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn evict(&self, candidate: &str, eviction: Eviction) -> Result<Answer, Error> {
        let (caller, election, candidate) = self.about(candidate);
        let (cooldown_ms, reason) = (millis(eviction.cooldown), eviction.reason);
        let request = pb::EvictRequest { caller, election, candidate, cooldown_ms, reason, ignore_missing: false };
        Ok(self.client().repeatable(request, call!(elections.evict)).await?.into())
    }

    /// Takes a candidate out of all elections in which it stands, of one namespace or of all, in
    /// one revision: to drain a node. Returns from how many. Atomix's Java `LeaderElector.evict`.
    ///
    /// # Errors
    /// As all orders: see above.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::{QueueElection, queue::Eviction};
    ///
    /// let evicted = QueueElection::evict_everywhere(&client, None, "node-2", Eviction::new().reason("drained")).await?;
    /// println!("out of {evicted} elections");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn evict_everywhere(
        client: &Client,
        namespace: Option<&str>,
        candidate: &str,
        eviction: Eviction,
    ) -> Result<u64, Error> {
        let caller = caller(None, &Expect::default());
        let request = pb::EvictEverywhereRequest {
            caller,
            namespace: namespace.unwrap_or_default().to_owned(),
            candidate: candidate.to_owned(),
            cooldown_ms: millis(eviction.cooldown),
            reason: eviction.reason,
        };
        Ok(client.repeatable(request, call!(elections.evict_everywhere)).await?.evicted)
    }

    /// Asks the leader to hand over to a candidate that waits, by `deadline` (never, if there is
    /// none). The leader sees it by
    /// [`QueueLeadership::asked_to_transfer`](super::QueueLeadership::asked_to_transfer). At the
    /// deadline the request lapses; with `force` the hand-over is made instead. Kubernetes'
    /// preferred holder.
    ///
    /// # Errors
    /// As all orders: see above. Also refused if nobody leads.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// use std::time::Duration;
    ///
    /// // In good order within a minute, or else without.
    /// election.request_transfer("node-3", Some(Duration::from_secs(60)), true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn request_transfer(&self, to: &str, deadline: Option<Duration>, force: bool) -> Result<Answer, Error> {
        let (caller, election, to) = self.about(to);
        let deadline_ms = deadline.map_or(0, |deadline| millis(deadline).max(1));
        let request = pb::RequestTransferRequest { caller, election, to, deadline_ms, force };
        Ok(self.client().repeatable(request, call!(elections.request_transfer)).await?.into())
    }

    /// Ends the election for everybody: candidates are told that they are none any more. Terms of a
    /// later election of this name go on rising. Atomix's `Delete`.
    ///
    /// # Errors
    /// As all orders: see above. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is
    /// none.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// election.delete().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self) -> Result<(), Error> {
        let request = pb::DeleteElectionRequest { caller: self.acting.caller(), election: self.name.wire() };
        self.client().repeatable(request, call!(elections.delete)).await.map(drop)
    }

    fn about(&self, candidate: &str) -> (Option<pb::Caller>, Option<pb::Name>, String) {
        (self.acting.caller(), self.name.wire(), candidate.to_owned())
    }

    pub(super) fn client(&self) -> &Client {
        &self.acting.client
    }
}
