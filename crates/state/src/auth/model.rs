//! Users, roles, and the keys that a user may read and write.

use super::ranges::{Interval, Intervals};
use crate::key_range::KeyRange;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The user that must exist, and the role with every right.
pub const ROOT: &str = "root";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PermissionKind {
    Read,
    Write,
    ReadWrite,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub kind: PermissionKind,
    pub range: KeyRange,
}

impl Permission {
    /// A key, and an end behind it if there is one.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let KeyRange { key, end } = &self.range;
        !key.is_empty() && (end.is_empty() || end[..] == *b"\0" || key < end)
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Of bcrypt; empty if there is none.
    pub hash: String,
    pub no_password: bool,
    pub roles: BTreeSet<String>,
}

/// Without the hash.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("no_password", &self.no_password)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// One permission per range, ordered by key and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub(super) permissions: BTreeMap<(bytes::Bytes, bytes::Bytes), PermissionKind>,
}

impl Role {
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.permissions.iter().map(|((key, end), kind)| {
            let range = KeyRange { key: key.clone(), end: end.clone() };
            Permission { kind: *kind, range }
        })
    }
}

/// Of several permissions on one range, which files of etcd may have, all count.
impl FromIterator<Permission> for Role {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Role {
        let mut permissions = BTreeMap::new();
        for Permission { kind, range } in all {
            // Copies, because the parts may be slices of something larger.
            let range = (bytes::Bytes::copy_from_slice(&range.key), bytes::Bytes::copy_from_slice(&range.end));
            let granted = permissions.entry(range).or_insert(kind);
            if *granted != kind {
                *granted = PermissionKind::ReadWrite;
            }
        }
        Role { permissions }
    }
}

/// What a user may do with keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    pub(super) read: Intervals,
    pub(super) write: Intervals,
}

/// A user and its rights, which are found when they are needed first.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) user: Arc<User>,
    pub(super) rights: OnceLock<Arc<Rights>>,
}

impl Entry {
    pub(super) fn new(user: User) -> Entry {
        Entry { user: Arc::new(user), rights: OnceLock::new() }
    }
}

/// All users and roles at one position in the log.
#[derive(Clone, Debug)]
pub struct Auth {
    pub(super) enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, Entry>,
    pub(super) roles: BTreeMap<String, Arc<Role>>,
}

impl Default for Auth {
    fn default() -> Auth {
        Auth { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

impl Auth {
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|entry| &*entry.user)
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(|role| &**role)
    }

    pub fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        self.users.iter().map(|(name, entry)| (name.as_str(), &*entry.user))
    }

    pub fn roles(&self) -> impl Iterator<Item = (&str, &Role)> {
        self.roles.iter().map(|(name, role)| (name.as_str(), &**role))
    }

    /// The keys that a user may read and write through all of its roles.
    pub(super) fn rights<'a>(&'a self, entry: &'a Entry) -> &'a Rights {
        entry.rights.get_or_init(|| {
            let of = |wanted: PermissionKind| {
                let roles = entry.user.roles.iter().filter_map(|role| self.roles.get(role));
                let permissions = roles.flat_map(|role| role.permissions());
                let granted = permissions.filter(|own| own.kind == wanted || own.kind == PermissionKind::ReadWrite);
                Intervals::union(granted.map(|own| Interval::of(&own.range)).collect())
            };
            Arc::new(Rights { read: of(PermissionKind::Read), write: of(PermissionKind::Write) })
        })
    }
}
