//! Keeping claims: the configuration, checked before anything is asked for.

use super::{Bid, ClaimHold, Claims, Tracker, Twin, keeper::OfCluster};
use crate::{Error, ErrorKind, Name};
use std::{sync::Arc, time::Duration};

/// Takes a claim and keeps it extended, with a configuration that was validated.
///
/// # Source
/// Juju's `leadership.ManagerConfig` and its agents' tracker.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Claims, claims::ClaimManager};
/// use std::time::Duration;
///
/// let claims = Claims::new(&client);
/// let manager = ClaimManager::builder(&claims, "postgresql", "postgresql/0")
///     .duration(Duration::from_secs(30))
///     .renewal(Duration::from_secs(8))
///     .build()?;
/// let hold = manager.acquire().await?;
/// let ran = hold.run(async |token| println!("primary with fence {}", token.fence)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClaimManager {
    claims: Claims,
    bid: Bid,
    renewal: Duration,
}

/// How a [`ClaimManager`] is to behave; made by [`ClaimManager::builder`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), conclave_client::Error> {
/// use conclave_client::{Claims, Client, claims::{ClaimManager, Twin}};
/// use std::time::Duration;
///
/// let claims = Claims::new(&Client::new(["127.0.0.1:2379"])?);
/// let manager = ClaimManager::builder(&claims, "postgresql", "postgresql/0")
///     .bounds(Duration::from_secs(1), Duration::from_secs(60)) // what `Claims::set_limits` has set
///     .duration(Duration::from_secs(20))
///     .renewal(Duration::from_secs(5))
///     .instance("process 4711")
///     .twin(Twin::TakeOver)
///     .build()?;
/// assert_eq!((manager.guarantee(), manager.renewal()), (Duration::from_secs(10), Duration::from_secs(5)));
/// assert_eq!(manager.bid().holder(), "postgresql/0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ManagerBuilder {
    claims: Claims,
    bid: Bid,
    renewal: Option<Duration>,
    bounds: (Duration, Duration),
}

impl ClaimManager {
    /// Settings to change before a manager is made. Makes no call.
    ///
    /// [`ManagerBuilder`] has an example.
    pub fn builder(claims: &Claims, name: impl Into<Name>, holder: impl Into<String>) -> ManagerBuilder {
        let bid = Bid::new(name, holder).lasting(Duration::from_secs(60));
        let bounds = (Duration::from_secs(5), Duration::from_secs(300));
        ManagerBuilder { claims: claims.clone(), bid, renewal: None, bounds }
    }

    /// Waits in line until the claim is had, and keeps it; through failures of members.
    ///
    /// # Errors
    /// As [`Claims::claim_in_line`].
    ///
    /// # Cancel safety
    /// As [`Claims::claim_in_line`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(manager: conclave_client::claims::ClaimManager) -> Result<(), conclave_client::Error> {
    /// let hold = manager.acquire().await?;
    /// let ran = conclave_client::run_as_leader(hold, async |leading| leading.fence()).await;
    /// # drop(ran);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self) -> Result<ClaimHold, Error> {
        let claim = self.claims.claim_in_line(&self.bid).await?;
        Ok(ClaimHold::keep(self.claimer(), self.claims.client(), &claim, self.renewal))
    }

    /// Takes the claim if nobody else holds it, and keeps it; `None` if somebody does.
    ///
    /// # Errors
    /// As [`Claims::claim`], but for being denied.
    ///
    /// # Cancel safety
    /// As [`Claims::claim`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(manager: conclave_client::claims::ClaimManager) -> Result<(), conclave_client::Error> {
    /// match manager.try_acquire().await? {
    ///     Some(hold) => println!("ours: {hold:?}"),
    ///     None => println!("another holds it"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<ClaimHold>, Error> {
        match self.claims.claim(&self.bid).await {
            Ok(claim) => Ok(Some(ClaimHold::keep(self.claimer(), self.claims.client(), &claim, self.renewal))),
            Err(error) if error.kind() == ErrorKind::ClaimDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Claims whenever it can be had, in the background, and answers questions about it without
    /// asking the cluster.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(manager: conclave_client::claims::ClaimManager) -> Result<(), conclave_client::Error> {
    /// let tracker = manager.track();
    /// tracker.wait_leader().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn track(&self) -> Tracker {
        Tracker::start(self.claimer(), self.guarantee(), self.renewal)
    }

    /// What is surely left while extensions are answered: the duration less two renewal intervals.
    /// So long a [`Tracker`]'s tickets are good for. Juju's guarantee; with the defaults 30 s as
    /// there.
    ///
    /// [`ManagerBuilder`] has an example.
    #[must_use]
    pub fn guarantee(&self) -> Duration {
        self.bid.duration() - self.renewal * 2
    }

    /// How often the claim is extended.
    ///
    /// [`ManagerBuilder`] has an example.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.renewal
    }

    /// What is claimed.
    ///
    /// [`ManagerBuilder`] has an example.
    pub fn bid(&self) -> &Bid {
        &self.bid
    }

    fn claimer(&self) -> Arc<OfCluster> {
        Arc::new(OfCluster { claims: self.claims.clone(), bid: self.bid.clone() })
    }
}

