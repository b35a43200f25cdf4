//! `bench report`: tables and plots of what `scripts/bench` measured.
//!
//! `results` (lines of JSON → figures by case, server and round) → `compare` (medians with their
//! `spread`, ratios of the same round) → `plan` (which figures are told, what is aimed at) →
//! `document` and `plot` (Markdown and SVG), `summary` (for a terminal).
//!
//! 1. A ratio is of two figures of the same round, taken within minutes of each other; what is told
//!    is the median of such ratios with the least and the greatest. Ratios of medians are never
//!    made.
//! 2. Everything in the document comes from the results; the same results make the same document.

mod compare;
mod document;
mod machine;
mod plan;
mod plot;
mod results;
mod spread;
mod summary;

use clap::Args;
use conclave_cli::{
    exit::Exit,
    failure::{Failure, Result},
    output,
};
use results::Results;
use std::path::{Path, PathBuf};

/// Make tables and plots of results
///
/// Reads the lines of JSON that `scripts/bench` left behind, and prints the ratios of the servers
/// with their spread.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench report results
  conclave-bench report results --document docs/benchmarks.md     plots go to docs/benchmarks/")]
pub(crate) struct ReportArgs {
    /// Where the results are: results.jsonl, machine.json
    dir: PathBuf,
    /// Write this Markdown file, too, and its plots into the directory of the same name beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) fn run(&self) -> Result<()> {
        let read = |name: &str| {
            let path = self.dir.join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                let unreadable = Failure::new(Exit::Io, format!("{}: {error}", path.display()));
                unreadable.hint("give the directory that `scripts/bench --out DIR` wrote")
            })
        };
        let results = Results::parse(&read("results.jsonl")?).map_err(|why| Failure::new(Exit::BadInput, why))?;
        output::raw(&summary::text(&results))?;
        if let Some(file) = &self.document {
            let machine =
                machine::Machine::parse(&read("machine.json")?).map_err(|why| Failure::new(Exit::BadInput, why))?;
            write_document(file, &results, &machine)?;
        }
        Ok(())
    }
}

fn write_document(file: &Path, results: &Results, machine: &machine::Machine) -> Result<()> {
    let wrong = || Failure::usage(format!("--document {}: it needs a name, such as benchmarks.md", file.display()));
    let stem = file.file_stem().and_then(|stem| stem.to_str()).ok_or_else(wrong)?;
    let failed = |path: &Path, error: &std::io::Error| Failure::new(Exit::Io, format!("{}: {error}", path.display()));
    let plots_dir = file.with_file_name(stem);
    std::fs::create_dir_all(&plots_dir).map_err(|error| failed(&plots_dir, &error))?;
    let document = document::render(results, machine, stem);
    for (name, svg) in &document.plots {
        let path = plots_dir.join(name);
        std::fs::write(&path, svg).map_err(|error| failed(&path, &error))?;
    }
    std::fs::write(file, document.markdown).map_err(|error| failed(file, &error))
}
