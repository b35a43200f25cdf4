//! What a shell offers after TAB: commands, options, and the names that the cluster knows.
//!
//! Names are asked of the cluster by the endpoints and credentials of the line that `shells` got,
//! and of the environment.
//!
//! 1. Nobody waits at a prompt: no answer within [`PATIENCE`] means no names. Nothing is printed
//!    but candidates, and no password is asked for.

use crate::{
    commands::{self, Context, Kind},
    link::Link,
    program,
    settings::{GlobalArgs, Hidden, Settings},
    shells::NAME,
};
use clap::{Args as _, Command, FromArgMatches as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(1);

/// Arguments by their command, and what each names.
const NAMED: &[(&[&str], &str, Kind)] = &[
    (&["get"], "key", Kind::Key),
    (&["put"], "key", Kind::Key),
    (&["del"], "key", Kind::Key),
    (&["watch"], "key", Kind::Key),
    (&["lock"], "name", Kind::Lock),
    (&["lock", "show"], "name", Kind::Lock),
    (&["lock", "release"], "name", Kind::Lock),
    (&["election", "show"], "name", Kind::Election),
    (&["election", "watch"], "name", Kind::Election),
    (&["election", "enter"], "name", Kind::Election),
    (&["election", "leave"], "name", Kind::Election),
    (&["election", "promote"], "name", Kind::Election),
    (&["election", "demote"], "name", Kind::Election),
    (&["election", "anoint"], "name", Kind::Election),
    (&["election", "evict"], "name", Kind::Election),
    (&["election", "transfer"], "name", Kind::Election),
    (&["election", "delete"], "name", Kind::Election),
    (&["claim", "show"], "name", Kind::Claim),
    (&["claim", "watch"], "name", Kind::Claim),
    (&["claim", "take"], "name", Kind::Claim),
    (&["claim", "check"], "name", Kind::Claim),
    (&["claim", "await"], "name", Kind::Claim),
    (&["claim", "revoke"], "name", Kind::Claim),
    (&["claim", "pin"], "name", Kind::Claim),
    (&["claim", "unpin"], "name", Kind::Claim),
    (&["session", "close"], "session", Kind::Session),
];

/// The command line with completers at [`NAMED`].
pub(crate) fn names(command: Command) -> Command {
    NAMED.iter().fold(command, |command, (path, arg, kind)| at(command, path, arg, *kind))
}

fn at(command: Command, path: &[&str], arg: &str, kind: Kind) -> Command {
    let completer = || ArgValueCompleter::new(move |word: &OsStr| candidates(kind, word));
    match path {
        // All are looked at, since `mut_arg` would move the argument behind the others.
        [] => command.mut_args(|other| if other.get_id() == arg { other.add(completer()) } else { other }),
        [first, rest @ ..] => command.mut_subcommand(first, |sub| at(sub, rest, arg, kind)),
    }
}

fn candidates(kind: Kind, word: &OsStr) -> Vec<CompletionCandidate> {
    let found = word.to_str().and_then(|word| ask(kind, word));
    found.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The names of the cluster that begin with a word; `None` if it cannot be asked.
fn ask(kind: Kind, word: &str) -> Option<Vec<String>> {
    let global = globals(std::env::args_os())?;
    if global.asks_for_password(&program::variable) {
        return None;
    }
    let settings = Settings::new(&global, &Hidden::default(), &program::variable).ok()?;
    let context = Context { out: settings.output, link: Link::new(settings) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = runtime.block_on(async { timeout(PATIENCE, commands::known(&context, kind, word)).await });
    runtime.shutdown_background();
    asked.ok()?.ok()
}

/// The global options of a line that may not be finished.
fn globals(words: impl Iterator<Item = OsString>) -> Option<GlobalArgs> {
    let command = GlobalArgs::augment_args(Command::new(NAME).no_binary_name(true).ignore_errors(true));
    let mut kept = Vec::new();
    let mut words = words.skip_while(|word| word != "--").skip(1).peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let known = command.get_arguments().find(|arg| arg.get_long().is_some_and(|long| name == format!("--{long}")));
        let Some(arg) = known else { continue };
        let takes = value.is_none() && arg.get_action().takes_values();
        kept.push(word);
        if takes {
            kept.extend(words.next());
        }
    }
    GlobalArgs::from_arg_matches(&command.try_get_matches_from(kept).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use clap_complete::engine::complete;

    fn offered(words: &[&str]) -> Vec<String> {
        let line = [&[NAME], words].concat().into_iter().map(OsString::from).collect();
        let found = complete(&mut cli::command(), line, words.len(), None).expect("a line");
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn commands_come_before_options_and_refused_options_are_not_offered() {
        let offered = offered(&["election", ""]);
        let at =
            |text: &str| offered.iter().position(|one| one == text).unwrap_or_else(|| panic!("{text}: {offered:?}"));
        assert!(at("enter") < at("--endpoints") && at("show") < at("--endpoints"), "{offered:?}");
        assert!(!offered.iter().any(|one| one.contains("discovery")), "{offered:?}");
    }

    #[test]
    fn options_are_offered_when_they_are_begun() {
        assert!(offered(&["get", "--pre"]).contains(&"--prefix".to_owned()));
    }

    #[test]
    fn every_name_of_an_election_claim_or_lock_has_a_completer() {
        fn without(command: &Command, path: &str, missing: &mut Vec<String>) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let named = sub.get_arguments().find(|arg| arg.is_positional() && arg.get_id() == "name");
                if named.is_some_and(|arg| arg.get::<ArgValueCompleter>().is_none()) {
                    missing.push(path.clone());
                }
                without(sub, &path, missing);
            }
        }
        let mut missing = Vec::new();
        for group in ["election", "claim", "lock"] {
            let command = cli::command();
            without(command.find_subcommand(group).expect(group), group, &mut missing);
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn the_line_says_which_cluster_is_asked() {
        let line =
            ["x", "--", NAME, "election", "--endpoints", "a:1,b:2", "show", "--hex", "--prefix", "--user=u:p", "e"];
        let global = globals(line.into_iter().map(OsString::from)).expect("a line");
        let settings = Settings::new(&global, &Hidden::default(), &|_| None).expect("settings");
        assert_eq!(settings.endpoints, ["a:1", "b:2"]);
        assert!(settings.output.hex && !global.asks_for_password(&|_| None));
        let asks = globals(["x", "--", NAME, "get", "--user", "u"].into_iter().map(OsString::from)).expect("a line");
        assert!(asks.asks_for_password(&|_| None), "it would wait at the prompt");
        assert!(!asks.asks_for_password(&|name| (name == "CONCLAVECTL_PASSWORD").then(|| "p".to_owned())));
    }
}
