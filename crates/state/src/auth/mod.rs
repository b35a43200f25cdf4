//! Users, roles and rights: etcd's model, decided in the state machine.
//!
//! # The idea
//!
//! A command carries who sent it ([`Caller`]). `apply` checks the right and executes in one step,
//! against the users and roles of that position in the log, so no change of rights can come between
//! the two. Reads outside `apply` are checked with the same code ([`Auth::check_read`] and its
//! neighbours) against the [`Auth`] that belongs to their view.
//!
//! - A *user* has a password hash (the state never hashes), or none, and *roles*. A role has
//!   *permissions*: read, write or both on one key, on `[key, end)`, or on everything from a key.
//!   The role `root` has every right.
//! - The *auth revision* begins at 1 and increases with every change, except that checks are
//!   switched on.
//! - What a command needs is in `needs` (keys) and `coordination` (elections, locks and claims).
//!
//! # Rows
//!
//! | Row of the table meta | Value |
//! |---|---|
//! | `auth/meta` | whether checks are on (1 byte), auth revision (8 bytes) |
//! | `auth/user/`, name | whether it has no password (1 byte), the hash, the roles, each with its length (8 bytes) |
//! | `auth/role/`, name | per permission: kind (1 byte), key and end, each with its length |
//!
//! # Invariants
//!
//! 1. The [`Auth`] in the machine equals the rows.
//! 2. While checks are off, nothing of this module runs for a command.
//! 3. A command without a caller is refused while checks are on, except those that only servers
//!    make ([`Command::Expire`], [`Command::CoordTimer`], [`Command::Cancel`],
//!    [`Command::Announce`], [`Command::Join`], and of [`Command::Version`] what members announce
//!    and the leader decides); a server's other commands carry [`Caller::Server`].
//!
//! [`Command::Expire`]: crate::Command::Expire
//! [`Command::CoordTimer`]: crate::Command::CoordTimer
//! [`Command::Cancel`]: crate::Command::Cancel
//! [`Command::Announce`]: crate::Command::Announce
//! [`Command::Join`]: crate::Command::Join
//! [`Command::Version`]: crate::Command::Version

mod change;
mod check;
mod command;
mod coordination;
mod model;
mod needs;
mod ranges;
mod rows;

pub use crate::keys::prefix_range;
pub use command::*;
pub use coordination::{admin_everywhere, admin_of, admin_prefix, listed};
pub use model::{Auth, Permission, PermissionKind, ROOT, Role, User};
pub use rows::load;
pub(crate) use rows::{
    ROLES, USERS, decode_role, decode_user, encode_role, encode_user, meta, meta_row, role_row, user_row,
};
