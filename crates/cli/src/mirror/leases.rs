//! The leases of the source, at the destination under the same ids.
//!
//! 1. A lease is granted with the TTL that it has at the source, when the first key with it is
//!    written.
//! 2. The mirror keeps it alive for as long as it lives at the source. There it ends, and the
//!    deletions of its keys come as any others.
//! 3. When the mirror ends, each lease has its whole TTL, in which its client has to come and keep
//!    it alive.

use super::changes::{Change, Keyed};
use super::side::Side;
use conclave_client::{Error, ErrorKind};
use futures::StreamExt as _;
use futures::stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Calls at the same time.
const AT_ONCE: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Carried {
    ttl: Duration,
    due: Instant,
    /// The mirror's own, which the source does not know.
    own: bool,
}

/// What was granted at the destination.
#[derive(Debug)]
pub(crate) struct Leases {
    source: Side,
    destination: Side,
    carried: Mutex<BTreeMap<i64, Carried>>,
    /// A lease was lost at the destination, and its keys with it.
    pub(super) lost: Notify,
}

impl Leases {
    pub(crate) fn new(source: &Side, destination: &Side) -> Self {
        let (source, destination) = (source.clone(), destination.clone());
        Self { source, destination, carried: Mutex::default(), lost: Notify::new() }
    }

    /// Leases of the source that are carried now.
    pub(crate) fn count(&self) -> usize {
        self.locked().values().filter(|carried| !carried.own).count()
    }

    /// The lease at the destination; 0 if the source's has ended: the deletion of its keys is on
    /// its way.
    pub(super) fn of(&self, id: i64) -> i64 {
        if self.locked().contains_key(&id) { id } else { 0 }
    }

    /// As if it had been granted.
    #[cfg(test)]
    pub(super) fn assume(&self, id: i64) {
        self.locked().insert(id, Carried { ttl: Duration::ZERO, due: Instant::now(), own: false });
    }

    /// Grants the mirror's own.
    pub(super) async fn own(&self, id: i64, ttl: Duration) -> Result<(), Error> {
        self.grant(id, ttl, true).await
    }

    /// Grants what these changes need.
    pub(super) async fn ensure(&self, changes: &[Keyed]) -> Result<(), (Side, Error)> {
        let needed: BTreeSet<i64> = changes.iter().filter_map(|(_, change)| lease_of(change)).collect();
        let missing: Vec<i64> = needed.into_iter().filter(|id| self.of(*id) == 0).collect();
        let mut granting = stream::iter(missing).map(|id| self.carry(id)).buffer_unordered(AT_ONCE);
        while let Some(granted) = granting.next().await {
            granted?;
        }
        Ok(())
    }

    /// These are not there any more.
    pub(super) fn forget(&self, changes: &[Keyed]) {
        let mut carried = self.locked();
        for id in changes.iter().filter_map(|(_, change)| lease_of(change)) {
            carried.remove(&id);
        }
    }

    async fn carry(&self, id: i64) -> Result<(), (Side, Error)> {
        match self.source.patiently(async |client| client.lease_info(id, false).await).await {
            Ok(lease) => {
                let granted = self.grant(id, lease.granted, false).await;
                granted.map_err(|error| (self.destination.clone(), error))
            }
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(()),
            Err(error) => Err((self.source.clone(), error)),
        }
    }

    async fn grant(&self, id: i64, ttl: Duration, own: bool) -> Result<(), Error> {
        loop {
            match self.destination.patiently(async |client| client.grant(ttl, id).await).await {
                Ok(_) => break,
                // Of an earlier run, or of an attempt of this one: with how much time left is not
                // known.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    match self.destination.patiently(async |client| client.keep_alive_once(id).await).await {
                        Ok(_) => break,
                        Err(error) if error.kind() == ErrorKind::LeaseNotFound => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.locked().insert(id, Carried { ttl, due: Instant::now() + ttl / 3, own });
        Ok(())
    }

    /// Keeps alive what lives at the source; never returns.
    pub(super) async fn keep(&self) {
        loop {
            sleep(LOOK).await;
            self.drop_ended().await;
            let now = Instant::now();
            let due: Vec<i64> = self.locked().iter().filter(|(_, c)| c.due <= now).map(|(id, _)| *id).collect();
            self.renew(due).await;
        }
    }

    /// Gives every lease its whole TTL.
    pub(super) async fn renew_all(&self) {
        let all = self.locked().keys().copied().collect();
        self.renew(all).await;
    }

    async fn renew(&self, ids: Vec<i64>) {
        let mut renewing = stream::iter(ids)
            .map(|id| async move { (id, Instant::now(), self.destination.client.keep_alive_once(id).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((id, asked, renewed)) = renewing.next().await {
            match renewed {
                Ok(_) => {
                    if let Some(carried) = self.locked().get_mut(&id) {
                        carried.due = asked + carried.ttl / 3;
                    }
                }
                Err(error) if error.kind() == ErrorKind::LeaseNotFound => {
                    // Without the mirror's own lease the next step fails, and takes the mark again.
                    if self.locked().remove(&id).is_some_and(|carried| !carried.own) {
                        self.lost.notify_one();
                    }
                }
                // It stays due.
                Err(_) => {}
            }
        }
    }

    /// Leases that the source has no more are left to run out: the deletions of their keys come
    /// before.
    async fn drop_ended(&self) {
        let known: Vec<i64> = self.locked().iter().filter(|(_, c)| !c.own).map(|(id, _)| *id).collect();
        if known.is_empty() {
            return;
        }
        let Ok(living) = self.source.client.leases().await else { return };
        let living: BTreeSet<i64> = living.into_iter().collect();
        for id in known.into_iter().filter(|id| !living.contains(id)) {
            // A member that is behind lists less than there is.
            let asked = self.source.client.lease_info(id, false).await;
            if asked.is_err_and(|error| error.kind() == ErrorKind::LeaseNotFound) {
                self.locked().remove(&id);
            }
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, Carried>> {
        self.carried.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn lease_of(change: &Change) -> Option<i64> {
    match change {
        Change::Put { lease, .. } if *lease != 0 => Some(*lease),
        _ => None,
    }
}
