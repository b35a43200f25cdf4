//! Snapshots: the state's database as a directory of files.
//!
//! ```text
//! leader    build: flush, hard links ─► checkpoint ── files, in chunks ──┐
//! follower                                                              └─► receiver ─► checkpoint ─► install
//! ```
//!
//! `checkpoint` is such a directory, built here or received; `receiver` writes one from what a leader sends; `install` puts
//! one in the place of the state. "Built" means "flushed and recorded", so the log is never purged beyond what a crash leaves of
//! the state.

mod checkpoint;
mod install;
mod receiver;

pub use checkpoint::{Checkpoint, CheckpointFile};
pub use receiver::CheckpointReceiver;

pub(crate) use checkpoint::{Keeper, build};
pub(crate) use install::{install, new_state_dir, pointed_to, set_pointer};
