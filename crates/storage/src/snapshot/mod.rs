//! Snapshots: the state's database as a directory of files.
//!
//! ```text
//! leader    build: flush, hard links ─► checkpoint ── files, in chunks ──┐
//! follower                                                              └─► receiver ─► checkpoint ─► install
//! ```
//!
//! `checkpoint` is such a directory, built here or received. `receiver` writes the files that a
//! leader sends. `install` replaces the state with a checkpoint. A snapshot counts as built only
//! when the flush is recorded, so the log is never purged beyond what the state has on disk after a
//! crash.

mod checkpoint;
mod install;
mod receiver;

pub use checkpoint::{Checkpoint, CheckpointFile};
pub use receiver::CheckpointReceiver;

pub(crate) use checkpoint::{LatestSnapshot, build};
pub(crate) use install::{install, new_state_dir, pointed_to, set_pointer, take_over};
