//! Bounds the number of open connections, and closes idle ones to make room.
//!
//! A connection costs a file descriptor, and the databases need theirs: a log that cannot open its
//! next file ends the process. So each kind of port has a limit (`descriptors` in the crate node
//! computes it).
//!
//! 1. At the limit, the connection that has been idle for longest is closed. If all are in use, the
//!    new one is closed. Accepting never stops.
//! 2. A new connection is admitted only after the closed one is gone, so the limit is never
//!    exceeded.
//! 3. A connection is in use while it has a request under way, or if it comes from a peer that has
//!    identified itself. All others are idle.
//! 4. A connection that does not send its first request in time is closed ([`FIRST_WORDS`]): one
//!    that sends nothing, or half a preface.

use crate::source::Source;
use crate::throttle::Throttle;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept, which mostly means that no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Timeout for the first bytes, which say what a connection is for.
pub const FIRST_WORDS: Duration = Duration::from_secs(10);
/// Timeout for a connection that must close. It closes when its task runs next.
const ROOM: Duration = Duration::from_secs(1);

/// The connections of one kind of port.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    /// For logs.
    name: &'static str,
    capacity: usize,
    open: Mutex<Open>,
    released: Notify,
    refused: AtomicU64,
    log: Throttle,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Default)]
struct Connection {
    evicted: CancellationToken,
    /// Whether the first bytes have come.
    spoken: AtomicBool,
    activity: Activity,
}

/// The activity of one connection.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    running: AtomicUsize,
    /// When the last request ended or the connection began, as a number from [`later`].
    idle_since: AtomicU64,
}

/// A logical clock: only the order of its numbers means anything.
fn later() -> u64 {
    static EVENTS: AtomicU64 = AtomicU64::new(0);
    EVENTS.fetch_add(1, Ordering::Relaxed)
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { running: AtomicUsize::new(0), idle_since: AtomicU64::new(later()) }
    }
}

/// Marks the connection as in use until dropped.
#[derive(Debug)]
pub struct Busy(Activity);

impl Activity {
    pub fn begin(&self) -> Busy {
        self.keep();
        Busy(self.clone())
    }

    /// From here on the connection is always in use.
    pub fn keep(&self) {
        self.0.running.fetch_add(1, Ordering::Relaxed);
    }

    /// `None` if it is in use.
    fn idle_since(&self) -> Option<u64> {
        let idle = self.0.running.load(Ordering::Relaxed) == 0;
        idle.then(|| self.0.idle_since.load(Ordering::Relaxed))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.0.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.0.idle_since.store(later(), Ordering::Relaxed);
        }
    }
}

impl Pool {
    pub fn new(name: &'static str, capacity: usize) -> Pool {
        Pool(Arc::new(Inner {
            name,
            capacity,
            open: Mutex::default(),
            released: Notify::new(),
            refused: AtomicU64::new(0),
            log: Throttle::default(),
        }))
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.0.open.lock().connections.len()
    }

    /// The number of connections closed or refused because of the limit.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Accepts the next connection for which there is room. Never fails; errors of accept are
    /// retried.
    pub async fn accept<S: Source>(&self, listener: &S) -> (S::Stream, Place) {
        loop {
            match listener.next().await {
                Ok(stream) => {
                    if let Some(place) = self.admit().await {
                        return (stream, place);
                    }
                }
                // Mostly a lack of file descriptors. Closing an idle connection frees some.
                Err(error) => {
                    self.make_room();
                    self.log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A slot for one more connection, if one is free or can be freed.
    async fn admit(&self) -> Option<Place> {
        let taken = self.take();
        if taken.is_some() {
            return taken;
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        self.log(format_args!("{} connections are open, as many as there may be", self.0.capacity));
        let made = async {
            loop {
                // Registered before the check, so that a slot released meanwhile is not missed.
                let released = self.0.released.notified();
                let taken = self.take();
                if taken.is_some() || !self.make_room() {
                    return taken;
                }
                released.await;
            }
        };
        tokio::time::timeout(ROOM, made).await.ok().flatten()
    }

    fn take(&self) -> Option<Place> {
        let mut open = self.0.open.lock();
        if open.connections.len() >= self.0.capacity {
            return None;
        }
        let (number, connection) = (open.next, Arc::<Connection>::default());
        open.next += 1;
        open.connections.insert(number, connection.clone());
        Some(Place { pool: self.clone(), number, connection })
    }

    /// Closes the connection that has been idle for longest. Returns whether a connection is
    /// closing.
    fn make_room(&self) -> bool {
        let open = self.0.open.lock();
        if open.connections.values().any(|connection| connection.evicted.is_cancelled()) {
            return true;
        }
        let idle = open.connections.values().filter_map(|c| Some((c.activity.idle_since()?, c)));
        let oldest = idle.min_by_key(|(since, _)| *since);
        if let Some((_, connection)) = oldest {
            connection.evicted.cancel();
        }
        oldest.is_some()
    }

    fn log(&self, what: std::fmt::Arguments<'_>) {
        if let Some(suppressed) = self.0.log.admit() {
            tracing::warn!(port = self.0.name, suppressed, "{what}");
        }
    }
}

/// The slot of an open connection, released on drop.
pub struct Place {
    pool: Pool,
    number: u64,
    connection: Arc<Connection>,
}

impl Place {
    pub fn activity(&self) -> &Activity {
        &self.connection.activity
    }

    /// Returns when the connection must close: to make room, or because its first bytes have not
    /// come in time.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move {
            let in_time = tokio::time::timeout(FIRST_WORDS, connection.evicted.cancelled()).await;
            if in_time.is_err() && connection.spoken.load(Ordering::Relaxed) {
                connection.evicted.cancelled().await;
            }
        }
    }

    /// Returns the handle that marks the first bytes as received.
    pub fn spoken(&self) -> Spoken {
        Spoken(self.connection.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.0.open.lock().connections.remove(&self.number);
        self.pool.0.released.notify_waiters();
    }
}

/// Marks that a connection has sent its first bytes.
pub struct Spoken(Arc<Connection>);

impl Spoken {
    pub fn note(&self) {
        self.0.spoken.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
