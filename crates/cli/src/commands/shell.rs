//! `completion`, `man`, `version`: what needs no cluster.

use crate::{
    cli,
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

const NAME: &str = "conclavectl";

/// Print the completion script of a shell
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl completion bash > /etc/bash_completion.d/conclavectl
  conclavectl completion zsh > \"${fpath[1]}/_conclavectl\"
  conclavectl completion fish > ~/.config/fish/completions/conclavectl.fish")]
pub(crate) struct CompletionArgs {
    shell: Shell,
}

impl CompletionArgs {
    pub(crate) fn run(&self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::command(), NAME, &mut script);
        output::raw(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

/// Print the manual page, or write those of all commands to a directory
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl man | man -l -
  conclavectl man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where to write the pages, one a command
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(&self) -> Result<Exit> {
        match &self.dir {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(cli::command()).render(&mut page)?;
                output::raw(&String::from_utf8_lossy(&page))?;
            }
            Some(dir) => std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(cli::command(), dir))
                .map_err(|error| Failure::from(error).about(dir.display()))?,
        }
        Ok(Exit::Done)
    }
}

pub(crate) fn version() -> Result<Exit> {
    output::raw(&format!("{NAME} version: {}\nAPI version: 3.6\n", env!("CARGO_PKG_VERSION")))?;
    Ok(Exit::Done)
}
