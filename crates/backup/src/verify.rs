//! Whether the contents of a snapshot can be a state: the invariants of history, leases and
//! Conclave's own bucket.

use crate::read::{Snapshot, SnapshotError, decode, fingerprint};
use crate::schema::{self, Lease, Revision, Version};
use crate::users;
use conclave_bolt::Source;
use conclave_state::auth::ROOT;
use conclave_state::{coord, import};
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub revision: i64,
    /// -1: nothing was compacted.
    pub compacted: i64,
    pub living_keys: usize,
    pub versions: u64,
    pub leases: usize,
    /// Rows of elections, locks and claims.
    pub coordination: u64,
    /// Conclave made it.
    pub conclave: bool,
    pub users: u64,
    pub roles: u64,
    /// Users are checked.
    pub auth_enabled: bool,
    /// 0: the file has none.
    pub auth_revision: u64,
}

/// What is known of a living key.
struct Living {
    create_revision: i64,
    version: i64,
    lease: i64,
}

#[derive(Default)]
struct Check {
    counts: Counts,
    living: HashMap<[u8; 16], Living>,
    /// TTLs in milliseconds that the bucket of Conclave names.
    ttls: BTreeMap<u64, u64>,
    /// Keys that a Lock made.
    locks: Vec<[u8; 16]>,
    /// TTLs in seconds.
    leases: BTreeMap<u64, i64>,
    /// Names of roles; their bucket stands before that of the users.
    roles: HashSet<[u8; 16]>,
    /// The user root, if it has the role root.
    has_root: bool,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, SnapshotError> {
    Err(SnapshotError::Contents(text.into()))
}

impl<S: Source> Snapshot<S> {
    /// Reads everything, and finds out whether it can be a state. Remembers some bytes for each
    /// living key.
    pub fn verify(&self) -> Result<Counts, SnapshotError> {
        let reader = self.reader()?;
        let mut check = Check::default();
        // It stands behind the keys, and says which of them may lack their history.
        check.counts.compacted = -1;
        for bucket in reader.buckets()?.iter().filter(|bucket| bucket.name == schema::META) {
            reader.pairs(bucket, &mut |key, value| check.meta(key, value))?;
        }
        reader.everything(&mut |bucket, pair| match pair {
            Some((key, value)) => check.pair(bucket, key, value),
            None => Ok(()),
        })?;
        check.finish()
    }
}

impl Check {
    fn meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        // A compaction that was scheduled is in force, finished or not.
        if key == schema::SCHEDULED_COMPACTION || key == schema::FINISHED_COMPACTION {
            let Some(revision) = Revision::decode(value) else { return wrong("the compacted revision cannot be read") };
            self.counts.compacted = self.counts.compacted.max(revision.main);
        }
        Ok(())
    }

    fn pair(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        match bucket {
            schema::KEY => self.version(key, value),
            schema::LEASE => self.lease(key, value),
            schema::CONCLAVE => self.conclave(key, value),
            schema::AUTH => self.auth(key, value),
            schema::AUTH_ROLES => self.role(key, value),
            schema::AUTH_USERS => self.user(key, value),
            _ => Ok(()),
        }
    }

    fn version(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let (revision, version) = decode(key, value)?;
        let Revision { main, deleted, .. } = revision;
        self.counts.revision = main;
        self.counts.versions += 1;
        // What `etcdutl snapshot restore --bump-revision` leaves.
        if value.is_empty() && !deleted {
            return Ok(());
        }
        let compacted = main <= self.counts.compacted;
        let id = fingerprint(&version.key);
        if deleted {
            if self.living.remove(&id).is_none() && !compacted {
                return wrong(format!("revision {main} deletes a key that there is not"));
            }
            return Ok(());
        }
        let Version { create_revision, mod_revision, version, lease, .. } = version;
        let sound = mod_revision == main
            && (1..=main).contains(&create_revision)
            && version >= 1
            && (version == 1) == (create_revision == main);
        if !sound {
            return wrong(format!("the version of revision {main} contradicts itself"));
        }
        let follows = match self.living.get(&id) {
            Some(before) => before.create_revision == create_revision && before.version.checked_add(1) == Some(version),
            None => version == 1,
        };
        if !follows && !compacted {
            return wrong(format!("the version of revision {main} does not follow the one before it"));
        }
        self.living.insert(id, Living { create_revision, version, lease });
        Ok(())
    }

