//! Which incarnation of each member has been started: kept for the others, durably, the first one wins.
//!
//! A member whose data directory was lost would come back without its vote and its acknowledged entries, under its old id. It
//! has to ask the others before it starts, and they know better.

use super::LogStore;
use super::disk::{LogDisk, Slot};
use crate::codec::{self, Registration};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

#[derive(Clone)]
pub struct Registry {
    log: LogStore,
    known: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Registry {
    pub(crate) fn load(disk: &dyn LogDisk, log: LogStore) -> io::Result<Registry> {
        let mut known = BTreeMap::new();
        for (member, record) in disk.registered()? {
            let row: Registration = codec::unseal(&record)?;
            known.insert(member, row.incarnation);
        }
        Ok(Registry { log, known: Arc::new(Mutex::new(known)) })
    }

    /// Whether this incarnation holds the id: the first that asks gets it, durably before the answer. Blocks for one sync the
    /// first time (a member starts rarely).
    pub fn register(&self, member_id: u64, incarnation: u64) -> io::Result<bool> {
        // Held during the write: two incarnations that ask at once are answered one after the other.
        let mut known = self.known.lock();
        if let Some(holder) = known.get(&member_id) {
            return Ok(*holder == incarnation);
        }
        self.log.set_blocking(Slot::Registered(member_id), codec::seal(&Registration { incarnation }))?;
        known.insert(member_id, incarnation);
        Ok(true)
    }

    /// The incarnation that holds an id.
    pub fn holder(&self, member_id: u64) -> Option<u64> {
        self.known.lock().get(&member_id).copied()
    }
}
