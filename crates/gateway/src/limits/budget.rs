//! What a connection or a user has left.

use super::bucket::Bucket;
use crate::metrics::LimitMetrics;
use conclave_node::config::{ClientLimits, Config};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Users that have a budget here; beyond, those that use nothing are forgotten.
const MOST_IDLE: usize = 1_024;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Requests,
    Bytes,
    Watchers,
    Leases,
    Waiting,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Requests, Kind::Bytes, Kind::Watchers, Kind::Leases, Kind::Waiting];

    fn limit(self, limits: &ClientLimits) -> Option<u64> {
        match self {
            Kind::Requests => limits.requests,
            Kind::Bytes => limits.bytes,
            Kind::Watchers => limits.watchers,
            Kind::Leases => limits.leases,
            Kind::Waiting => limits.waiting,
        }
    }

    /// As the settings call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Requests => "requests",
            Kind::Bytes => "bytes",
            Kind::Watchers => "watchers",
            Kind::Leases => "leases",
            Kind::Waiting => "waiting",
        }
    }
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Connection,
    User,
}

impl Of {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Of::Connection => "connection",
            Of::User => "user",
        }
    }
}

/// A limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    of: Of,
    kind: Kind,
    most: u64,
    /// After which there is something left, for rates.
    wait: Option<Duration>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exceeded { of, kind, most, wait } = self;
        let whose = of.word();
        let what = match kind {
            Kind::Requests => "requests a second",
            Kind::Bytes => "bytes a second",
            Kind::Watchers => "watchers",
            Kind::Leases => "leases",
            Kind::Waiting => "waiting calls",
        };
        let word = kind.word();
        write!(f, "this {whose} has used its {most} {what} ({whose}-limits, {word}={most}); ")?;
        match wait {
            Some(wait) => write!(f, "try again in {} ms", wait.as_millis() + 1),
            None => write!(f, "end some of them first"),
        }
    }
}

pub(crate) struct Budget {
    of: Of,
    limits: ClientLimits,
    begun: Instant,
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
    watchers: AtomicU64,
    leases: AtomicU64,
    waiting: AtomicU64,
    metrics: LimitMetrics,
}

impl Budget {
    fn new(of: Of, limits: ClientLimits, metrics: LimitMetrics) -> Arc<Budget> {
        Arc::new(Budget {
            of,
            limits,
            // So that the bucket's clock begins with 0.
            begun: Instant::now(),
            requests: limits.requests.map(Bucket::new),
            bytes: limits.bytes.map(Bucket::new),
            watchers: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            metrics,
        })
    }

    pub(crate) fn request(&self) -> Result<(), Exceeded> {
        self.spend(Kind::Requests, self.requests.as_ref(), self.limits.requests, 1)
    }

    pub(crate) fn bytes(&self, bytes: u64) -> Result<(), Exceeded> {
        self.spend(Kind::Bytes, self.bytes.as_ref(), self.limits.bytes, bytes)
    }

    /// Whether bytes are counted.
    pub(crate) fn counts_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    fn spend(&self, kind: Kind, bucket: Option<&Bucket>, most: Option<u64>, many: u64) -> Result<(), Exceeded> {
        let (Some(bucket), Some(most)) = (bucket, most) else { return Ok(()) };
        bucket.take(self.begun.elapsed(), many).map_err(|wait| self.exceeded(kind, most, Some(wait)))
    }

    #[cold]
    fn exceeded(&self, kind: Kind, most: u64, wait: Option<Duration>) -> Exceeded {
        self.metrics.refused(self.of.word(), kind.word());
        Exceeded { of: self.of, kind, most, wait }
    }

    fn held(&self, kind: Kind) -> Option<(&AtomicU64, Option<u64>)> {
        match kind {
            Kind::Watchers => Some((&self.watchers, self.limits.watchers)),
            Kind::Leases => Some((&self.leases, self.limits.leases)),
            Kind::Waiting => Some((&self.waiting, self.limits.waiting)),
            Kind::Requests | Kind::Bytes => None,
        }
    }

    fn add(&self, kind: Kind) -> Result<(), Exceeded> {
        let Some((held, most)) = self.held(kind) else { return Ok(()) };
        let most = most.unwrap_or(u64::MAX);
        let added = held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held < most).then(|| held + 1));
        added.map(drop).map_err(|_| self.exceeded(kind, most, None))
    }

    fn give_back(&self, kind: Kind, many: u64) {
        if let Some((held, _)) = self.held(kind) {
            held.fetch_sub(many, Ordering::AcqRel);
        }
    }
}

