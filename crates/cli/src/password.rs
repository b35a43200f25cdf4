//! Reads a password: from a terminal without showing it, else the first line of standard input.

use crate::failure::{Failure, Result};
use std::{
    io::{self, IsTerminal, Write},
    process::{Command, Stdio},
};

/// Asks for a password.
///
/// # Errors
/// Nothing can be read.
pub(crate) fn ask(prompt: &str) -> Result<String> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        let mut out = io::stderr();
        let _ = write!(out, "{prompt}").and_then(|()| out.flush());
    }
    let quiet = terminal && echo("-echo");
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    if quiet {
        echo("echo");
        let _ = writeln!(io::stderr());
    }
    match read {
        Ok(0) | Err(_) => Err(Failure::usage("no password was given".to_owned())),
        Ok(_) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

fn echo(how: &str) -> bool {
    let done = Command::new("stty").arg(how).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}
