//! The keys of queues that a session uses, one caller of this process at a time.

use super::{Session, shared::lock};
use bytes::Bytes;
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

impl Session {
    /// Waits until no other part of this process uses this key of this session. A lease has one
    /// place in each queue, so only one caller at a time may take it and give it back.
    pub(crate) async fn reserve(&self, key: &Bytes) -> Reservation {
        let permit = self.slot(key).acquire_owned().await.expect("it is never closed");
        Reservation { _permit: permit }
    }

    /// The same without waiting.
    pub(crate) fn try_reserve(&self, key: &Bytes) -> Option<Reservation> {
        self.slot(key).try_acquire_owned().ok().map(|permit| Reservation { _permit: permit })
    }

    fn slot(&self, key: &Bytes) -> Arc<Semaphore> {
        let mut keys = lock(&self.shared().keys);
        keys.retain(|_, slot| slot.strong_count() > 0);
        let slot = keys.get(key).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Semaphore::new(1)));
        keys.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

/// The exclusive use of one key within one session.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Holds on to its semaphore, too.
    _permit: OwnedSemaphorePermit,
}