/// Settings, as in the [example](ManagerBuilder#examples).
impl ManagerBuilder {
    /// For how long each claim and extension is: 60 s unless set. Failover after the holder's death
    /// takes as long.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.bid = self.bid.lasting(duration);
        self
    }

    /// How often it is extended: a quarter of the duration unless set. Less than half of it, so
    /// that one extension may fail.
    pub fn renewal(mut self, renewal: Duration) -> Self {
        self.renewal = Some(renewal);
        self
    }

    /// What the namespace allows, if it is not 5 s to 5 min; see [`Claims::set_limits`].
    pub fn bounds(mut self, min: Duration, max: Duration) -> Self {
        self.bounds = (min, max);
        self
    }

    /// Which process of the holder this is; drawn at random unless set. See [`Bid::instance`].
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.bid = self.bid.instance(instance);
        self
    }

    /// What if another instance of the holder has it.
    pub fn twin(mut self, twin: Twin) -> Self {
        self.bid = self.bid.twin(twin);
        self
    }

    /// The manager.
    ///
    /// # Errors
    /// Final: [`ErrorKind::Invalid`], and the message says which setting contradicts which.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), conclave_client::Error> {
    /// use conclave_client::{Claims, Client, ErrorKind, claims::ClaimManager};
    /// use std::time::Duration;
    ///
    /// let claims = Claims::new(&Client::new(["127.0.0.1:2379"])?);
    /// let too_short = ClaimManager::builder(&claims, "a", "b").duration(Duration::from_secs(1)).build();
    /// assert_eq!(too_short.unwrap_err().kind(), ErrorKind::Invalid);
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(self) -> Result<ClaimManager, Error> {
        let Self { claims, bid, renewal, bounds: (min, max) } = self;
        let duration = bid.duration();
        let renewal = renewal.unwrap_or(duration / 4);
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if min > max {
            return invalid(format!("the bounds of a claim's duration, {min:?} to {max:?}, exclude everything"));
        }
        if duration < min || duration > max {
            return invalid(format!("a claim's duration of {duration:?} is not within {min:?} to {max:?}"));
        }
        if renewal.is_zero() || renewal * 2 >= duration {
            return invalid(format!(
                "a renewal interval of {renewal:?} is not between 0 and half the duration, {duration:?}"
            ));
        }
        Ok(ClaimManager { claims, bid, renewal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    fn builder() -> ManagerBuilder {
        let client = Client::new(["127.0.0.1:9"]).expect("an address");
        ClaimManager::builder(&Claims::new(&client), "a", "b")
    }

    #[tokio::test]
    async fn configurations_are_checked() {
        let s = Duration::from_secs;
        let refused = |builder: ManagerBuilder| builder.build().map(|_| ()).map_err(|error| error.kind());
        let standard = builder().build().expect("the defaults are in order");
        assert_eq!((standard.guarantee(), standard.renewal()), (s(30), s(15)));
        for wrong in [
            builder().duration(s(4)),
            builder().duration(s(301)),
            builder().renewal(Duration::ZERO),
            builder().renewal(s(30)),
            builder().bounds(s(10), s(9)),
        ] {
            assert_eq!(refused(wrong), Err(ErrorKind::Invalid));
        }
        assert_eq!(refused(builder().bounds(s(1), s(9)).duration(s(2))), Ok(()));
    }
}
