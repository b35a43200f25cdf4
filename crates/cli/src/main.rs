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
mod not_yet;
mod output;
mod parse;
mod settings;

use clap::FromArgMatches as _;
use cli::Cli;
use commands::Context;
use exit::Exit;
use failure::Result;
use output::style;
use settings::{Hidden, Settings};

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
    let mut command = cli::parser();
    let args = cli::normalized(std::env::args_os(), &command);
    let parsed = command
        .try_get_matches_from_mut(args)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, Hidden::from_arg_matches(&matches)?)));
    let (cli, hidden) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error),
    };
    style::choose(cli.global.color());
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(outcome) = cli.command.run_alone(|| cli.global.format(&variable)) {
        return outcome;
    }
    let settings = Settings::new(&cli.global, &hidden, &variable)?;
    // One thread: a command's child goes with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = Context { out: settings.output, link: link::Link::new(settings) };
    let outcome = runtime.block_on(cli.command.run(&context));
    // Reading standard input may still block a thread; it does not matter any more.
    runtime.shutdown_background();
    outcome
}

/// A command line that cannot be run; help is asked for in the same way.
fn refused(error: &clap::Error) -> Result<Exit> {
    if !error.use_stderr() {
        let help = error.render();
        output::raw(&if style::on_stdout() { help.ansi().to_string() } else { help.to_string() })?;
        return Ok(Exit::Done);
    }
    if let Some(failure) = not_yet::explain(error) {
        return Err(failure);
    }
    let words = error.render();
    let words = if style::on_stderr() { words.ansi().to_string() } else { words.to_string() };
    // Every error of conclavectl begins in the same way.
    output::complain(&words.replacen("error:", "Error:", 1));
    Ok(Exit::Usage)
}
