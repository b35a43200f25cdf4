//! Snapshots: the state's database as a directory of files.
//!
//! ```text
//! leader    build: flush, hard links ─► checkpoint ── files, in chunks ──┐
//! follower                                                              └─► receiver ─► checkpoint ─► install
//! ```
//!
//! `checkpoint` is such a directory, built here or received. `build` makes one; `latest` keeps the
//! newest for followers. `receiver` writes the files that a leader sends. `install` replaces the
//! state with a checkpoint. A snapshot counts as built only when the flush is recorded, so the log
//! is never purged beyond what the state has on disk after a crash.

mod build;
mod checkpoint;
mod install;
mod latest;
mod receiver;

pub use checkpoint::{Checkpoint, CheckpointFile, Snapshot};
pub use receiver::CheckpointReceiver;

pub(crate) use build::build;
pub(crate) use install::{install, new_state_dir, pointed_to, set_pointer, take_over};
pub(crate) use latest::LatestSnapshot;
