//! The time of a claim that is kept: it runs out by the clock, and goes on with each extension.
//!
//! 1. The clock's task needs no network: it tells of the end when that comes.

use super::tenancy::{Promise, Tenancy};
use crate::{
    LostReason,
    clock::{Clock, Moment},
};
use futures::future::BoxFuture;
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Shared by the guard, its tasks, and what tells of its [validity](crate::Validity).
#[derive(Clone)]
pub(crate) struct Kept(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    tenancy: Mutex<Tenancy>,
    over: watch::Sender<Option<LostReason>>,
    /// It is being given up, so what the cluster says of its end is no news.
    leaving: AtomicBool,
}

impl Kept {
    pub(super) fn new(clock: Arc<dyn Clock>, promise: Promise) -> Self {
        let tenancy = Mutex::new(Tenancy::new(promise));
        Self(Arc::new(Shared { clock, tenancy, over: watch::Sender::new(None), leaving: AtomicBool::new(false) }))
    }

    pub(crate) fn until(&self) -> Moment {
        self.tenancy().until()
    }

    pub(crate) fn remaining(&self) -> Duration {
        if self.refresh().is_some() { Duration::ZERO } else { self.until().since(self.0.clock.now()) }
    }

    /// Ends when no more than this part of the duration is left, or it is over.
    pub(crate) async fn down_to(&self, part: u32) {
        tokio::select! {
            _ = self.lost() => {}
            () = self.runs_down_to(part) => {}
        }
    }

    async fn runs_down_to(&self, part: u32) {
        loop {
            let now = self.0.clock.now();
            let (until, margin) = {
                let tenancy = self.tenancy();
                (tenancy.until(), tenancy.term() / part)
            };
            let left = until.since(now);
            if left <= margin {
                return;
            }
            self.0.clock.sleep_until(now + (left - margin)).await;
        }
    }

    /// Sleeps by the clock that it is kept by.
    pub(super) async fn sleep(&self, time: Duration) {
        self.0.clock.sleep_until(self.0.clock.now() + time).await;
    }

    pub(super) fn is_over_by_time(&self) -> bool {
        self.0.clock.now() >= self.until()
    }

    /// The cluster has answered an extension.
    pub(super) fn extended(&self, promise: Promise) {
        self.tenancy().extended(promise, self.0.clock.now());
    }

    /// It is given up from here on.
    pub(super) fn leave(&self) {
        self.0.leaving.store(true, Ordering::SeqCst);
    }

    pub(super) fn end(&self, reason: LostReason) {
        let reason = if self.0.leaving.load(Ordering::SeqCst) { LostReason::Released } else { reason };
        self.tenancy().end(reason, self.0.clock.now());
        self.refresh();
    }

    /// Looks at the clock, and tells everybody if it is over.
    pub(super) fn refresh(&self) -> Option<LostReason> {
        let lost = self.tenancy().state(self.0.clock.now());
        self.0.over.send_if_modified(|known| {
            known.is_none() && {
                *known = lost;
                lost.is_some()
            }
        });
        lost
    }

    pub(super) async fn follow_clock(&self) {
        while self.refresh().is_none() {
            let until = self.until();
            self.0.clock.sleep_until(until).await;
        }
    }

    pub(super) fn lost(&self) -> BoxFuture<'static, LostReason> {
        self.refresh();
        let mut over = self.0.over.subscribe();
        Box::pin(async move {
            match over.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(reason)) => *reason,
                // The guard was dropped: it has released the claim.
                _ => LostReason::Released,
            }
        })
    }

    fn tenancy(&self) -> MutexGuard<'_, Tenancy> {
        // Every change of it is complete in itself.
        self.0.tenancy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&*self.tenancy()).finish()
    }
}
