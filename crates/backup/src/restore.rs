//! A snapshot as the rows of a new cluster's state.
//!
//! Two passes: one that checks all of the file ([`Snapshot::verify`]), one that writes. Nothing in
//! the result depends on which member restores it, or when.
//!
//! 1. A revision that was given out after the snapshot was made is not given out again, if the
//!    raise is larger than what is lost.
//! 2. Users are checked if they were. The auth revision increases, so that no signed token (JWT) of
//!    before is accepted.
//! 3. With marked history no revision up to the raised one can be read or watched: a client that
//!    saw a lost change notices.

use crate::read::{Snapshot, SnapshotError, decode};
use crate::schema::{self, Lease, Revision};
use crate::users;
use crate::verify::Counts;
use bytes::Bytes;
use conclave_bolt::Source;
use conclave_state::auth::{Role, User};
use conclave_state::import::{self, Import, Meta, Renewed, Rows};
use conclave_state::{Fault, KeyValue};
use prost::Message;
use std::collections::{BTreeMap, HashSet};

/// Called with each row.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), SnapshotError> + 'a;

/// What etcd's documentation advises: more revisions than can have been given out since a daily
/// snapshot.
pub const DEFAULT_RAISE: u64 = 1_000_000_000;
/// Revisions above this are refused, so that none can overflow.
const HIGHEST: i64 = i64::MAX / 4;
const LONGEST_TTL_SECONDS: i64 = 9_000_000_000;

/// Items and bytes that are written at once.
const ITEMS: usize = 1_000;
const BYTES: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    pub revisions: u64,
    /// Everything up to the raised revision counts as compacted.
    pub mark_compacted: bool,
}

impl Default for Raise {
    fn default() -> Raise {
        Raise { revisions: DEFAULT_RAISE, mark_compacted: true }
    }
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub counts: Counts,
    /// The revision that the snapshot's was raised to. What was ended has taken further ones.
    pub raised_to: i64,
    pub compacted: i64,
    pub renewed: Renewed,
    /// What the auth revision of the file was raised to.
    pub auth_revision: u64,
    pub alarms: u64,
}

enum Item {
    Lease { id: i64, ttl_ms: u64 },
    Version { kv: KeyValue, sub: u32, is_lock: bool },
    Deletion { key: Bytes, revision: i64, sub: u32 },
    Row { row: Vec<u8>, value: Vec<u8> },
    Role { name: String, role: Role, size: usize },
    User { name: String, user: User, size: usize },
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Item::Lease { .. } => 16,
            Item::Version { kv, .. } => kv.key.len() + kv.value.len(),
            Item::Deletion { key, .. } => key.len(),
            Item::Row { row, value } => row.len() + value.len(),
            Item::Role { size, .. } | Item::User { size, .. } => *size,
        }
    }
}

impl From<Fault> for SnapshotError {
    fn from(fault: Fault) -> SnapshotError {
        SnapshotError::Contents(fault.to_string())
    }
}

fn wrong<T>(text: impl Into<String>) -> Result<T, SnapshotError> {
    Err(SnapshotError::Contents(text.into()))
}

/// Above the revision of every token that was given out: also of those after the snapshot was made,
/// if the raise is larger than what is lost, and of those that the snapshot itself knows.
fn raised_auth(revision: u64, raise: Raise) -> Result<u64, SnapshotError> {
    let raised = revision.checked_add(raise.revisions.max(1)).filter(|raised| *raised <= HIGHEST.cast_unsigned());
    raised.map_or_else(|| wrong(format!("the auth revision {revision} cannot be raised")), Ok)
}

/// Items on their way into rows.
struct Filling<'a, R> {
    to: &'a mut R,
    items: Vec<Item>,
    bytes: usize,
}

