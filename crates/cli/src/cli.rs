//! The command line as a whole.

use crate::{commands::Command, complete, exit, program, settings::GlobalArgs};
use clap::{CommandFactory, Parser};

/// Elections, locks, claims, keys and leases of a Conclave cluster, from the command line.
///
/// What etcdctl does is done with etcdctl's names, flags and output.
#[derive(Debug, Parser)]
#[command(name = "conclavectl", version, propagate_version = false, max_term_width = 120)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The whole command line with the texts that are put together.
pub(crate) fn command() -> clap::Command {
    let environment = "\
Environment:
  CONCLAVECTL_ENDPOINTS, CONCLAVECTL_DIAL_TIMEOUT, CONCLAVECTL_COMMAND_TIMEOUT,
  CONCLAVECTL_WRITE_OUT, CONCLAVECTL_HEX and CONCLAVECTL_DEBUG stand for the global options of
  the same names. ETCDCTL_* of the same names is understood too. A flag counts before
  CONCLAVECTL_*, that before ETCDCTL_*.";
    let mut command = Cli::command().after_long_help(format!("{environment}\n\n{}", exit::TABLE));
    command.get_subcommands_mut().for_each(program::shape);
    complete::names(without_unused(command))
}

/// Commands that ask no member do not show the global options that they do not use.
fn without_unused(command: clap::Command) -> clap::Command {
    let globals: Vec<clap::Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let hide = |sub: clap::Command, used: &[&str]| {
        let unused = globals.iter().filter(|arg| !used.contains(&arg.get_id().as_str()));
        unused.fold(sub, |sub, arg| sub.arg(arg.clone().hide(true)))
    };
    command
        .mut_subcommand("audit", |sub| hide(sub, &["write_out", "color"]))
        .mut_subcommand("version", |sub| hide(sub, &["write_out", "color"]))
        .mut_subcommand("man", |sub| hide(sub, &["color"]))
        .mut_subcommand("completion", |sub| hide(sub, &["color"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::normalized;
    use clap::FromArgMatches as _;
    use std::ffi::OsString;

    fn parser() -> clap::Command {
        program::parser(command())
    }

    pub(crate) fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let command = parser();
        let args = normalized(args.iter().map(OsString::from), &command);
        Cli::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn the_definitions_hold_together() {
        parser().debug_assert();
    }

    #[test]
    fn help_begins_with_what_the_program_is_for() {
        for help in [parser().render_help(), parser().render_long_help()] {
            assert!(help.to_string().starts_with("Elections, locks, claims"), "{help}");
        }
    }

    #[test]
    fn commands_that_ask_no_member_do_not_show_how_to_reach_one() {
        let help = |args: &[&str]| parser().try_get_matches_from(args).expect_err("help").render().to_string();
        for name in ["audit", "version", "man", "completion"] {
            let help = help(&["conclavectl", name, "--help"]);
            assert!(!help.contains("--endpoints") && !help.contains("--cacert"), "{help}");
            assert_eq!(help.contains("--write-out"), ["audit", "version"].contains(&name), "{help}");
        }
        assert!(help(&["conclavectl", "status", "--help"]).contains("--endpoints"));
        // They are still understood there.
        assert!(parse(&["conclavectl", "version", "--endpoints", "a:1", "-w", "json"]).is_ok());
    }

    /// The words of a line of a document, as a shell would split it: up to an operator or a
    /// comment.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                (c, Some(end)) if c == end => quote = None,
                (c, Some(_)) => word.get_or_insert_default().push(c),
                ('\'' | '"', None) => (quote, word) = (Some(c), Some(word.unwrap_or_default())),
                ('&' | '|' | '<' | '>' | ';' | ')', None) => break,
                ('#', None) if word.is_none() => break,
                (' ', None) => words.extend(word.take()),
                (c, None) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    /// Sessions that show what conclavectl prints are not run by a test. At least their commands
    /// are ones.
    #[test]
    fn every_command_line_in_the_documents_is_one() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut lines = 0;
        for page in [
            "README.md",
            "docs/conclavectl.md",
            "docs/elections.md",
            "docs/operations.md",
            "docs/security.md",
            "docs/troubleshooting.md",
        ] {
            let text = std::fs::read_to_string(root.join(page)).expect(page);
            let (mut inside, mut commands) = (false, Vec::new());
            for line in text.lines() {
                inside ^= line.starts_with("```");
                let command = line.trim_start_matches("$ ");
                if inside && command.starts_with("conclavectl ") && !command.ends_with('\\') {
                    commands.push(command);
                }
            }
            for line in commands {
                lines += 1;
                let words = words(line);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                if let Err(error) = parse(&words) {
                    assert!(!error.use_stderr(), "{page}: {line}\n{error}");
                }
            }
        }
        assert!(lines > 40, "{lines}");
    }

    #[test]
    fn a_candidate_is_named_by_its_place_or_by_its_flag() {
        let of = |args: &[&str]| {
            let args = [&["conclavectl", "election"], args].concat();
            parse(&args).map(|cli| format!("{:?}", cli.command).contains("Some(\"host-7\")"))
        };
        for order in ["leave", "promote", "demote", "anoint", "evict"] {
            assert!(
                of(&[order, "e", "host-7"]).expect("by place")
                    && of(&[order, "e", "--candidate", "host-7"]).expect("by flag")
            );
            assert!(of(&[order, "e"]).is_err() && of(&[order, "e", "host-7", "--candidate", "host-7"]).is_err());
        }
        assert!(of(&["evict", "--everywhere", "host-7", "--candidate", "a"]).is_err());
    }

    #[test]
    fn switches_may_be_written_as_etcdctl_does() {
        let of = |args: &[&str]| format!("{:?}", parse(args).expect("well-formed").command);
        assert!(of(&["conclavectl", "get", "a", "--prefix=true"]).contains("prefix: true"));
        assert!(of(&["conclavectl", "get", "a", "--prefix=false"]).contains("prefix: false"));
        assert!(of(&["conclavectl", "put", "a", "--", "--prev-kv=true"]).contains("value: Some(\"--prev-kv=true\")"));
        assert!(parse(&["conclavectl", "get", "a", "--prefix=perhaps"]).is_err());
        // A flag of the same name that has a value, a value that is the name of a command, and the
        // other way round.
        assert!(of(&["conclavectl", "make-mirror", "a:1", "--prefix=true"]).contains("prefix: \"true\""));
        assert!(
            of(&["conclavectl", "--user", "make-mirror", "-w", "json", "get", "a", "--prefix=true"])
                .contains("prefix: true")
        );
    }

    #[test]
    fn every_command_has_help() {
        program::assert_described(&command());
    }

    #[test]
    fn examples_come_before_options_and_refused_flags_are_not_shown() {
        let error = parser().try_get_matches_from(["conclavectl", "put", "--help"]).expect_err("help");
        let help = error.render().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text} is missing in {help}"));
        assert!(at("Usage:") < at("Examples:") && at("Examples:") < at("Arguments:"), "{help}");
        assert!(
            at("Options:") < at("Global options:") && help.contains("--cacert") && !help.contains("--discovery-srv"),
            "{help}"
        );
    }
}
