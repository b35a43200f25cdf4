//! `conclavectl`, the command line of Conclave.
//!
//! Command line → settings → one command → exit code. Each command is a file below `commands`; `link` is the way to the cluster;
//! `output` alone prints.

mod bench;
mod census;
mod cli;
mod commands;
mod exit;
mod failure;
mod hold;
mod link;
mod output;
mod parse;
mod settings;

use clap::FromArgMatches as _;
use cli::Cli;
use commands::Context;
use exit::Exit;
use failure::Result;
use settings::Settings;

fn main() {
    if let Some(exit) = hold::shim(std::env::args_os()) {
        std::process::exit(exit.code());
    }
    let exit = run().unwrap_or_else(|failure| {
        failure.tell();
        failure.exit
    });
    std::process::exit(exit.code());
}

fn run() -> Result<Exit> {
    let mut command = cli::command();
    let args = cli::normalized(std::env::args_os(), &command);
    let cli = match command.try_get_matches_from_mut(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output::complain(&error.render().to_string());
            return Ok(Exit::Usage);
        }
        Err(error) => {
            output::raw(&error.render().to_string())?;
            return Ok(Exit::Done);
        }
    };
    if let Some(outcome) = cli.command.run_alone() {
        return outcome;
    }
    let settings = Settings::new(&cli.global, &|name| std::env::var(name).ok())?;
    // One thread: a command's child goes with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = Context { out: settings.output, link: link::Link::new(settings) };
    let outcome = runtime.block_on(cli.command.run(&context));
    // Reading standard input may still block a thread; it does not matter any more.
    runtime.shutdown_background();
    outcome
}
