//! Snapshots as etcd has them: a bbolt file with etcd's buckets, and behind it the SHA-256 of the
//! file.
//!
//! etcd's own tools read, check and restore such a file. What etcd does not know (elections, locks,
//! claims, milliseconds of leases) stands in a bucket of its own, which etcd keeps and ignores.
//!
//! [`Maker`] makes one from a view of the state, in steps. [`Snapshot`] reads one that Conclave or
//! etcd made.
//!
//! | Module | What it does |
//! |---|---|
//! | `schema` | names of buckets, keys and values in them |
//! | `contents` | all pairs of a snapshot, in order, from a view |
//! | `diff` | what differs between two snapshots |
//! | `make` | the passes over the contents |
//! | `sort` | what a view has in the order of keys, in the order of revisions |
//! | `read` | opening, hash, status |
//! | `restore` | a snapshot as the rows of a new cluster |
//! | `users` | users and roles as etcd stores them |
//! | `verify` | whether the contents can be a state |

mod contents;
mod diff;
mod error;
#[cfg(test)]
mod fuzz;
mod make;
mod read;
mod restore;
mod schema;
mod sort;
mod users;
mod verify;

pub use contents::{Facts, Member};
pub use diff::{Difference, Inventory, Kind, Known, TITLES};
pub use error::MakeError;
pub use make::{Maker, Step};
pub use read::{Hash, Snapshot, SnapshotError, Status};
pub use restore::{DEFAULT_RAISE, Raise, Report};
pub use schema::STORAGE_VERSION;
pub use verify::Counts;
