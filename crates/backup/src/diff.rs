//! What differs between two snapshots: living keys, leases, users, roles, elections, locks and
//! claims.
//!
//! Remembered of each snapshot are its living keys with a few bytes for each value; history is not
//! compared.

use crate::read::{Snapshot, SnapshotError, decode, fingerprint};
use crate::schema::{self, Lease};
use crate::users;
use conclave_bolt::Source;
use conclave_state::coord::RESERVED;
use prost::Message;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Key,
    Lease,
    Election,
    Lock,
    Claim,
    /// Another part of Conclave's own state, such as limits and pins.
    Coordination,
    User,
    Role,
    /// Whether users are checked.
    Authentication,
}

impl Kind {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::Lease => "lease",
            Kind::Election => "election",
            Kind::Lock => "lock",
            Kind::Claim => "claim",
            Kind::Coordination => "coordination",
            Kind::User => "user",
            Kind::Role => "role",
            Kind::Authentication => "authentication",
        }
    }
}

/// What is known of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The revision that changed it last; of a lease its TTL in milliseconds; 0 of what has
    /// neither.
    pub number: i64,
    /// Of keys: the lease, and the revision that created it.
    pub lease: i64,
    pub created: i64,
    value: [u8; 16],
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub name: Vec<u8>,
    /// In the first snapshot; `None`: it was added.
    pub a: Option<Known>,
    /// In the second one; `None`: it was removed.
    pub b: Option<Known>,
}

impl Difference {
    /// What happened from the first to the second.
    #[must_use]
    pub fn change(&self) -> &'static str {
        match (self.a, self.b) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// What of it is different.
    #[must_use]
    pub fn parts(&self) -> Vec<&'static str> {
        let (Some(a), Some(b)) = (self.a, self.b) else { return Vec::new() };
        let (number, created) = match self.kind {
            Kind::Lease => ("ttl", ""),
            _ => ("revision", "created"),
        };
        let all = [
            (a.value != b.value, "value"),
            (a.lease != b.lease, "lease"),
            (a.created != b.created, created),
            (a.number != b.number, number),
        ];
        all.into_iter().filter_map(|(differs, part)| differs.then_some(part)).collect()
    }

    /// The name for people: bytes that are no text are escaped, leases are hexadecimal.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.kind, <[u8; 8]>::try_from(&self.name[..])) {
            (Kind::Lease, Ok(id)) => format!("{:x}", u64::from_be_bytes(id)),
            _ => match std::str::from_utf8(&self.name) {
                Ok(text) if !text.contains(char::is_control) => text.to_owned(),
                _ => self.name.escape_ascii().to_string(),
            },
        }
    }

    /// Change, kind, name, what is different, and the revisions (of leases: TTLs) in both.
    #[must_use]
    pub fn row(&self) -> [String; 6] {
        let number = |known: Option<Known>| match (self.kind, known) {
            (_, None) => "-".to_owned(),
            (Kind::Lease, Some(known)) => format!("{} ms", known.number),
            (_, Some(known)) if known.number == 0 => "-".to_owned(),
            (_, Some(known)) => known.number.to_string(),
        };
        let parts = self.parts().join(", ");
        [
            self.change().to_owned(),
            self.kind.word().to_owned(),
            self.shown(),
            if parts.is_empty() { "-".to_owned() } else { parts },
            number(self.a),
            number(self.b),
        ]
    }
}

/// The titles of [`Difference::row`].
pub const TITLES: [&str; 6] = ["CHANGE", "KIND", "NAME", "WHAT", "A", "B"];

/// What a snapshot has, in order.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub revision: i64,
    of: BTreeMap<(Kind, Vec<u8>), Known>,
}

impl<S: Source> Snapshot<S> {
    /// Reads everything that is compared.
    pub fn inventory(&self) -> Result<Inventory, SnapshotError> {
        let mut found = Inventory::default();
        let mut exact = BTreeMap::new();
        self.reader()?.everything(&mut |bucket, pair| {
            let Some((key, value)) = pair else { return Ok(()) };
            found.pair(&mut exact, bucket, key, value)
        })?;
        // The bucket of Conclave stands before that of leases or behind it, depending on the maker
        // of the file.
        for (id, ttl_ms) in exact {
            if let Some(known) = found.of.get_mut(&(Kind::Lease, id)) {
                known.number = ttl_ms;
            }
        }
        Ok(found.grouped())
    }
}

