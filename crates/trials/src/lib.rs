//! Trials: a Jepsen-style harness that can fail.
//!
//! * [`mod@env`] is where it happens: nodes, clients, network, disks, clocks, and the faults in
//!   them.
//! * [`history`] is what a run writes down.
//! * [`check`] judges it, one property a file, with `valid`, `violation` or `unknown`.
//! * [`report`] makes a page of it.
//! * [`plan`] draws a run's faults from a seed; [`workload`] is what clients do; [`run`](mod@run)
//!   does it all together.
//! * [`command`] is the program `conclave-trials`; [`matrix`], [`mutants`], [`control`],
//!   [`regressions`] and [`shrink`] are runs of many runs.

pub mod binary;
pub mod check;
pub mod command;
pub mod control;
pub mod env;
pub mod history;
pub mod matrix;
pub mod mutants;
pub mod plan;
pub mod ports;
pub mod regressions;
pub mod report;
pub mod run;
pub mod shrink;
pub mod status;
pub mod workload;

/// Says something about a passing test where the test runner does not swallow it: measured figures.
pub fn figure(figure: &str) {
    use std::io::Write;
    // A figure that cannot be written is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "    {figure}");
}
