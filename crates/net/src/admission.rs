//! How many connections there are, and which of them make room for others.
//!
//! A connection costs a file descriptor, and the databases need theirs: a log that cannot open its next file ends the process. So each
//! port may take so many connections and no more ([`crate::descriptors`] says how many).
//!
//! 1. When there is no room, the connection that has been idle for longest is closed; if all are in use, the new one is. Accepting goes
//!    on in any case.
//! 2. A new connection is admitted only after the one that makes room is gone: the number is never exceeded.
//! 3. A connection in use has a request under way, or comes from a peer that has said who it is. All others are idle.
//! 4. A connection that does not come to its first request in time is closed ([`FIRST_WORDS`]): one that sends nothing, or half a
//!    preface.

use crate::throttle::Throttle;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After a connection could not be accepted, mostly because no file descriptor is free: one may be
/// released meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the first bytes that say what a connection is for.
pub const FIRST_WORDS: Duration = Duration::from_secs(10);
/// For a connection that was told to go. It goes when its task runs next.
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
    /// Its first words have come.
    spoken: AtomicBool,
    activity: Activity,
}

/// What is under way on one connection.
#[derive(Clone, Default)]
pub struct Activity(Arc<Counts>);

struct Counts {
    running: AtomicUsize,
    /// When the last request ended, or the connection began, as a number of [`later`].
    idle_since: AtomicU64,
}

/// A clock that tells the order of events and nothing else.
fn later() -> u64 {
    static EVENTS: AtomicU64 = AtomicU64::new(0);
    EVENTS.fetch_add(1, Ordering::Relaxed)
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { running: AtomicUsize::new(0), idle_since: AtomicU64::new(later()) }
    }
}

/// Something is under way, until this is dropped.
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

    /// `None`: it is in use.
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

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.open.lock().connections.len()
    }

    /// How many were closed or not taken for want of room.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// The next connection for which there is room. Never fails: what cannot be accepted now can be later.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, Place) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(place) = self.admit().await {
                        return (stream, place);
                    }
                }
                // Out of file descriptors, mostly: of these, some can be had.
                Err(error) => {
                    self.make_room();
                    self.log(format_args!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection, if there is one or can be made.
    async fn admit(&self) -> Option<Place> {
        let taken = self.take();
        if taken.is_some() {
            return taken;
        }
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        self.log(format_args!("{} connections are open, as many as there may be", self.0.capacity));
        let made = async {
            loop {
                // Registered before looking: a place that is given back meanwhile is not missed.
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

    /// Tells the connection to go that has been idle for longest; whether one is going.
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

/// The right to be open, given back when it is dropped.
pub struct Place {
    pool: Pool,
    number: u64,
    connection: Arc<Connection>,
}

impl Place {
    pub fn activity(&self) -> &Activity {
        &self.connection.activity
    }

    /// Returns when the connection is to be closed: to make room, or since its first words have not come in time.
    pub fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move {
            let in_time = tokio::time::timeout(FIRST_WORDS, connection.evicted.cancelled()).await;
            if in_time.is_err() && connection.spoken.load(Ordering::Relaxed) {
                connection.evicted.cancelled().await;
            }
        }
    }

    /// Its first words have come.
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

/// Where it is noted that a connection has said what it is for.
pub struct Spoken(Arc<Connection>);

impl Spoken {
    pub fn note(&self) {
        self.0.spoken.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