/// What is held of some budgets, until this is dropped.
pub(crate) struct Held {
    budgets: Vec<Arc<Budget>>,
    kind: Kind,
    number: u64,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn new(budgets: Vec<Arc<Budget>>, kind: Kind) -> Held {
        Held { budgets, kind, number: 0 }
    }

    /// One more: of all budgets or of none.
    pub(crate) fn add(&mut self) -> Result<(), Exceeded> {
        for (done, budget) in self.budgets.iter().enumerate() {
            if let Err(exceeded) = budget.add(self.kind) {
                self.budgets[..done].iter().for_each(|budget| budget.give_back(self.kind, 1));
                return Err(exceeded);
            }
        }
        self.number += 1;
        Ok(())
    }

    /// No more than that many are there still.
    pub(crate) fn shrink_to(&mut self, number: u64) {
        let gone = self.number.saturating_sub(number);
        if gone > 0 {
            self.budgets.iter().for_each(|budget| budget.give_back(self.kind, gone));
            self.number = number;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Where budgets come from. Cheap to clone; limits nothing by default.
#[derive(Clone, Default)]
pub(crate) struct Limits(Option<Arc<Inner>>);

struct Inner {
    connection: ClientLimits,
    user: ClientLimits,
    users: Mutex<HashMap<Arc<str>, Arc<Budget>>>,
    metrics: LimitMetrics,
}

impl Limits {
    pub(crate) fn new(config: &Config, metrics: &LimitMetrics) -> Limits {
        let (connection, user) = (config.connection_limits, config.user_limits);
        let any = connection.is_any() || user.is_any();
        for (of, limits) in [(Of::Connection, connection), (Of::User, user)] {
            for kind in Kind::ALL.into_iter().filter(|kind| kind.limit(&limits).is_some()) {
                metrics.begin(of.word(), kind.word());
            }
        }
        Limits(any.then(|| Arc::new(Inner { connection, user, users: Mutex::default(), metrics: metrics.clone() })))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Of a new connection.
    pub(crate) fn connection(&self) -> Option<Arc<Budget>> {
        let inner = self.0.as_ref().filter(|inner| inner.connection.is_any())?;
        Some(Budget::new(Of::Connection, inner.connection, inner.metrics.clone()))
    }

    /// Of a user that has logged in.
    pub(crate) fn user(&self, name: &str) -> Option<Arc<Budget>> {
        let inner = self.0.as_ref().filter(|inner| inner.user.is_any())?;
        let mut users = inner.users.lock();
        if let Some(budget) = users.get(name) {
            return Some(budget.clone());
        }
        if users.len() >= MOST_IDLE {
            // A budget that nobody uses for a second is full.
            users.retain(|_, budget| Arc::strong_count(budget) > 1);
        }
        let budget = Budget::new(Of::User, inner.user, inner.metrics.clone());
        users.insert(name.into(), budget.clone());
        Some(budget)
    }
}

#[cfg(test)]
pub(super) fn budget(limits: ClientLimits) -> Arc<Budget> {
    Budget::new(Of::Connection, limits, LimitMetrics::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_refused_with_its_name_and_when_to_come_back() {
        let budget = budget(ClientLimits { requests: Some(2), ..ClientLimits::default() });
        assert!(budget.request().is_ok() && budget.request().is_ok());
        let exceeded = budget.request().expect_err("the third within a second");
        assert_eq!(
            exceeded.to_string(),
            "this connection has used its 2 requests a second (connection-limits, requests=2); try again in 501 ms"
        );
        assert!(budget.bytes(1 << 40).is_ok() && !budget.counts_bytes(), "it is not limited");
        tokio::time::advance(Duration::from_millis(501)).await;
        assert!(budget.request().is_ok());
    }

    #[tokio::test]
    async fn what_is_held_is_of_all_budgets_or_of_none_and_comes_back() {
        let one = budget(ClientLimits { watchers: Some(3), ..ClientLimits::default() });
        let other = budget(ClientLimits { watchers: Some(2), ..ClientLimits::default() });
        let mut held = Held::new(vec![one.clone(), other.clone()], Kind::Watchers);
        assert!(held.add().is_ok() && held.add().is_ok());
        let exceeded = held.add().expect_err("the other has two");
        assert!(exceeded.to_string().contains("watchers=2"), "{exceeded}");
        let count = || (one.watchers.load(Ordering::Acquire), other.watchers.load(Ordering::Acquire));
        assert_eq!(count(), (2, 2));
        held.shrink_to(1);
        assert_eq!(count(), (1, 1));
        held.shrink_to(5);
        drop(held);
        assert_eq!(count(), (0, 0));
    }
}