impl Inventory {
    fn pair(
        &mut self,
        exact: &mut BTreeMap<Vec<u8>, i64>,
        bucket: &[u8],
        key: &[u8],
        value: &[u8],
    ) -> Result<(), SnapshotError> {
        let plain = |value: &[u8]| Known { number: 0, lease: 0, created: 0, value: fingerprint(value) };
        match bucket {
            schema::KEY => return self.version(key, value),
            schema::LEASE => {
                let lease = Lease::decode(value)
                    .map_err(|_| SnapshotError::Contents(format!("the lease under {key:02x?} cannot be read")))?;
                let known = Known { number: lease.ttl.saturating_mul(1_000), ..plain(b"") };
                self.of.insert((Kind::Lease, key.to_vec()), known);
            }
            schema::CONCLAVE => {
                if let (Some(id), Ok(ttl)) = (key.strip_prefix(schema::LEASE_MS), <[u8; 8]>::try_from(value)) {
                    exact.insert(id.to_vec(), i64::from_be_bytes(ttl));
                }
            }
            schema::AUTH if key == schema::AUTH_ENABLED => {
                let enabled = [u8::from(users::decode_enabled(value)?)];
                self.of.insert((Kind::Authentication, b"enabled".to_vec()), plain(&enabled));
            }
            schema::AUTH_ROLES => {
                let (name, role) = users::decode_role(key, value)?;
                // Encoded again, because the order inside is free.
                self.of.insert((Kind::Role, name.clone().into_bytes()), plain(&users::encode_role(&name, &role)));
            }
            schema::AUTH_USERS => {
                let (name, user) = users::decode_user(key, value)?;
                self.of.insert((Kind::User, name.clone().into_bytes()), plain(&users::encode_user(&name, &user)));
            }
            _ => {}
        }
        Ok(())
    }

    fn version(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let (revision, version) = decode(key, value)?;
        self.revision = revision.main;
        if value.is_empty() {
            // A revision that stands for a raise.
            return Ok(());
        }
        let name = (Kind::Key, version.key.to_vec());
        if revision.deleted {
            self.of.remove(&name);
            return Ok(());
        }
        let schema::Version { create_revision, mod_revision, lease, value, .. } = version;
        self.of
            .insert(name, Known { number: mod_revision, lease, created: create_revision, value: fingerprint(&value) });
        Ok(())
    }

    /// Keys of Conclave's own become the elections, locks and claims that they belong to.
    fn grouped(mut self) -> Inventory {
        let first = (Kind::Key, RESERVED.to_vec());
        let reserved: Vec<_> = self
            .of
            .range(first..)
            .map(|(name, _)| name)
            .take_while(|(_, key)| key.starts_with(RESERVED))
            .cloned()
            .collect();
        for name in reserved {
            let Some(known) = self.of.remove(&name) else { continue };
            // All that changes of it is in its keys.
            let sum = [&name.1[..], &known.value, &known.number.to_be_bytes()].concat();
            match self.of.entry(owner(&name.1)) {
                Entry::Vacant(entry) => {
                    entry.insert(Known { number: known.number, lease: 0, created: 0, value: fingerprint(&sum) });
                }
                Entry::Occupied(mut entry) => {
                    let of = entry.get_mut();
                    of.number = of.number.max(known.number);
                    of.value = fingerprint(&[&of.value[..], &sum].concat());
                }
            }
        }
        self
    }

    /// What is different in another one, in order.
    #[must_use]
    pub fn differences(&self, other: &Inventory) -> Vec<Difference> {
        let mut found = Vec::new();
        for (name, a) in &self.of {
            let b = other.of.get(name);
            if b != Some(a) {
                found.push(Difference { kind: name.0, name: name.1.clone(), a: Some(*a), b: b.copied() });
            }
        }
        for (name, b) in other.of.iter().filter(|(name, _)| !self.of.contains_key(name)) {
            found.push(Difference { kind: name.0, name: name.1.clone(), a: None, b: Some(*b) });
        }
        found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        found
    }
}

/// The election, lock or claim of a key below `/_conclave/`, as `namespace/name` in the writing of
/// keys.
fn owner(key: &[u8]) -> (Kind, Vec<u8>) {
    let rest = key.strip_prefix(RESERVED).unwrap_or_default();
    let mut parts = rest.splitn(4, |byte| *byte == b'/');
    let kind = match parts.next() {
        Some(b"e") => Kind::Election,
        Some(b"l") => Kind::Lock,
        Some(b"c") => Kind::Claim,
        _ => return (Kind::Coordination, key.to_vec()),
    };
    match (parts.next(), parts.next()) {
        (Some(namespace), Some(name)) => (kind, [namespace, b"/", name].concat()),
        _ => (Kind::Coordination, key.to_vec()),
    }
}
