//! The program `conclave-trials`.
//!
//! Exit codes: 0 valid; 1 a violation, or a floor that was not met; 2 unknown; 3 the harness failed
//! or the command line is wrong.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::{
    control::{PARTS, known_bug},
    env::{Capabilities, Capability, Mode, doctor, sweep},
    matrix::{CELLS, MORE, below_floors, of_a_soak},
    mutants::{
        MUTANTS, Mutant,
        build::{Workshop, own_source},
        planted_in,
    },
    plan::{CLASSES, Plan, Wishes},
    run::{Figures, Means, judge, judge_dir, run},
    shrink::shrink,
    workload::{OF_ETCD, WORKLOADS, worker},
};
use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Breaks a cluster while clients use it, and judges what they saw.
#[derive(Parser)]
#[command(name = "conclave-trials")]
struct Cli {
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Try out what this machine allows.
    Doctor,
    /// One run.
    Run(RunArgs),
    /// Judge a run again.
    Check { dir: PathBuf },
    /// Judge a run again, and say where its page is.
    Report { dir: PathBuf },
    /// Make the run of a directory again: same seed, same faults.
    Replay {
        dir: PathBuf,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// The bounded set of runs for every change; other cells if they are named.
    Matrix {
        /// With the floors of CI.
        #[arg(long)]
        ci: bool,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only the cells whose names contain this.
        #[arg(long)]
        only: Option<String>,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// Runs of a minute, one after the other.
    Soak {
        #[arg(long)]
        hours: f64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// Another server, whose bugs are known.
    Control {
        /// Only `etcd`.
        what: String,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// Planted bugs, which must be found. Builds the servers, each with one of them.
    Mutants {
        /// Only those whose names contain one of these, comma separated.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// How long each run lasts; what its list says, unless given.
        #[arg(long)]
        seconds: Option<u64>,
        /// Only say which there are.
        #[arg(long)]
        list: bool,
        /// The source that the bugs are planted in, if not the one that this program was built
        /// from.
        #[arg(long)]
        source: Option<PathBuf>,
        /// Where servers are built, and kept for the next time.
        #[arg(long)]
        workshop: Option<PathBuf>,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// The runs that once showed a bug, again.
    Regressions {
        /// Only those whose names contain this.
        #[arg(long)]
        only: Option<String>,
        /// Where they are, if not where this program was built.
        #[arg(long)]
        folder: Option<PathBuf>,
        #[command(flatten)]
        means: MeansArgs,
    },
    /// Leave faults out of a failing run as long as it fails.
    Shrink {
        dir: PathBuf,
        #[command(flatten)]
        means: MeansArgs,
    },
    #[command(hide = true)]
    Worker { spec: PathBuf },
}

#[derive(Args, Clone)]
struct MeansArgs {
    /// The server: conclave, or etcd.
    #[arg(long, env = "CONCLAVE_BIN")]
    binary: Option<PathBuf>,
    /// Where histories and reports go.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Without namespaces, even where there are some.
    #[arg(long)]
    loopback: bool,
}

#[derive(Args)]
struct RunArgs {
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For example 30s, or 2m.
    #[arg(long, default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// Classes of faults; none by the empty text.
    #[arg(long, value_delimiter = ',', default_value = "partition,kill,pause")]
    faults: Vec<String>,
    /// All that there are, unless they are named.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    #[command(flatten)]
    means: MeansArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| format!("{text} is no duration"))?;
    let unit = match &text[digits.len()..] {
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("no unit {other}: there are s, m and h")),
    };
    Ok(Duration::from_secs_f64(number * unit))
}

impl MeansArgs {
    fn means(&self, name: &str) -> Result<Means> {
        let binary = self.binary.clone().unwrap_or_else(crate::binary::server);
        ensure!(binary.exists(), "there is no server at {}: --binary or CONCLAVE_BIN says where", binary.display());
        let out = self.out.clone().unwrap_or_else(|| std::env::temp_dir().join("conclave-trials").join(name));
        std::fs::create_dir_all(&out)?;
        Ok(Means {
            binary: std::path::absolute(binary)?,
            out: std::path::absolute(out)?,
            program: std::env::current_exe()?,
            mode: if self.loopback { Mode::Loopback } else { Mode::Auto },
        })
    }
}

/// What the program does.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => match act(cli.command) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("conclave-trials: {error:#}");
                ExitCode::from(3)
            }
        },
        Err(error) => {
            let help = !error.use_stderr();
            // Nobody may be there to read it.
            let _ = error.print();
            ExitCode::from(if help { 0 } else { 3 })
        }
    }
}

