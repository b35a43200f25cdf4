//! What the handles of a session share: its lifetime, and who is told when that changes.

use super::{LostReason, SessionState, lifetime::Lifetime, wire::Wire};
use crate::{
    Client,
    clock::{Clock, Moment},
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    runtime::Handle as Runtime,
    sync::{Semaphore, watch},
};

#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) lease: i64,
    pub(super) wire: Wire,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runtime: Runtime,
    pub(super) life: Mutex<Lifetime>,
    pub(super) state: watch::Sender<SessionState>,
    /// Queue keys that this session uses; see [`Session::reserve`].
    pub(super) keys: Mutex<HashMap<Bytes, Weak<Semaphore>>>,
}

impl Shared {
    pub(super) fn life(&self) -> MutexGuard<'_, Lifetime> {
        lock(&self.life)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.life().ttl()
    }

    pub(super) fn renewal(&self) -> Moment {
        self.life().renewal()
    }

    pub(super) fn renewed(&self, sent: Moment, ttl: Duration) {
        self.life().renewed(sent, ttl, self.clock.now());
        self.refresh();
    }

    pub(super) fn end(&self, reason: LostReason) {
        self.life().end(reason, self.clock.now());
        self.refresh();
    }

    /// Looks at the clock, and tells everybody if the state has changed.
    pub(super) fn refresh(&self) -> SessionState {
        // Published under the lock of what it is derived from, so that states are told in order.
        let mut life = self.life();
        let state = life.state(self.clock.now());
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
        state
    }

    /// When time changes the state next; `None` once it is lost.
    pub(super) fn next_change(&self) -> Option<Moment> {
        if matches!(self.refresh(), SessionState::Lost(_)) {
            return None;
        }
        Some(self.life().next_change(self.clock.now()))
    }

    pub(super) async fn lost(&self) -> LostReason {
        let mut states = self.state.subscribe();
        let lost = states.wait_for(|state| matches!(state, SessionState::Lost(_))).await;
        match lost.as_deref() {
            Ok(SessionState::Lost(reason)) => *reason,
            // The sender is in `self`, and `wait_for` waits for this variant.
            _ => LostReason::Closed,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.0);
        let open = !matches!(shared.refresh(), SessionState::Lost(_));
        shared.end(LostReason::Closed);
        if open {
            self.0.runtime.spawn(async move {
                if let Err(error) = shared.client.revoke(shared.lease).await {
                    tracing::debug!(lease = shared.lease, %error, "the lease of a dropped session is left to its TTL");
                }
            });
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("lease", &self.lease).field("life", &*self.life()).finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