impl<'a, R: Rows> Filling<'a, R> {
    fn new(to: &'a mut R) -> Filling<'a, R> {
        Filling { to, items: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, item: Item) -> Result<(), SnapshotError> {
        self.bytes += item.size();
        self.items.push(item);
        if self.items.len() >= ITEMS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let writes = {
            let view = self.to.view();
            let mut piece = Import::new(&view);
            for item in self.items.drain(..) {
                match item {
                    Item::Lease { id, ttl_ms } => piece.lease(id, ttl_ms),
                    Item::Version { kv, sub, is_lock } => piece.version(&kv, sub, is_lock)?,
                    Item::Deletion { key, revision, sub } => piece.deletion(&key, revision, sub)?,
                    Item::Row { row, value } => piece.coordination(&row, &value)?,
                    Item::Role { name, role, .. } => piece.role(&name, &role),
                    Item::User { name, user, .. } => piece.user(&name, &user),
                }
            }
            piece.finish()
        };
        self.bytes = 0;
        Ok(self.to.write(&writes)?)
    }
}

/// What Conclave's own bucket and the small ones say.
#[derive(Default)]
struct Known {
    ttls: BTreeMap<u64, u64>,
    /// Keys that a Lock made.
    locks: HashSet<Vec<u8>>,
    digest: u64,
    alarms: u64,
}

impl<S: Source> Snapshot<S> {
    /// What tells this restore from others, on every member alike: the contents and how they are
    /// raised. Reads all of the file.
    pub fn origin(&self, raise: Raise) -> Result<u64, SnapshotError> {
        let sum = self.contents_hash()?;
        let origin = u64::from_be_bytes(*sum.first_chunk().expect("it is longer"));
        Ok(origin ^ raise.revisions.rotate_left(17) ^ u64::from(raise.mark_compacted))
    }

    /// Fills an empty state. `seed` goes into the digest: restores of different files never look
    /// equal.
    pub fn restore<R: Rows>(&self, to: &mut R, raise: Raise, seed: u64) -> Result<Report, SnapshotError> {
        let counts = self.verify()?;
        let raised_to = i64::try_from(raise.revisions).ok().and_then(|by| counts.revision.checked_add(by));
        let Some(raised_to) = raised_to.filter(|to| *to <= HIGHEST) else {
            return wrong(format!("revision {} cannot be raised by {}", counts.revision, raise.revisions));
        };
        let auth_revision = raised_auth(counts.auth_revision, raise)?;
        let compacted = if raise.mark_compacted { raised_to } else { counts.compacted };
        let known = self.small_buckets(to, counts.conclave)?;
        self.leases(to, &known)?;
        self.history(to, &known)?;
        let meta = Meta { revision: raised_to, compacted, digest: known.digest ^ seed };
        let writes = {
            let view = to.view();
            let mut last = Import::new(&view);
            last.numbers(&meta, raise.revisions)?;
            last.finish()
        };
        to.write(&writes)?;
        let renewed = import::renew(to, counts.conclave)?;
        self.users(to, counts.auth_enabled, auth_revision)?;
        Ok(Report { counts, raised_to, compacted, renewed, auth_revision, alarms: known.alarms })
    }

    /// Users and roles. Last, so that what was done before needed no caller.
    fn users<R: Rows>(&self, to: &mut R, enabled: bool, revision: u64) -> Result<(), SnapshotError> {
        let mut filling = Filling::new(to);
        self.bucket(schema::AUTH_ROLES, &mut |key, value| {
            let (name, role) = users::decode_role(key, value)?;
            filling.push(Item::Role { name, role, size: key.len() + value.len() })
        })?;
        self.bucket(schema::AUTH_USERS, &mut |key, value| {
            let (name, user) = users::decode_user(key, value)?;
            filling.push(Item::User { name, user, size: key.len() + value.len() })
        })?;
        filling.flush()?;
        let writes = {
            let view = to.view();
            let mut last = Import::new(&view);
            last.auth(enabled, revision);
            last.finish()
        };
        Ok(to.write(&writes)?)
    }

    /// Shows the pairs of one bucket; of none if it is not there.
    fn bucket(&self, name: &[u8], visit: &mut Visit<'_>) -> Result<(), SnapshotError> {
        let reader = self.reader()?;
        for bucket in reader.buckets()?.iter().filter(|bucket| bucket.name == name) {
            reader.pairs(bucket, visit)?;
        }
        Ok(())
    }

    fn small_buckets<R: Rows>(&self, to: &mut R, conclave: bool) -> Result<Known, SnapshotError> {
        let mut known = Known::default();
        self.bucket(schema::ALARM, &mut |_, _| {
            known.alarms += 1;
            Ok(())
        })?;
        if !conclave {
            return Ok(known);
        }
        let mut filling = Filling::new(to);
        let mut policy = None;
        self.bucket(schema::CONCLAVE, &mut |key, value| {
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or_default();
            if let Some(row) = key.strip_prefix(schema::COORD_ROW) {
                return filling.push(Item::Row { row: row.to_vec(), value: value.to_vec() });
            }
            if let Some(id) = key.strip_prefix(schema::LEASE_MS) {
                known.ttls.insert(number(id), number(value));
            } else if key.starts_with(schema::LOCK_KEY) {
                known.locks.insert(value.to_vec());
            } else if key == schema::PLACEMENT {
                policy = Some(value.to_vec());
            } else if key == schema::STORE {
                known.digest = number(value);
            }
            Ok(())
        })?;
        filling.flush()?;
        if let Some(policy) = policy {
            let writes = {
                let view = to.view();
                let mut piece = Import::new(&view);
                piece.placement(&policy)?;
                piece.finish()
            };
            to.write(&writes)?;
        }
        Ok(known)
    }

    fn leases<R: Rows>(&self, to: &mut R, known: &Known) -> Result<(), SnapshotError> {
        let mut filling = Filling::new(to);
        self.bucket(schema::LEASE, &mut |key, value| {
            let Ok(Lease { id, ttl, .. }) = Lease::decode(value) else {
                return wrong(format!("the lease under {key:02x?} cannot be read"));
            };
            if id == 0 || !(1..=LONGEST_TTL_SECONDS).contains(&ttl) {
                return wrong(format!("lease {id:x} has a TTL of {ttl} seconds"));
            }
            let exact = known.ttls.get(&id.cast_unsigned()).copied();
            filling.push(Item::Lease { id, ttl_ms: exact.unwrap_or(ttl.cast_unsigned() * 1_000) })
        })?;
        filling.flush()
    }

    fn history<R: Rows>(&self, to: &mut R, known: &Known) -> Result<(), SnapshotError> {
        let mut filling = Filling::new(to);
        self.bucket(schema::KEY, &mut |key, value| {
            let (Revision { main, sub, deleted }, version) = decode(key, value)?;
            // What `etcdutl snapshot restore --bump-revision` leaves: a revision without a change.
            if value.is_empty() && !deleted {
                return Ok(());
            }
            let Ok(sub) = u32::try_from(sub) else { return wrong(format!("revision {main} has the change {sub}")) };
            if deleted {
                return filling.push(Item::Deletion { key: version.key, revision: main, sub });
            }
            let schema::Version { key, create_revision, mod_revision, version, value, lease } = version;
            if mod_revision != main {
                return wrong(format!("the version of revision {main} contradicts itself"));
            }
            let is_lock = known.locks.contains(&key[..]);
            let kv = KeyValue { key, value, create_revision, mod_revision, version, lease };
            filling.push(Item::Version { kv, sub, is_lock })
        })?;
        filling.flush()
    }
}
