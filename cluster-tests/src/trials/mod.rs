//! Trials: a Jepsen-style harness that can fail.
//!
//! * [`env`] is where it happens: nodes, clients, network, disks, clocks, and the faults in them.
//! * [`history`] is what a run writes down.
//! * [`check`] judges it, one property a file, with `valid`, `violation` or `unknown`.
//! * [`report`] makes a page of it.

pub mod check;
pub mod env;
pub mod history;
pub mod report;
