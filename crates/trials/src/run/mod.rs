//! One run: start everything, load and break it, heal it, let it settle, look at it, end it, judge
//! it.
//!
//! | Phase | What happens |
//! |---|---|
//! | `load` | workers work, faults come and go |
//! | `healed` | nothing is broken any more; every node must serve again; workers go on for a moment |
//! | `drained` | all workers have finished; every member tells its state and its digest |
//! | `end` | every member's watch has brought everything; then all members are stopped, and their logs are read |
//!
//! 1. What the environment itself finds (nodes that ended by themselves, nodes that do not serve
//!    when all is healed) is kept in `outcome.json` and judged as properties of its own.
//! 2. A failure of the harness is an error, never a verdict.

mod crew;
mod judge;
mod logs;
mod members;
mod nemesis;
mod observed;
mod observer;
mod standing;

pub use judge::{Figures, OF_THE_ENVIRONMENT, judge, judge_dir};

use super::{
    env::{Env, Evidence, Setup, now_ns},
    history::{Bounds, Entry, Fact, Journal, Process},
    mutants::planted_in,
    plan::Plan,
    workload::{OF_ETCD, WORKLOADS},
};
use anyhow::{Context, Result, bail};
use conclave_api::conclave::v1::{Limits, SetLimitsRequest, claims_client::ClaimsClient};
use crew::Crew;
use nemesis::Nemesis;
use observer::Observer;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// How long nodes may take to serve again when everything is healed.
const RECOVERY: Duration = Duration::from_secs(40);
/// How long workers go on after that.
const CALM: Duration = Duration::from_millis(2500);

/// What a run is made with.
#[derive(Clone, Debug)]
pub struct Means {
    pub binary: PathBuf,
    pub out: PathBuf,
    /// This program, which is the workers' too.
    pub program: PathBuf,
    pub mode: super::env::Mode,
}

/// What the environment found by itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub binary: String,
    pub mode: String,
    /// Nodes that ended though no fault excuses it.
    pub exits: Vec<String>,
    /// Nodes that did not serve when everything was healed.
    pub unserved: Option<String>,
    /// Members that never brought everything.
    pub behind: bool,
    /// Of members that must not take part, and did or did not say why not.
    #[serde(default)]
    pub outsiders: Vec<String>,
    pub evidence: Vec<Evidence>,
    pub skipped: Vec<String>,
    pub packets: u64,
}

/// Makes a run as planned, and leaves everything about it in the directory. It is not judged yet.
///
/// # Errors
/// The harness failed.
pub fn run(plan: &Plan, means: &Means) -> Result<Outcome> {
    clear(&means.out)?;
    plan.save(&means.out)?;
    let journal = Journal::open(&means.out.join("runner.jsonl"), false)?;
    fact(&journal, Fact::Bounds(bounds(plan)))?;
    match (&plan.mutant, planted_in(&means.binary)) {
        (wanted, planted) if *wanted == planted => {}
        (Some(name), _) => bail!("the plan is for a server with the planted bug {name}"),
        (None, _) => bail!("the plan is for a server without a planted bug"),
    }
    let env = Env::start(Setup {
        nodes: plan.nodes,
        spares: plan.spares,
        clients: plan.clients,
        flags: plan.flags.clone(),
        mode: means.mode,
        ..Setup::new(&means.binary, &means.out, plan.seed)
    })?;
    let observer = Arc::new(Observer::start(&env, &journal, plan.etcd)?);
    if plan.has("claim") && !plan.etcd {
        allow_short_claims(&env)?;
    }
    let outcome = drive(plan, means, &env, &journal, &observer);
    if let Ok(observer) = Arc::try_unwrap(observer) {
        observer.finish();
    }
    let mut outcome = outcome?;
    if !plan.etcd {
        let lost = damaged(&outcome.evidence);
        outcome.exits.extend(logs::stop(&env, &lost)?);
        outcome.skipped.extend(logs::read(&env, &means.binary, &journal, &lost)?);
    }
    env.finish()?;
    std::fs::write(means.out.join("outcome.json"), serde_json::to_string_pretty(&outcome)?)?;
    Ok(outcome)
}

