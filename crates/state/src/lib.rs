//! The replicated state machine of Conclave: applies committed commands to keys, leases, queues,
//! elections, locks and claims.
//!
//! # The idea
//!
//! Every member applies the same log and must get the same bytes. So all code that decides an
//! outcome is in this crate, which has no access to clocks, randomness, disks or hash order. The
//! crate turns one [`Command`] into one [`Outcome`] and a set of row writes. Other crates store the
//! rows ([`View`] reads them back), wait for outcomes and distribute events.
//!
//! ```text
//!  entry of the log ──► Machine::begin(view) ──► Batch::apply(command)* ──► Batch::finish() ──► Changes
//!                                │                     │                                          │ rows, in one atomic write
//!                                └── view: the rows ◄──┴── overlay: what this batch wrote         └ events, leases, queues
//! ```
//!
//! Batches matter only for speed. Commands in one batch or in many leave identical rows, because an
//! [`overlay::Overlay`] shows each command the writes of the earlier ones.
//!
//! # Revisions
//!
//! The store's *revision* counts changes of the key space; it is not the log's index. The empty
//! store is at revision 1. A command that changes keys takes the next revision for all of them,
//! ordered inside it by *sub-revision*. A command that changes no key takes none. A version of a
//! key has the revision that made it (`mod_revision`), the revision that created the key
//! (`create_revision`) and the number of versions since then (`version`). Deleting writes a
//! tombstone version.
//!
//! # Rows
//!
//! | Table | Row key | Row value |
//! |---|---|---|
//! | kv | `k`, escaped user key, `00 01`, inverted mod revision | create revision, version, lease, flags, value |
//! | rev | revision, sub-revision | user key |
//! | lease | `l`, lease | TTL in milliseconds, log index of the grant, attempts that were cancelled |
//! | lease | `k`, lease, user key | of a place in a queue: the attempts that asked for it |
//! | coord | see [`coord`] | elections, locks, claims, what is remembered for sessions, timers |
//! | meta | `state/store` | revision, compacted revision, digest |
//! | meta | `state/alarm/`, kind, member · `state/member/`, id | nothing · name and client URLs |
//! | meta | `state/promote/`, id | nothing; of a learner that is to be promoted when it is in sync |
//! | meta | `state/labels/`, id · `state/maintenance/`, id · `state/placement` | see [`placement`] |
//! | meta | `state/version` · `state/supports/`, id | the cluster's version · what a member supports |
//! | meta | `auth/meta` · `auth/user/`, name · `auth/role/`, name | see [`auth`] |
//! | live | `k`, escaped user key, `00 01` | nothing; for exactly the keys that are alive |
//! | queue | `k`, escaped queue name, `00 01`, create revision, lease in hexadecimal | nothing; for exactly the places of queues |
//!
//! The revision is inverted so that the newest version of a key is the first row of its prefix. A
//! read of the present is one seek, and history needs no index in memory.
//!
//! # Invariants
//!
//! 1. `apply` is a function of the rows, the command and its [`Position`]: batch boundaries, sweeps
//!    and `answer` never affect rows, events, digest or rejections.
//! 2. A rejected command has no effect at all: every reason to reject is checked before the first
//!    write.
//! 3. A revision is taken if and only if at least one key changed.
//! 4. A row `k`, lease, key exists exactly while the newest version of that key is alive and has
//!    that lease, and that lease has its `l` row.
//! 5. Compaction changes one number. Reads at or above it give the same results before, during and
//!    after the sweep that removes rows.
//! 6. The first places of queues and the key metadata are caches: dropping them between batches
//!    changes speed, never a result.

mod attempt;
pub mod auth;
mod bounds;
mod cluster_version;
mod command;
pub mod coord;
mod digest;
mod event;
pub mod export;
#[cfg(test)]
mod fuzz;
mod heads;
pub mod import;
mod key_counts;
mod key_range;
mod keys;
mod kv;
mod lease;
mod machine;
mod member;
mod memory;
mod meta;
mod outcome;
pub mod overlay;
mod place;
pub mod placement;
mod promotion;
mod properties;
pub mod queue;
pub mod read;
mod record;
mod scan;
mod shared;
pub mod sweep;
#[cfg(test)]
mod test_store;
mod version;
pub mod view;

pub use auth::{Auth, AuthChange, AuthEvent, AuthRefusal, Caller};
pub use bounds::MOST_KEYS;
pub use command::*;
pub use coord::{
    Acquire, Anoint, Cause, Claim, ClaimAnswer, Coord, CoordBody, CoordResponse, CoordTimer, Demote, Enter, Evict,
    EvictEverywhere, Expect, Leave, Limits, LockMode, LockPart, Name, Pin, ProclaimTerm, Promote, PromoteTo, Release,
    RequestTransfer, Revoke, SetLimits, Standing, Term, Token, Transfer, Twin, Unclaim, Unpin,
};
pub use event::*;
pub use key_counts::{Counted, KeyCounts, KeyCountsBuilder, Mismatch};
pub use key_range::KeyRange;
pub use keys::{queue_key, queue_prefix, shared_part};
pub use machine::{Batch, Machine, Position};
pub use memory::MemoryView;
pub use outcome::*;
pub use properties::Size;
pub use scan::first_living;
pub use shared::shared;
pub use version::{ClusterVersion, NoVersion, Supports, Version, VersionChange};
pub use view::{Fault, Step, Table, View};

/// A lease's id; 0 is no lease, negative ids are legal.
pub type LeaseId = i64;
