//! `completion`, `man`, `version`: what needs no cluster.

use super::pages;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{self, Format, Json, Output, Show, Text},
    shells,
};
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::PathBuf;

const NAME: &str = "conclavectl";
/// Of etcd, as `etcdctl version` has it.
const API: &str = "3.6";

/// Print the completion script of a shell: commands, options, and the names that the cluster knows
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl completion bash > /etc/bash_completion.d/conclavectl
  conclavectl completion zsh > \"${fpath[1]}/_conclavectl\"
  conclavectl completion fish > ~/.config/fish/completions/conclavectl.fish
  source <(conclavectl completion bash)           for this shell alone")]
pub(crate) struct CompletionArgs {
    /// Of which shell
    shell: Shell,
}

impl CompletionArgs {
    pub(crate) fn run(&self, command: Command) -> Result<Exit> {
        output::raw(&shells::script(self.shell, command)?)?;
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
    pub(crate) fn run(&self, command: &Command) -> Result<Exit> {
        match &self.dir {
            None => {
                let page = pages::all(command.clone()).into_iter().next();
                output::raw(&page.map(|page| page.text).unwrap_or_default())?;
            }
            Some(dir) => {
                let failed = |error| Failure::from(error).about(dir.display());
                std::fs::create_dir_all(dir).map_err(failed)?;
                for page in pages::all(command.clone()) {
                    std::fs::write(dir.join(page.file), page.text).map_err(failed)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// The version of conclavectl, and of the API that it speaks
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl version
  conclavectl version -w json")]
pub(crate) struct VersionArgs {}

struct Versions;

impl Show for Versions {
    fn simple(&self, text: &mut Text) {
        text.line(format!("{NAME} version: {}", env!("CARGO_PKG_VERSION")));
        text.line(format!("API version: {API}"));
    }

    fn json(&self) -> Json {
        Json::object().with("version", env!("CARGO_PKG_VERSION")).with("api_version", API).done()
    }
}

pub(crate) fn version(format: Format) -> Result<Exit> {
    Output { format, ..Output::default() }.show(&Versions)?;
    Ok(Exit::Done)
}
