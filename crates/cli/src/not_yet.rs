//! etcdctl's commands that there are none of yet: named as such, with what can be done instead.

use crate::{exit::Exit, failure::Failure};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// Each with what it would need, and what to do meanwhile.
const COMMANDS: [(&str, &str); 2] = [
    ("defrag", "it is not needed: members give space back by themselves; see `conclavectl compaction`"),
    ("check", "`conclave-bench` measures; `conclavectl endpoint hashkv --cluster` compares the members' data"),
];

/// What is said of a command that clap does not know; `None` if nobody does.
pub(crate) fn explain(error: &Error) -> Option<Failure> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, instead) = COMMANDS.iter().find(|(known, _)| known == name)?;
    Some(not_yet(name, instead))
}

fn not_yet(name: &str, instead: &str) -> Failure {
    Failure::new(Exit::Unsupported, format!("`conclavectl {name}` is not implemented yet")).hint(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_not_yet_is_called_by_its_name() {
        let of = |args: &[&str]| {
            let args = [&["conclavectl"], args].concat();
            explain(
                &crate::program::parser(crate::cli::command()).try_get_matches_from(args).expect_err("there is none"),
            )
        };
        for args in [&["check", "perf"][..], &["defrag"]] {
            let failure = of(args).unwrap_or_else(|| panic!("{args:?}"));
            assert!(failure.message().contains("is not implemented yet"), "{failure}");
        }
        assert!(of(&["bogus"]).is_none() && of(&["election", "add"]).is_none() && of(&["get"]).is_none());
    }
}
