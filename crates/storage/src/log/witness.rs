//! Remembers what the other members have acknowledged to this one, so that a member whose directory
//! is an older copy of itself can be detected.
//!
//! A leader learns with each reply how far a follower's log is durable. A follower knows its
//! leader, and a leader has voted for itself. Both facts bind the member from then on: its vote is
//! of that term or a later one, and within that term its log does not end before what it
//! acknowledged. (In a later term it may: the new leader can have replaced uncommitted entries.)
//!
//! ```text
//! member 2 acknowledged (term 5, index 100) to member 1
//! member 2 restarts with (term 5, index  80)             behind: it lost 20 entries
//! member 2 restarts with (term 6, index  80)             possible: entries were replaced
//! ```
//!
//! 1. Every claim here was true at some time, so it never accuses a sound member. A member that was
//!    rolled back itself merely knows less.
//! 2. Claims are exact in memory and lag on disk, because they are stored periodically and not with
//!    each reply.

use super::LogStore;
use super::disk::Slot;
use super::position::{Acknowledged, LogPosition};
use crate::codec::{self, AcknowledgedRecord};
use crate::state::StateHandle;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

#[derive(Clone)]
pub struct Witness {
    log: LogStore,
    state: StateHandle,
    known: Arc<Mutex<BTreeMap<u64, Known>>>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    now: Acknowledged,
    stored: Acknowledged,
}

impl Witness {
    pub(crate) fn new(log: LogStore, state: StateHandle) -> Witness {
        Witness { log, state, known: Arc::default() }
    }

    /// This member's own position. It covers everything that the member has acknowledged.
    pub fn position(&self) -> LogPosition {
        let LogPosition { term, index } = self.log.position();
        // After a snapshot is installed, the log may not be purged up to it yet.
        LogPosition { term, index: index.max(self.state.applied_index()) }
    }

    /// Records an acknowledgement in memory. A higher one that is known already stays.
    pub fn note(&self, member: u64, acknowledged: Acknowledged) {
        let mut known = self.known.lock();
        let now = &mut known.entry(member).or_default().now;
        *now = acknowledged.max(*now);
    }

    /// The acknowledgement noted since the start of the process.
    pub fn noted(&self, member: u64) -> Option<Acknowledged> {
        self.known.lock().get(&member).map(|known| known.now)
    }

    /// The highest known acknowledgement, also from before the start. Reads the disk.
    pub fn acknowledged(&self, member: u64) -> io::Result<Option<Acknowledged>> {
        let stored = self.log.slot(Slot::Acknowledged(member))?;
        let stored = stored.map(|record| codec::unseal::<AcknowledgedRecord>(&record)).transpose()?;
        Ok(stored.map(Acknowledged::from).max(self.noted(member)))
    }

    /// Stores new acknowledgements with one sync. Blocks.
    pub fn store(&self) -> io::Result<()> {
        let new: Vec<(u64, Acknowledged)> =
            self.known.lock().iter().filter(|(_, k)| k.now > k.stored).map(|(id, k)| (*id, k.now)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(new.len());
        for (member, noted) in &new {
            // The stored record, from before the start, may be higher.
            let known = self.acknowledged(*member)?.unwrap_or_default().max(*noted);
            records.push((Slot::Acknowledged(*member), codec::seal(&AcknowledgedRecord::from(known))));
        }
        self.log.set_all_blocking(records)?;
        let mut known = self.known.lock();
        for (member, noted) in new {
            known.entry(member).or_default().stored = noted;
        }
        Ok(())
    }
}

impl From<Acknowledged> for AcknowledgedRecord {
    fn from(Acknowledged { term, index }: Acknowledged) -> Self {
        AcknowledgedRecord { term, index }
    }
}

impl From<AcknowledgedRecord> for Acknowledged {
    fn from(AcknowledgedRecord { term, index }: AcknowledgedRecord) -> Self {
        Acknowledged { term, index }
    }
}
