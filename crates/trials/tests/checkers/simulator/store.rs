//! The store: keys with their versions, and every revision that there was.

use super::{MS, Sim};
use conclave_trials::history::{Change, Fact, Kv, Revision};
use std::collections::{BTreeMap, HashMap};

pub(super) struct Store {
    pub(super) revision: i64,
    pub(super) keys: BTreeMap<String, Kv>,
    pub(super) history: Vec<(i64, Vec<Change>)>,
    /// When each lease was last renewed, and its time in milliseconds.
    pub(super) leases: HashMap<i64, (u64, u64)>,
}

impl Default for Store {
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new(), history: Vec::new(), leases: HashMap::new() }
    }
}

pub(super) type Edit = (String, Option<String>, i64);

impl Store {
    pub(super) fn get(&self, key: &str) -> Vec<Kv> {
        self.keys.get(key).cloned().into_iter().collect()
    }

    pub(super) fn modified(&self, key: &str) -> i64 {
        self.keys.get(key).map_or(0, |kv| kv.modified)
    }

    pub(super) fn under(&self, prefix: &str) -> Vec<Kv> {
        self.keys.values().filter(|kv| kv.key.starts_with(prefix)).cloned().collect()
    }

    /// The oldest key with a prefix.
    pub(super) fn oldest(&self, prefix: &str) -> Option<&Kv> {
        self.keys.values().filter(|kv| kv.key.starts_with(prefix)).min_by_key(|kv| kv.create)
    }
}

impl Sim {
    /// One revision with these changes, told by two members a little later. Returns it.
    pub(super) fn commit(&mut self, edits: Vec<Edit>) -> i64 {
        self.store.revision += 1;
        let revision = self.store.revision;
        let mut changes = Vec::new();
        for (key, value, lease) in edits {
            let prev = self.store.keys.get(&key).cloned();
            let mut change =
                Change { key: key.clone(), modified: revision, lease, prev: prev.clone(), ..Change::default() };
            if let Some(value) = value {
                let create = prev.as_ref().map_or(revision, |kv| kv.create);
                let version = prev.as_ref().map_or(1, |kv| kv.version + 1);
                let kv = Kv { key: key.clone(), value: value.clone(), create, modified: revision, version, lease };
                self.store.keys.insert(key, kv);
                change = Change { value: Some(value), create, version, ..change };
            } else {
                self.store.keys.remove(&key);
                change.lease = 0;
            }
            changes.push(change);
        }
        self.store.history.push((revision, changes.clone()));
        for (source, slow) in [("watch n1", 2), ("watch n2", 30)] {
            let told = Revision { source: source.into(), revision, changes: changes.clone() };
            let delay = self.random(slow * MS) + 1;
            self.after(delay, move |sim| sim.fact(None, Fact::Revision(told)));
        }
        self.after(0, Sim::grant_etcd);
        revision
    }
}
