//! The watches of a node, to the rest of the node: apply tells it what happened, the Watch service
//! opens streams on it.

use super::catchup::Replay;
use super::outbox::Outbox;
use super::registry::{Create, Page, Registry};
use crate::follow::StateSource;
use crate::follow::history::{History, INLINE, PAGE};
use conclave_node::read_slots::ReadSlot;
use conclave_node::sink::ApplyObserver;
use conclave_state::Changes;
use conclave_state::view::Fault;
use conclave_storage::AppliedBatch;
use parking_lot::{Mutex, MutexGuard};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Between two progress notifications; up to a tenth is added at random.
    pub progress_interval: Duration,
    /// Responses queued for one stream, in bytes, before its watchers fall behind.
    pub buffer_bytes: usize,
    /// About how large a response may be: several revisions join up to here, and fragments are cut
    /// here.
    pub response_bytes: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        WatchConfig {
            progress_interval: Duration::from_secs(600),
            buffer_bytes: 1 << 20,
            response_bytes: (3 << 20) / 2,
        }
    }
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchStats {
    pub streams: usize,
    pub watchers: usize,
    /// Watchers that are reading history.
    pub behind: usize,
    /// Events handed to watchers since the start.
    pub delivered: u64,
}

/// The result of reading a page on the event loop.
pub(crate) enum CatchUp {
    /// Nobody is behind, or the queue has no room: then the task is called when it has.
    Nothing,
    Page,
    /// It is too much for there: ask for a [`ReadSlot`].
    Long,
}

struct Shared {
    config: WatchConfig,
    history: Arc<History>,
    registry: Mutex<Registry>,
}

#[derive(Clone)]
pub struct WatchHub {
    shared: Arc<Shared>,
}

impl WatchHub {
    /// Made before anything is applied, so that the hub's revision and the state's are one.
    pub fn new(history: Arc<History>, config: WatchConfig) -> Self {
        let registry = Mutex::new(Registry::new(history.source().bounds(), config.response_bytes));
        WatchHub { shared: Arc::new(Shared { config, history, registry }) }
    }

    /// Tells the watchers what a batch changed. Called in order, after the batch is in the state,
    /// which may already be newer; waits for nobody.
    pub fn observe(&self, changes: &Changes) {
        let wakers = self.registry().observe(changes, self.source());
        for waker in wakers {
            waker.wake();
        }
    }

    /// A snapshot replaced the state: every watcher goes on from where it was, by reading history.
    pub fn reset(&self) {
        self.registry().reset(self.source().bounds());
    }

    pub fn stats(&self) -> WatchStats {
        let registry = self.registry();
        let (streams, watchers, behind) = registry.counts();
        WatchStats { streams, watchers, behind, delivered: registry.delivered }
    }

    pub(crate) fn config(&self) -> &WatchConfig {
        &self.shared.config
    }

    fn source(&self) -> &dyn StateSource {
        self.shared.history.source()
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared.registry.lock()
    }

    pub(crate) fn create(&self, stream: usize, create: Create) {
        let current = self.source().bounds().current;
        self.registry().create(stream, create, current);
    }

    /// Reads a page for the watchers of `stream` that are behind, if it is a small one.
    pub(crate) fn catch_up(&self, stream: usize, outbox: &Outbox) -> Result<CatchUp, Fault> {
        let Some(replay) = self.replay(stream, outbox) else { return Ok(CatchUp::Nothing) };
        if replay.is_short()
            && let Some(page) = replay.read(self.source(), INLINE)?
        {
            self.accept(&replay, &page);
            return Ok(CatchUp::Page);
        }
        Ok(CatchUp::Long)
    }

    /// Waits for its turn to read beside the event loop.
    pub(crate) fn turn(&self) -> impl Future<Output = ReadSlot> + Send + 'static {
        self.shared.history.turn()
    }

    /// Reads a page of any size. False: there was none to read.
    ///
    /// Meanwhile the stream's task must not take watchers out.
    pub(crate) async fn catch_up_beside(&self, turn: ReadSlot, stream: usize, outbox: &Outbox) -> Result<bool, Fault> {
        let Some(replay) = self.replay(stream, outbox) else { return Ok(false) };
        let history = self.shared.history.clone();
        let result = turn.read(move || replay.read(history.source(), PAGE).map(|page| (replay, page))).await;
        let (replay, page) = result.map_err(|error| Fault::Read(format!("a catch-up read was lost: {error}")))??;
        if let Some(page) = page {
            self.accept(&replay, &page);
        }
        Ok(true)
    }

    fn replay(&self, stream: usize, outbox: &Outbox) -> Option<Replay> {
        if !outbox.is_low() {
            return None;
        }
        let (to, late) = self.registry().late(stream)?;
        Some(Replay { late, to, response_bytes: self.shared.config.response_bytes, room: outbox.limit() })
    }

    fn accept(&self, replay: &Replay, page: &Page) {
        let wakers = self.registry().accept(&replay.late, page);
        for waker in wakers {
            waker.wake();
        }
    }
}

impl ApplyObserver for WatchHub {
    fn applied(&self, batch: &mut AppliedBatch) {
        self.observe(&batch.changes);
    }

    fn reset(&self) {
        WatchHub::reset(self);
    }
}
