//! What the programs under other words (`dump-log`, `snapshot`, `recover`) have in common:
//! arguments and exit codes.

use clap::Parser;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// The arguments behind the word. `Err`: help was shown (0), or the command line is wrong (2).
pub(crate) fn parse<T: Parser, A: Into<OsString> + Clone>(
    word: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<T, ExitCode> {
    let name = std::iter::once(OsString::from(word));
    T::try_parse_from(name.chain(arguments.into_iter().map(Into::into))).map_err(|error| {
        // Nobody may be there to read it.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}

/// Shows what was done, or why not.
pub(crate) fn end(word: &str, done: anyhow::Result<String>) -> ExitCode {
    match done {
        Ok(text) => {
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "conclave {word}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
