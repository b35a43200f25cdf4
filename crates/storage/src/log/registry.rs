//! The incarnation of each member, registered durably with the other members; the first one wins.
//!
//! A member that lost its data directory would come back under its old id without its vote and its
//! acknowledged entries. It has to register with the others before it starts, and they refuse it.

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

    /// Whether this incarnation holds the id. The first incarnation gets the id, durably before
    /// this returns. The first call for an id blocks for one sync.
    pub fn register(&self, member_id: u64, incarnation: u64) -> io::Result<bool> {
        // Held during the write, so that two incarnations cannot both become the first.
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
