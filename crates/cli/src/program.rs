//! The frame of a command-line program: arguments, refusals, one thread for the command, the exit
//! code.
//!
//! `conclavectl` and `conclave-bench` are built in it, so that flags, errors and exit codes are the
//! same.

use crate::{
    exit::Exit,
    failure::Result,
    output::{self, style},
    settings::Hidden,
};
use clap::{Args as _, FromArgMatches};
use std::ffi::OsString;

/// The help of a command that does something: its purpose and examples come before the long list of
/// options.
const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}{after-help}

{all-args}";

/// Ends the process with the outcome of the program.
pub fn end(outcome: Result<Exit>) -> ! {
    let exit = outcome.unwrap_or_else(|failure| {
        output::tell(&failure);
        failure.exit
    });
    std::process::exit(exit.code());
}

/// The command line as it is parsed: with the flags that help, pages and completions leave out.
pub fn parser(command: clap::Command) -> clap::Command {
    Hidden::augment_args(command)
}

/// Parses the arguments of this process.
///
/// # Errors
/// They make no sense, or ask for help.
pub fn parse<T: FromArgMatches>(command: clap::Command) -> Result<(T, Hidden), clap::Error> {
    let mut command = parser(command);
    let args = normalized(std::env::args_os(), &command);
    let matches = command.try_get_matches_from_mut(args)?;
    Ok((T::from_arg_matches(&matches)?, Hidden::from_arg_matches(&matches)?))
}

/// Prints the reason for a command line that cannot be run, or the help that was asked for.
///
/// # Errors
/// The help cannot be written.
pub fn refuse(error: &clap::Error) -> Result<Exit> {
    if !error.use_stderr() {
        let help = error.render();
        output::raw(&if style::on_stdout() { help.ansi().to_string() } else { help.to_string() })?;
        return Ok(Exit::Done);
    }
    let words = error.render();
    let words = if style::on_stderr() { words.ansi().to_string() } else { words.to_string() };
    // All errors of these programs begin in the same way.
    output::complain(&words.replacen("error:", "Error:", 1));
    Ok(Exit::Usage)
}

/// An environment variable.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs a command to its end.
///
/// # Errors
/// Those of the command.
pub fn run(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    // One thread: the child process of a command ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(command);
    // A thread may still be blocked in a read of standard input; it does not matter any more.
    runtime.shutdown_background();
    outcome
}

/// Gives all commands that do something the [`TEMPLATE`]; groups list their commands first.
pub fn shape(command: &mut clap::Command) {
    command.get_subcommands_mut().for_each(shape);
    if !command.is_subcommand_required_set() {
        *command = std::mem::take(command).help_template(TEMPLATE);
    }
}

/// For tests: every command and flag below this command is described, and every command has an
/// example.
///
/// # Panics
/// One is not.
pub fn assert_described(command: &clap::Command) {
    let name = command.get_name();
    assert!(command.get_about().is_some(), "{name} says nothing about itself");
    for arg in command.get_arguments() {
        assert!(arg.get_help().is_some(), "{name}: {} is not described", arg.get_id());
    }
    let more = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    if !command.has_subcommands() {
        assert!(more.contains("Example"), "{name} has no example");
    }
    // Longer ones would be wrapped where there is no terminal.
    let long = more.lines().find(|line| line.chars().count() > 98);
    assert_eq!(long, None, "{name} has a long line");
    command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(assert_described);
}

/// `--flag=true` and `--flag=false`, as etcdctl's users write them, for flags that clap knows by
/// presence.
pub(crate) fn normalized(args: impl IntoIterator<Item = OsString>, command: &clap::Command) -> Vec<OsString> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (switches, values) = flags_in_use(&args, command);
    let mut open = true;
    let mut rewritten = Vec::new();
    for arg in args {
        open &= arg != "--";
        let switched = if open { arg.to_str().and_then(|arg| switch(arg, &switches, &values)) } else { None };
        match switched {
            None => rewritten.push(arg),
            Some(Some(flag)) => rewritten.push(flag.into()),
            Some(None) => {}
        }
    }
    rewritten
}

/// `Some(Some(flag))` to set it, `Some(None)` to leave it out, `None` if it is something else.
fn switch(arg: &str, switches: &[String], values: &[String]) -> Option<Option<String>> {
    let (name, value) = arg.strip_prefix("--")?.split_once('=')?;
    let known = switches.iter().any(|switch| switch == name) && !values.iter().any(|value| value == name);
    match value {
        "true" | "t" | "1" | "T" | "TRUE" | "True" if known => Some(Some(format!("--{name}"))),
        "false" | "f" | "0" | "F" | "FALSE" | "False" if known => Some(None),
        _ => None,
    }
}

/// The long names of flags that take no value, and of those that do: of the command that is called,
/// and of those above it. Another command may have a flag of the same name and of the other kind.
fn flags_in_use(args: &[OsString], command: &clap::Command) -> (Vec<String>, Vec<String>) {
    let (mut switches, mut values) = (Vec::new(), Vec::new());
    let mut collect = |command: &clap::Command| {
        for arg in command.get_arguments() {
            let names = if arg.get_action().takes_values() { &mut values } else { &mut switches };
            names.extend(arg.get_long().map(str::to_owned));
        }
    };
    collect(command);
    let (mut current, mut skip) = (command, false);
    for arg in args.iter().skip(1).take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str()) {
        if std::mem::take(&mut skip) {
            continue;
        }
        if arg.starts_with('-') {
            skip = takes_the_next(arg, current) || takes_the_next(arg, command);
        } else if let Some(sub) = current.find_subcommand(arg) {
            collect(sub);
            current = sub;
        }
    }
    (switches, values)
}

/// Whether a flag is followed by its value.
fn takes_the_next(flag: &str, command: &clap::Command) -> bool {
    let named = |arg: &&clap::Arg| {
        let short = arg.get_short_and_visible_aliases().unwrap_or_default();
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        flag.strip_prefix("--").is_some_and(|name| long.contains(&name))
            || short.iter().any(|short| flag.strip_prefix('-').is_some_and(|name| name.chars().eq([*short])))
    };
    let needs = |arg: &clap::Arg| arg.get_num_args().is_none_or(|count| count.min_values() > 0);
    command.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values() && needs(arg))
}
