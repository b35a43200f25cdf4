//! `conclavectl`, the command line of Conclave.
//!
//! Command line → settings → one command → exit code. Each command is a file below `commands`;
//! `link` is the way to the cluster; `output` alone prints. What is public here is what
//! `conclave-bench` shares: flags, failures, exit codes, tables.

mod census;
mod cli;
mod commands;
mod complete;
mod dial;
mod discovery;
pub mod exit;
pub mod failure;
mod hold;
pub mod link;
mod mirror;
mod not_yet;
pub mod output;
mod outside;
pub mod parse;
mod password;
pub mod program;
pub mod settings;
mod shells;

use cli::Cli;
use commands::Context;
use exit::Exit;
use failure::Result;
use output::style;
use settings::Settings;

/// The whole program.
pub fn main() -> ! {
    if let Some(exit) = hold::shim(std::env::args_os()) {
        std::process::exit(exit.code());
    }
    program::end(run())
}

fn run() -> Result<Exit> {
    shells::answer(cli::command);
    let (cli, hidden) = match program::parse::<Cli>(cli::command()) {
        Ok(parsed) => parsed,
        Err(error) => return not_yet::explain(&error).map_or_else(|| program::refuse(&error), Err),
    };
    style::choose(cli.global.color());
    if let Some(outcome) = cli.command.run_alone(cli::command, || cli.global.format(&program::variable)) {
        return outcome;
    }
    let settings = Settings::new(&cli.global, &hidden, &program::variable)?;
    let context = Context { out: settings.output, link: link::Link::new(settings) };
    program::run(cli.command.run(&context))
}