fn drive(plan: &Plan, means: &Means, env: &Env, journal: &Journal, observer: &Arc<Observer>) -> Result<Outcome> {
    fact(journal, Fact::Phase("load".into()))?;
    let began = now_ns();
    let crew = Arc::new(Crew::start(env, plan, &means.program, journal, began)?);
    let nemesis = Nemesis::new(env, journal, &crew, observer, (began, plan.duration_ms));
    nemesis.run(plan)?;
    let end = began + plan.duration_ms * 1_000_000;
    while now_ns() < end {
        crew.look()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let evidence = std::mem::take(&mut *nemesis.evidence.lock().unwrap_or_else(PoisonError::into_inner));
    let lost: Vec<usize> = damaged(&evidence);
    fact(journal, Fact::Phase("healed".into()))?;
    if plan.changes_members() {
        nemesis.members.settle()?;
    }
    let unserved = env.wait_all_serve(RECOVERY).err().filter(|_| lost.is_empty()).map(|error| format!("{error:#}"));
    let calm = Instant::now();
    while calm.elapsed() < CALM {
        crew.look()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    crew.drain()?;
    fact(journal, Fact::Phase("drained".into()))?;
    let mut behind = false;
    if unserved.is_none() {
        let newest = observer.states(&lost)?;
        behind = !observer.has_seen(newest, Duration::from_secs(10)) && lost.is_empty();
    }
    if !plan.etcd {
        observer::leaders_of_logs(&means.out, env.nodes(), journal)?;
    }
    fact(journal, Fact::Phase("end".into()))?;
    let skipped = std::mem::take(&mut *nemesis.skipped.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome {
        binary: env.binary_hash()?,
        mode: format!("{:?}", env.mode()).to_lowercase(),
        exits: env
            .unexpected_exits()
            .iter()
            .map(|exit| format!("n{} ended: {}; {}", exit.node + 1, exit.how, exit.tail))
            .collect(),
        unserved,
        behind,
        outsiders: nemesis.members.wrong(),
        evidence,
        skipped,
        packets: env.carried(),
    })
}

/// Nodes that came up with damaged files: the minority that may be lost.
fn damaged(evidence: &[Evidence]) -> Vec<usize> {
    use super::env::Effect;
    let survived = evidence.iter().flat_map(|one| &one.effects).filter_map(|effect| match effect {
        Effect::Survived { node } => Some(*node),
        _ => None,
    });
    survived.collect()
}

fn fact(journal: &Journal, fact: Fact) -> Result<()> {
    journal.write(&Process::Harness("runner".into()), None, Entry::Fact(fact))
}

/// An empty directory for a run. What an earlier run left there goes, and nothing else.
fn clear(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        let ours = ["jsonl", "json", "log", "html", "edn"];
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension == Some("sound") {
            std::fs::remove_dir_all(&path)?;
        } else if extension.is_some_and(|one| ours.contains(&one))
            || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("outside-"))
        {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// By what a run of this plan is judged.
fn bounds(plan: &Plan) -> Bounds {
    let seconds = (plan.duration_ms / 1000) as usize;
    let mut bounds = Bounds {
        rate_error: plan.rate_error(),
        uncertainty: 5_000_000,
        late: 4_000_000_000,
        wake: 4_000_000_000,
        max_unknown: 0.15,
        zombies_fail: !plan.etcd,
        dated_grants: !plan.etcd,
        dated_leaders: !plan.etcd,
        ..Bounds::default()
    };
    for (property, each_second) in [("linearizable", 20), ("grants", 1), ("coverage", 20)] {
        bounds.floors.insert(property.into(), seconds * each_second);
    }
    if plan.nodes == 1 {
        // There is nobody to compare with.
        bounds.floors.insert("digests".into(), 0);
    }
    // What this run does not do needs not be seen.
    bounds.floors.insert("watch-bookmarkable".into(), 0);
    bounds.floors.insert("serializable".into(), 0);
    bounds.floors.insert("abandoned".into(), 0);
    let offered: &[&str] = if plan.etcd { &OF_ETCD } else { &WORKLOADS };
    if plan.nodes == 1 {
        bounds.floors.insert("digests".into(), 0);
    }
    if plan.etcd {
        bounds.floors.insert("capacity".into(), 0);
        bounds.floors.insert("log-matching".into(), 0);
        bounds.floors.insert("one-leader".into(), 0);
    }
    debug_assert!(plan.workloads.iter().all(|workload| offered.contains(&workload.as_str())), "{:?}", plan.workloads);
    bounds
}

/// Claims of less than the default minimum, so that some end within a run.
fn allow_short_claims(env: &Env) -> Result<()> {
    let url = env.endpoint(super::env::Host::Runner, 0);
    let ask = move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let request = SetLimitsRequest {
                caller: Some(Default::default()),
                namespace: "default".into(),
                limits: Some(Limits { min_ms: 500, max_ms: 60_000, max_waiting: 1000 }),
            };
            let mut client = ClaimsClient::connect(url).await?;
            client.set_limits(request).await?;
            Ok(())
        })
    };
    let asked = env.inside(super::env::Host::Runner, ask)?.join();
    asked.map_err(|_| anyhow::anyhow!("the limits could not be asked for"))?.context("short claims are not allowed")
}
