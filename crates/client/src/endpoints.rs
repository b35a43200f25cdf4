//! The members a client knows: one lazy connection each, which of them is in use, and which are
//! resting after a failure.
//!
//! 1. Calls go to the endpoint in use until it fails; then the next one in the caller's order that
//!    is not resting takes over.
//! 2. A failed endpoint rests: [`FIRST_REST`], doubled with each failure in a row up to
//!    [`LONGEST_REST`]. One success ends it.
//! 3. If all rest, the one whose rest ends first is used: there is always an endpoint to try.
//! 4. Connections are made when first needed and remade by themselves, so a client may be created
//!    before its cluster.

use crate::Channel;
use crate::{Dialer, Error, ErrorKind};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// How connections behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connecting {
    /// How long a connection attempt may take.
    pub(crate) connect: Duration,
    /// A connection with calls on it that hears nothing for this long is probed,
    pub(crate) probe_after: Duration,
    /// and taken for dead if the probe is not answered for this long.
    pub(crate) probe_wait: Duration,
}

/// The endpoints of one client and all its clones.
#[derive(Debug)]
pub(crate) struct Endpoints {
    members: Vec<Member>,
    balance: Mutex<Balance>,
}

#[derive(Debug)]
struct Member {
    url: String,
    channel: Channel,
}

/// One endpoint as it was chosen for one call.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    index: usize,
    pub(crate) channel: Channel,
}

/// What a client has seen of one endpoint. See [`Client::endpoints`](crate::Client::endpoints).
///
/// [`Client::endpoints`](crate::Client::endpoints) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointHealth {
    /// The address, as it was given.
    pub url: String,
    /// Whether calls go there now.
    pub in_use: bool,
    /// Failures in a row; 0 if its last call went well, or none was made.
    pub failures: u32,
}

impl Endpoints {
    pub(crate) fn new(urls: Vec<String>, dialer: &Dialer, connecting: Connecting) -> Result<Self, Error> {
        if urls.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "no endpoint given"));
        }
        let member = |url: String| Ok(Member { channel: channel(&url, dialer, connecting)?, url });
        let members = urls.into_iter().map(member).collect::<Result<Vec<_>, Error>>()?;
        let balance = Mutex::new(Balance::new(members.len()));
        Ok(Self { members, balance })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Where the next call goes.
    pub(crate) fn choose(&self) -> Choice {
        let index = self.balance().choose(Instant::now());
        Choice { index, channel: self.members[index].channel.clone() }
    }

    pub(crate) fn succeeded(&self, choice: &Choice) {
        self.balance().succeeded(choice.index);
    }

    pub(crate) fn failed(&self, choice: &Choice) {
        tracing::debug!(endpoint = self.members[choice.index].url, "endpoint failed");
        self.balance().failed(choice.index, Instant::now());
    }

    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        let balance = self.balance();
        let of = |(i, member): (usize, &Member)| EndpointHealth {
            url: member.url.clone(),
            in_use: i == balance.current,
            failures: balance.rests[i].failures,
        };
        self.members.iter().enumerate().map(of).collect()
    }

    fn balance(&self) -> MutexGuard<'_, Balance> {
        // Every change of it is complete in itself, so a panic elsewhere leaves it whole.
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channel(url: &str, dialer: &Dialer, connecting: Connecting) -> Result<Channel, Error> {
    let endpoint = dialer
        .endpoint(url)?
        .connect_timeout(connecting.connect)
        .http2_keep_alive_interval(connecting.probe_after)
        .keep_alive_timeout(connecting.probe_wait)
        // etcd closes connections that are probed while nothing is under way on them.
        .keep_alive_while_idle(false)
        .tcp_nodelay(true);
    Ok(dialer.connect_lazy(&endpoint))
}

/// Which endpoint is in use; pure but for the time it is told.
#[derive(Debug)]
struct Balance {
    current: usize,
    rests: Vec<Rest>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Balance {
    fn new(size: usize) -> Self {
        Self { current: 0, rests: vec![Rest::default(); size] }
    }

    fn choose(&mut self, now: Instant) -> usize {
        let size = self.rests.len();
        let ready = |i: &usize| self.rests[*i].until.is_none_or(|until| until <= now);
        let in_order = || (self.current..size).chain(0..self.current);
        let next = in_order().find(ready).or_else(|| in_order().min_by_key(|i| self.rests[*i].until));
        self.current = next.unwrap_or(self.current);
        self.current
    }

    fn succeeded(&mut self, index: usize) {
        self.rests[index] = Rest::default();
    }

    fn failed(&mut self, index: usize, now: Instant) {
        let rest = &mut self.rests[index];
        let length = FIRST_REST.saturating_mul(1 << rest.failures.min(8)).min(LONGEST_REST);
        *rest = Rest { failures: rest.failures.saturating_add(1), until: Some(now + length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_with_what_works_and_moves_on_in_order() {
        let (mut balance, start) = (Balance::new(3), Instant::now());
        assert_eq!([balance.choose(start), balance.choose(start)], [0, 0]);
        balance.failed(0, start);
        assert_eq!(balance.choose(start), 1);
        balance.failed(1, start);
        assert_eq!(balance.choose(start), 2);
        // 0 is rested again, but 2 works: nothing moves.
        assert_eq!(balance.choose(start + LONGEST_REST), 2);
        balance.failed(2, start + LONGEST_REST);
        assert_eq!(balance.choose(start + LONGEST_REST), 0);
    }

    #[test]
    fn with_all_resting_the_first_to_wake_is_used() {
        let (mut balance, start) = (Balance::new(2), Instant::now());
        balance.failed(0, start);
        balance.failed(0, start);
        balance.failed(1, start + Duration::from_millis(1));
        assert_eq!(balance.choose(start + Duration::from_millis(2)), 1);
    }

    #[test]
    fn rest_grows_to_a_bound_and_one_success_ends_it() {
        let (mut balance, start) = (Balance::new(2), Instant::now());
        for _ in 0..100 {
            balance.failed(0, start);
        }
        assert_eq!(balance.rests[0].until, Some(start + LONGEST_REST));
        assert_eq!(balance.choose(start), 1);
        balance.succeeded(0);
        balance.failed(1, start);
        assert_eq!(balance.choose(start), 0);
    }

    #[tokio::test]
    async fn addresses_are_checked_when_given() {
        let connecting = Connecting {
            connect: Duration::from_secs(1),
            probe_after: Duration::from_secs(6),
            probe_wait: Duration::from_secs(3),
        };
        let dialer = Dialer::new::<&str>(None, &[]).unwrap();
        let new = |urls: &[&str]| Endpoints::new(urls.iter().map(|u| (*u).to_owned()).collect(), &dialer, connecting);
        assert!(new(&["127.0.0.1:2379", "http://localhost:1"]).is_ok());
        for wrong in [&[][..], &["https://a:1"], &["http://"], &["not a url"]] {
            assert_eq!(new(wrong).map(|_| ()).map_err(|e| e.kind()), Err(ErrorKind::Invalid), "{wrong:?}");
        }
    }
}
