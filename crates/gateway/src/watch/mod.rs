//! Watches: every event reaches every watcher that wants it, once, in revision order, and never
//! holds up anybody else.
//!
//! # The idea
//!
//! Apply hands each batch of changes to the [`WatchHub`]. The hub knows who wants what: watchers
//! with the same interest (range, filters, previous values) form one group, an index finds the
//! groups of a key, and a group's events of a batch are encoded once into bytes that all its
//! members share. What is left for each watcher is a small head in front of them ([`codec`]).
//!
//! A watcher is in one of three phases:
//!
//! * *live*: it was given everything up to the hub's revision, and gets the next batch from memory;
//! * *waiting*: it asked for a revision that has not come yet;
//! * *behind*: it starts in the past, its stream's buffer is full, a batch has too many previous
//!   values for it, or a snapshot replaced the state. It is in no group; its stream's own task
//!   ([`stream`]) reads history from the store ([`catchup`]) until it can be live again.
//!
//! # Invariants
//!
//! 1. The hub's revision only moves in `observe` and `reset`, under the hub's lock, and everything
//!    up to it can be read from the history source. So "read up to the hub's revision, then become
//!    live if it has not moved" leaves no gap and repeats nothing.
//! 2. A response holds whole revisions (but for fragments, which are queued together or not at
//!    all).
//! 3. All responses of a stream go through one queue. What is queued first is sent first, so
//!    `created` precedes events, and a progress response that is queued under the hub's lock
//!    follows every event that it vouches for.
//! 4. `observe` never waits, and reads only so many previous values: a stream whose queue is over
//!    its bound is not given more, its watchers fall behind instead.
//! 5. What is read on the event loop has a bound in rows and in bytes, however large a revision is;
//!    more is read beside it.
//! 6. Locks are taken in the order hub, then stream queue; none is held across an await.

mod catchup;
pub mod codec;
mod encode;
mod groups;
mod hub;
mod outbox;
mod registry;
mod stream;
#[cfg(test)]
mod tests;

pub use hub::{WatchConfig, WatchHub, WatchStats};
pub use outbox::{Frame, Note, Responses};
