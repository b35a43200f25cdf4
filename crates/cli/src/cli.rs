//! The command line as a whole.

use crate::{commands::Command, exit, program, settings::GlobalArgs};
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
    command
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
    fn switches_may_be_written_as_etcdctl_does() {
        let of = |args: &[&str]| format!("{:?}", parse(args).expect("well-formed").command);
        assert!(of(&["conclavectl", "get", "a", "--prefix=true"]).contains("prefix: true"));
        assert!(of(&["conclavectl", "get", "a", "--prefix=false"]).contains("prefix: false"));
        assert!(of(&["conclavectl", "put", "a", "--", "--prev-kv=true"]).contains("value: Some(\"--prev-kv=true\")"));
        assert!(parse(&["conclavectl", "get", "a", "--prefix=perhaps"]).is_err());
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
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut command(), "conclavectl", &mut script);
        let script = String::from_utf8_lossy(&script);
        assert!(script.contains("--prefix") && script.contains("--cacert") && !script.contains("--discovery-srv"));
    }
}
