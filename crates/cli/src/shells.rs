//! How a shell asks for what to offer after TAB.
//!
//! The script of a shell (`conclavectl completion SHELL`) calls conclavectl with [`VARIABLE`] and
//! the line so far.

use clap::Command;
use clap_complete::{CompleteEnv, Shell, env::Shells};

/// Says to conclavectl which shell asks.
const VARIABLE: &str = "CONCLAVECTL_COMPLETE";
pub(crate) const NAME: &str = "conclavectl";

/// Answers a shell and ends the process, if it is a shell that asks.
pub(crate) fn answer(command: fn() -> Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).bin(NAME).completer(NAME).complete();
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: Shell, mut command: Command) -> std::io::Result<String> {
    let mut script = Vec::new();
    match Shells::builtins().completer(&shell.to_string()) {
        Some(completer) => completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?,
        None => clap_complete::generate(shell, &mut command, NAME, &mut script),
    }
    Ok(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn every_shell_gets_a_script_that_asks_conclavectl() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell, cli::command()).expect("memory");
            assert!(script.contains(VARIABLE) && script.contains(NAME), "{shell}: {script}");
        }
    }
}