fn act(command: Do) -> Result<u8> {
    match command {
        Do::Doctor => {
            println!("{}", doctor()?);
            Ok(0)
        }
        Do::Worker { spec } => worker(&spec).map(|()| 0),
        Do::Run(arguments) => one(arguments),
        Do::Check { dir } => Ok(tell(&judge_dir(&dir)?)),
        Do::Report { dir } => {
            let code = tell(&judge_dir(&dir)?);
            println!("{}", dir.join("report.html").display());
            Ok(code)
        }
        Do::Replay { dir, means } => {
            let plan = Plan::load(&dir)?;
            let means = means.means("replay")?;
            ensure!(std::path::absolute(&dir)? != means.out, "a replay needs a directory of its own");
            go(&plan, &means).map(|figures| tell(&figures))
        }
        Do::Matrix { ci, seed, only, means } => matrix(ci, seed, only.as_deref(), &means.means("matrix")?),
        Do::Soak { hours, seed, means } => soak(hours, seed, &means.means("soak")?),
        Do::Control { what, seed, seconds, means } => control(&what, seed, seconds, &means),
        Do::Mutants { only, seeds, seconds, list, source, workshop, means } => {
            let wanted = |mutant: &&Mutant| only.is_empty() || only.iter().any(|only| mutant.name.contains(only));
            let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
            if list {
                for mutant in chosen {
                    println!("{:24} {}; by {}", mutant.name, mutant.what, mutant.caught_by.join(", "));
                }
                return Ok(0);
            }
            let workshop = workshop.unwrap_or_else(|| std::env::temp_dir().join("conclave-trials/workshop"));
            let workshop = Workshop::new(&source.unwrap_or_else(own_source), &workshop, &chosen)?;
            mutants(&chosen, seeds, seconds, &workshop, &means)
        }
        Do::Regressions { only, folder, means } => {
            let folder = folder.unwrap_or_else(super::regressions::folder);
            regressions(&folder, only.as_deref(), &means.means("regressions")?)
        }
        Do::Shrink { dir, means } => {
            let means = means.means("shrink")?;
            ensure!(std::path::absolute(&dir)? != means.out, "what is left needs a directory of its own");
            let plan = shrink(&dir, &means, |line| println!("{line}"))?;
            plan.save(&means.out)?;
            println!("{} faults are left, in {}", plan.steps.len(), means.out.join("plan.json").display());
            Ok(1)
        }
    }
}

fn one(arguments: RunArgs) -> Result<u8> {
    let means = arguments.means.means(&format!("run-{}", arguments.seed))?;
    let etcd = is_etcd(&means.binary);
    let mut workloads = arguments.workloads;
    if workloads.is_empty() {
        workloads = if etcd { OF_ETCD.map(str::to_owned).into() } else { WORKLOADS.map(str::to_owned).into() };
    }
    let mut plan = Plan::draw(Wishes {
        seed: arguments.seed,
        nodes: arguments.nodes,
        clients: 3,
        duration_ms: arguments.duration.as_millis() as u64,
        workloads,
        faults: arguments.faults.into_iter().filter(|class| !class.is_empty()).collect(),
        etcd,
    })?;
    plan.mutant = planted_in(&means.binary);
    let figures = go(&plan, &means)?;
    println!("{}", means.out.join("report.html").display());
    Ok(tell(&figures))
}

fn is_etcd(binary: &Path) -> bool {
    binary.file_name().is_some_and(|name| name.to_string_lossy().contains("etcd"))
}

/// Runs and judges.
fn go(plan: &Plan, means: &Means) -> Result<Figures> {
    let outcome = run(plan, means)?;
    for skipped in &outcome.skipped {
        println!("skipped: {skipped}");
    }
    judge(plan, &outcome, &means.out)
}

fn tell(figures: &Figures) -> u8 {
    println!("{figures}");
    match figures.verdict.as_str() {
        "valid" => 0,
        "violation" => 1,
        _ => 2,
    }
}

