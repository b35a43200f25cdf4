//! `conclave-bench`: load over the etcd v3 API, which drives etcd and Conclave alike, and what it
//! measures.
//!
//! `cli` (the command line) → `options` (the load that was asked for) → `lab` (connections, keys,
//! cleaning up) → `workloads` (the operations of a client) → `drive` (runs the clients, opens and
//! closes the window; `pace` for an open loop) → `tally` and `process` (the counts) → `verdict`
//! (the printed result). `wire` carries the requests. `report` makes a document of many results.
//! Flags, failures and exit codes are those of `conclavectl`.
//!
//! 1. What a workload needs (keys, leases, watchers) is made before anything is measured, and
//!    deleted afterwards.
//! 2. The load is as cheap as possible, because it mostly shares the machine with the servers: one
//!    thread, generated clients, one attempt per operation.

mod cli;
mod drive;
mod keys;
mod lab;
mod options;
mod pace;
mod process;
mod progress;
mod report;
mod tally;
mod verdict;
mod wire;
mod workloads;

use cli::Cli;
use conclave_cli::{exit::Exit, failure::Result, output::style, program, settings::Settings};

/// The name of the program in its messages.
const NAME: &str = "conclave-bench";

fn main() {
    program::end(run())
}

fn run() -> Result<Exit> {
    let (cli, hidden) = match program::parse::<Cli>(cli::command()) {
        Ok(parsed) => parsed,
        Err(error) => return program::refuse(&error),
    };
    style::choose(cli.global.color());
    let settings = Settings::new(&cli.global, &hidden, &program::variable)?;
    program::run(cli.command.run(&settings))
}