    fn lease(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let lease = Lease::decode(value).ok();
        match (<[u8; 8]>::try_from(key), lease) {
            (Ok(id), Some(lease)) if i64::from_be_bytes(id) == lease.id && lease.ttl > 0 => {
                self.leases.insert(u64::from_be_bytes(id), lease.ttl);
                Ok(())
            }
            _ => wrong(format!("the lease under {key:02x?} cannot be read")),
        }
    }

    fn conclave(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        if let Some(row) = key.strip_prefix(schema::COORD_ROW) {
            self.counts.coordination += 1;
            return coord::check_row(row, value).map_err(|e| SnapshotError::Contents(e.to_string()));
        }
        if let Some(id) = key.strip_prefix(schema::LEASE_MS)
            && let (Some(id), Some(ttl)) = (number(id), number(value))
        {
            self.ttls.insert(id, ttl);
            return Ok(());
        }
        if key.starts_with(schema::LOCK_KEY) {
            self.locks.push(fingerprint(value));
            return Ok(());
        }
        match key {
            schema::FORMAT if value == schema::FORMAT_NOW => self.counts.conclave = true,
            schema::FORMAT => return wrong(format!("the format {value:02x?} of the bucket conclave is not known")),
            schema::PLACEMENT => {
                import::check_placement(value).map_err(|e| SnapshotError::Contents(e.to_string()))?;
            }
            schema::STORE if value.len() == 8 => {}
            _ => return wrong(format!("{key:02x?} in the bucket conclave is not known")),
        }
        Ok(())
    }

    fn auth(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        match key {
            schema::AUTH_ENABLED => self.counts.auth_enabled = users::decode_enabled(value)?,
            schema::AUTH_REVISION => self.counts.auth_revision = users::decode_revision(value)?,
            _ => return wrong(format!("{key:02x?} in the bucket auth is not known")),
        }
        Ok(())
    }

    fn role(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let (name, _) = users::decode_role(key, value)?;
        self.counts.roles += 1;
        self.roles.insert(fingerprint(name.as_bytes()));
        Ok(())
    }

    /// The role root need not exist: etcd grants it without.
    fn user(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let (name, user) = users::decode_user(key, value)?;
        self.counts.users += 1;
        let unknown = |role: &&String| *role != ROOT && !self.roles.contains(&fingerprint(role.as_bytes()));
        if let Some(role) = user.roles.iter().find(unknown) {
            return wrong(format!("user {name:?} has the role {role:?}, which there is not"));
        }
        self.has_root |= name == ROOT && user.roles.contains(ROOT);
        Ok(())
    }

    fn finish(mut self) -> Result<Counts, SnapshotError> {
        self.counts.revision = self.counts.revision.max(self.counts.compacted).max(1);
        self.counts.living_keys = self.living.len();
        self.counts.leases = self.leases.len();
        if self.counts.auth_enabled && !self.has_root {
            return wrong("users are checked, and there is no user root with the role root");
        }
        if !self.counts.conclave {
            return Ok(self.counts);
        }
        let seconds = |ms: u64| i64::try_from(ms.div_ceil(1_000)).unwrap_or(i64::MAX);
        let rounded: BTreeMap<u64, i64> = self.ttls.iter().map(|(id, ms)| (*id, seconds(*ms))).collect();
        if self.leases != rounded {
            return wrong("the buckets lease and conclave name different leases");
        }
        if self.living.values().any(|key| key.lease != 0 && !self.leases.contains_key(&key.lease.cast_unsigned())) {
            return wrong("a key is attached to a lease that there is not");
        }
        if self.locks.iter().any(|key| !self.living.contains_key(key)) {
            return wrong("a key that a Lock made does not exist");
        }
        Ok(self.counts)
    }
}