fn within(means: &Means, name: &str) -> Means {
    Means { out: means.out.join(name), ..means.clone() }
}

fn matrix(ci: bool, seed: u64, only: Option<&str>, means: &Means) -> Result<u8> {
    let began = Instant::now();
    let mut sum = Figures::default();
    println!(
        "{}",
        row(&["cell", "secs", "ops", "unknown", "faults", "leaders", "power", "grants", "expiries", "verdict"])
    );
    let more = MORE.iter().filter(|_| only.is_some());
    for (number, cell) in CELLS.iter().chain(more).enumerate() {
        if only.is_some_and(|only| !cell.name.contains(only)) {
            continue;
        }
        let plan = Plan::draw(cell.wishes(seed.wrapping_mul(1000) + number as u64))?;
        let figures = judged(&plan, &within(means, cell.name)).with_context(|| cell.name)?;
        println!("{}", line(cell.name, &figures));
        sum += &figures;
    }
    println!("{}", line("all", &sum));
    for (class, count) in &sum.faults {
        println!("    {class}: {count} with effect");
    }
    for (property, sentence) in &sum.flaws {
        println!("{property}: {sentence}");
    }
    println!("{:.0} s in all; histories and reports in {}", began.elapsed().as_secs_f64(), means.out.display());
    let all_faults = means.mode != Mode::Loopback
        && [Capability::Namespaces, Capability::Volumes, Capability::PowerCut]
            .iter()
            .all(|needed| Capabilities::find().has(*needed));
    let partial = ci && !all_faults;
    if partial {
        println!("This machine, or this user, does not allow all faults: conclave-trials doctor says which.");
        println!("So there are no floors, and what was not seen is not held against it: only a violation fails.");
    }
    let below = if ci && all_faults { below_floors(&sum) } else { Vec::new() };
    for (name, seen, floor) in &below {
        println!("only {seen} {name} of at least {floor}");
    }
    Ok(match sum.verdict.as_str() {
        "valid" if below.is_empty() => 0,
        "unknown" if partial => 0,
        "unknown" => 2,
        _ => 1,
    })
}

/// A run that could not be judged, because too little was seen or because the harness failed, is
/// made once more, and it is said. A violation stands.
fn judged(plan: &Plan, means: &Means) -> Result<Figures> {
    match go(plan, means) {
        Ok(figures) if figures.verdict != "unknown" => return Ok(figures),
        Ok(figures) => println!("once more, since {figures}"),
        Err(error) => {
            println!("once more, since the harness failed: {error:#}");
            sweep()?;
        }
    }
    go(plan, means)
}

fn regressions(folder: &Path, only: Option<&str>, means: &Means) -> Result<u8> {
    let mut worst = 0;
    for regression in super::regressions::load(folder)? {
        if only.is_some_and(|only| !regression.name.contains(only)) {
            continue;
        }
        println!("{} ({}): {}", regression.name, regression.by, regression.found);
        let code = tell(&go(&regression.plan, &within(means, &regression.name))?);
        // A violation counts for more than a run that says nothing.
        worst = match (worst, code) {
            (1, _) | (_, 1) => 1,
            (worst, code) => worst.max(code),
        };
    }
    Ok(worst)
}

fn row(columns: &[&str]) -> String {
    let mut text = format!("{:14}", columns[0]);
    for column in &columns[1..] {
        text.push_str(&format!("{column:>10}"));
    }
    text
}

fn line(name: &str, figures: &Figures) -> String {
    let numbers = [
        format!("{:.0}", figures.seconds),
        figures.operations.to_string(),
        figures.unknown.to_string(),
        figures.faults_with_effect().to_string(),
        figures.leader_changes.to_string(),
        figures.power_losses.to_string(),
        figures.grants.to_string(),
        figures.lease_expiries.to_string(),
        figures.verdict.clone(),
    ];
    let mut columns = vec![name];
    columns.extend(numbers.iter().map(String::as_str));
    row(&columns)
}

