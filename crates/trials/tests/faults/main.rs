//! Every fault of the trials' environment does what its name says, is undone, and leaves nothing
//! behind.
//!
//! A test that this machine cannot run says so and passes: `conclave-trials doctor` says the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod disks;
mod environment;
mod kit;
mod network;
mod processes;
