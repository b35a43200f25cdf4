//! Changes of users and roles, and who sent a command.

use super::Permission;
use crate::key_range::KeyRange;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Who sent a command. A command without a caller was sent by nobody who is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// A member on its own behalf. No request of a client becomes this.
    Server,
    User(Arc<Login>),
}

/// A user whose credentials a member has checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub user: String,
    /// The auth revision for which the credentials hold. Later changes make it old.
    pub revision: u64,
}

/// A change of users and roles.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthChange {
    Enable,
    Disable,
    UserAdd {
        name: String,
        /// Of bcrypt; empty if the user has no password.
        hash: String,
        no_password: bool,
    },
    UserDelete {
        name: String,
    },
    UserPassword {
        name: String,
        hash: String,
    },
    UserGrant {
        user: String,
        role: String,
    },
    UserRevoke {
        user: String,
        role: String,
    },
    RoleAdd {
        name: String,
    },
    RoleDelete {
        name: String,
    },
    RoleGrant {
        role: String,
        permission: Permission,
    },
    RoleRevoke {
        role: String,
        range: KeyRange,
    },
    /// Make a token for a user whose password was checked at an auth revision. The log holds only
    /// the token's fingerprint.
    SignIn {
        user: String,
        revision: u64,
        token: [u8; 32],
    },
}

/// Without hashes and fingerprints, for logs.
impl fmt::Debug for AuthChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthChange::Enable => write!(f, "Enable"),
            AuthChange::Disable => write!(f, "Disable"),
            AuthChange::UserAdd { name, no_password, .. } => write!(f, "UserAdd({name:?}, no_password: {no_password})"),
            AuthChange::UserDelete { name } => write!(f, "UserDelete({name:?})"),
            AuthChange::UserPassword { name, .. } => write!(f, "UserPassword({name:?})"),
            AuthChange::UserGrant { user, role } => write!(f, "UserGrant({user:?}, {role:?})"),
            AuthChange::UserRevoke { user, role } => write!(f, "UserRevoke({user:?}, {role:?})"),
            AuthChange::RoleAdd { name } => write!(f, "RoleAdd({name:?})"),
            AuthChange::RoleDelete { name } => write!(f, "RoleDelete({name:?})"),
            AuthChange::RoleGrant { role, permission } => write!(f, "RoleGrant({role:?}, {permission:?})"),
            AuthChange::RoleRevoke { role, range } => write!(f, "RoleRevoke({role:?}, {range:?})"),
            AuthChange::SignIn { user, revision, .. } => write!(f, "SignIn({user:?}, revision: {revision})"),
        }
    }
}

/// What members have to know of a change besides its rows.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthEvent {
    /// A token is good from now on.
    SignedIn { user: String, token: [u8; 32], index: u64 },
    /// The tokens of a user are good no more.
    SignedOut { user: String },
    /// No token is good any more: checks were switched off.
    AllSignedOut,
    /// Users, roles or permissions are others than before.
    Changed,
}

impl fmt::Debug for AuthEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthEvent::SignedIn { user, index, .. } => write!(f, "SignedIn({user:?}, {index})"),
            AuthEvent::SignedOut { user } => write!(f, "SignedOut({user:?})"),
            AuthEvent::AllSignedOut => write!(f, "AllSignedOut"),
            AuthEvent::Changed => write!(f, "Changed"),
        }
    }
}

/// Why a request about or under users and roles is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthRefusal {
    #[error("root user does not exist")]
    RootUserNotExist,
    #[error("root user does not have root role")]
    RootRoleNotExist,
    #[error("user name already exists")]
    UserAlreadyExist,
    #[error("user name is empty")]
    UserEmpty,
    #[error("user name not found")]
    UserNotFound,
    #[error("role name already exists")]
    RoleAlreadyExist,
    #[error("role name not found")]
    RoleNotFound,
    #[error("role name is empty")]
    RoleEmpty,
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    #[error("permission denied")]
    PermissionDenied,
    #[error("role is not granted to the user")]
    RoleNotGranted,
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    #[error("authentication is not enabled")]
    NotEnabled,
    #[error("invalid auth management")]
    InvalidManagement,
    #[error("revision of auth store is old")]
    OldRevision,
}