fn soak(hours: f64, seed: u64, means: &Means) -> Result<u8> {
    let until = Instant::now() + Duration::from_secs_f64(hours * 3600.0);
    let mut sum = Figures::default();
    let mut failures = 0;
    for seed in seed.. {
        if Instant::now() >= until {
            break;
        }
        let plan = Plan::draw(of_a_soak(seed))?;
        let dir = within(means, &format!("seed-{seed}"));
        match go(&plan, &dir) {
            Ok(figures) => {
                println!("seed {seed}, {} nodes, {}: {figures}", plan.nodes, plan.faults.join(","));
                if figures.is_valid() {
                    // Only what shows something is kept: histories are large.
                    std::fs::remove_dir_all(&dir.out)?;
                }
                sum += &figures;
                failures = 0;
            }
            Err(error) => {
                println!("seed {seed}: the harness failed: {error:#}");
                failures += 1;
                sweep()?;
                ensure!(failures < 3, "three failures of the harness in a row");
            }
        }
    }
    println!("{} runs, {:.0} s of them: {sum}", sum.runs, sum.seconds);
    for (class, count) in &sum.faults {
        println!("    {class}: {count} with effect");
    }
    Ok(match sum.verdict.as_str() {
        "valid" => 0,
        "violation" => 1,
        _ => 2,
    })
}

/// Stock etcd: both phantom grants must be found, and nothing that is not known of it. What else is
/// found is said.
fn control(what: &str, seed: u64, seconds: u64, means: &MeansArgs) -> Result<u8> {
    ensure!(what == "etcd", "there is no control {what}: only etcd");
    let binary = means.binary.clone().filter(|binary| is_etcd(binary)).unwrap_or_else(|| "/usr/bin/etcd".into());
    let means = MeansArgs { binary: Some(binary), ..means.clone() }.means("control-etcd")?;
    let mut code = 0;
    for part in &PARTS {
        let figures = go(&Plan::draw(part.wishes(seed, seconds))?, &within(&means, part.name))?;
        println!("etcd, {}: {} ops, {} grants", part.name, figures.operations, figures.grants);
        for (property, said) in &figures.flaws {
            let known = known_bug(property, said);
            println!(
                "    {property}: {said}\n        {}",
                known.unwrap_or("NOT KNOWN of etcd: an error of the checker?")
            );
            if known.is_none() {
                code = code.max(if figures.violates(property) { 1 } else { 2 });
            }
        }
        if !part.shows_its_phantom(&figures) {
            println!("    the phantom grant was not found");
            code = 1;
        }
    }
    println!(
        "{}",
        if code == 0 {
            "the phantoms were found, and nothing that is not known of etcd"
        } else {
            "not as it should be"
        }
    );
    Ok(code)
}

/// Every planted bug over several seeds, with a server of its own.
fn mutants(chosen: &[&Mutant], seeds: u64, seconds: Option<u64>, workshop: &Workshop, means: &MeansArgs) -> Result<u8> {
    let mut missed = Vec::new();
    for mutant in chosen {
        let means = MeansArgs { binary: Some(workshop.server(mutant)?), ..means.clone() }.means("mutants")?;
        let mut caught = 0;
        let mut by = BTreeSet::new();
        for seed in 1..=seeds {
            let mut wishes = mutant.wishes(seed);
            wishes.duration_ms = seconds.map_or(wishes.duration_ms, |seconds| seconds * 1000);
            let plan = Plan { mutant: Some(mutant.name.to_owned()), ..Plan::draw(wishes)? };
            let figures = go(&plan, &within(&means, &format!("{}-{seed}", mutant.name)));
            let figures = figures.with_context(|| format!("{} with seed {seed}", mutant.name))?;
            caught += u64::from(mutant.is_caught(&figures));
            let violated = figures.flaws.iter().filter(|(property, _)| figures.violates(property));
            by.extend(violated.map(|(property, _)| property.clone()));
        }
        let by = by.into_iter().collect::<Vec<_>>().join(", ");
        println!("{:24} {caught} of {seeds}; violated: {by}", mutant.name);
        if caught < seeds {
            missed.push(mutant.name);
        }
    }
    println!("{} of {} planted bugs caught with every seed", chosen.len() - missed.len(), chosen.len());
    Ok(u8::from(!missed.is_empty()))
}

/// Says which classes of faults and which workloads there are, for the documentation's test.
#[must_use]
pub fn words() -> Vec<&'static str> {
    CLASSES.iter().map(|(name, ..)| *name).chain(WORKLOADS).collect()
}
