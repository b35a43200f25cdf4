//! Installs and heals the faults of a plan, and writes what they did.
//!
//! 1. Every step has a thread, so that one that takes long to heal holds up no other.
//! 2. What is not possible here or now is written as skipped, and does not count. Any other failure
//!    is one of the harness.
//! 3. After a power loss that is healed while nothing else is broken, every member is asked for its
//!    state.

use super::{crew::Crew, members::Members, observer::Observer};
use crate::{
    env::{Change, Effect, Env, Evidence, Fault, NotPossible, World},
    history::{Entry, Fact, FaultEvent, Journal, Process, Stage, now},
    plan::{Plan, Step},
};
use anyhow::{Context, Result, anyhow};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(super) struct Nemesis {
    pub(super) world: Arc<World>,
    pub(super) journal: Journal,
    pub(super) crew: Arc<Crew>,
    pub(super) observer: Arc<Observer>,
    pub(super) members: Members,
    pub(super) began: u64,
    /// When no more changes of the members are begun: they take as long as they take.
    end: u64,
    pub(super) evidence: Mutex<Vec<Evidence>>,
    pub(super) skipped: Mutex<Vec<String>>,
    holding: AtomicUsize,
}

impl Nemesis {
    pub(super) fn new(
        env: &Env,
        journal: &Journal,
        crew: &Arc<Crew>,
        observer: &Arc<Observer>,
        (began, duration_ms): (u64, u64),
    ) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(env),
            journal: journal.clone(),
            crew: Arc::clone(crew),
            observer: Arc::clone(observer),
            members: Members::new(env, journal),
            began,
            end: began + duration_ms * 1_000_000,
            evidence: Mutex::default(),
            skipped: Mutex::default(),
            holding: AtomicUsize::new(0),
        })
    }

    /// Does everything that the plan says.
    ///
    /// # Errors
    /// The harness failed.
    pub(super) fn run(self: &Arc<Self>, plan: &Plan) -> Result<()> {
        let mut tracks: BTreeMap<u8, Vec<(u64, Step)>> = BTreeMap::new();
        for (number, step) in plan.steps.iter().enumerate() {
            tracks.entry(step.track).or_default().push((number as u64 + 1, step.clone()));
        }
        let threads: Vec<_> = tracks
            .into_values()
            .map(|steps| {
                let nemesis = Arc::clone(self);
                std::thread::spawn(move || {
                    let mut steps = steps.iter();
                    steps
                        .try_for_each(|(id, step)| nemesis.step(*id, step).with_context(|| format!("{:?}", step.fault)))
                })
            })
            .collect();
        let mut first = Ok(());
        for thread in threads {
            let ended = thread.join().map_err(|_| anyhow!("a fault's thread failed"))?;
            first = first.and(ended);
        }
        first
    }

    fn step(&self, id: u64, step: &Step) -> Result<()> {
        let due = self.began + step.at_ms * 1_000_000;
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        if let Fault::Members { change } = step.fault {
            return self.change(id, step, change);
        }
        let installed = match self.world.install(&step.fault) {
            Ok(installed) => installed,
            Err(error) => {
                let Some(NotPossible(why)) = error.downcast_ref::<NotPossible>() else { return Err(error) };
                let why = format!("{}: {why}", step.fault.name());
                self.skipped.lock().unwrap_or_else(PoisonError::into_inner).push(why.clone());
                return self.write(self.event(id, &step.fault, Stage::Skipped, Vec::new(), why));
            }
        };
        self.holding.fetch_add(1, Ordering::AcqRel);
        let targets = targets(&installed.nodes, &installed.clients);
        self.write(self.event(id, &step.fault, Stage::Installed, targets.clone(), step.fault.name()))?;
        let killed = if let Fault::KillClient { client } = step.fault { Some(client) } else { None };
        if let Some(client) = killed {
            self.crew.bury(client)?;
        }
        std::thread::sleep(Duration::from_millis(step.hold_ms));
        let healed = self.world.heal(installed);
        let others = self.holding.fetch_sub(1, Ordering::AcqRel) - 1;
        let evidence = healed?;
        if let Some(client) = killed {
            self.crew.replace(client)?;
        }
        self.write(self.event(id, &step.fault, Stage::Healed, targets.clone(), String::new()))?;
        let told = FaultEvent {
            effect: if evidence.effective { effect(&evidence) } else { BTreeMap::new() },
            ..self.event(id, &step.fault, Stage::Evidence, targets, evidence.note.clone())
        };
        self.write(told)?;
        for effect in &evidence.effects {
            let Effect::Compacted { asked, .. } = effect else { continue };
            asked.iter().try_for_each(|one| self.tell(Entry::Fact(Fact::Compaction(*one))))?;
        }
        if evidence.class == "power-loss" && evidence.effective && others == 0 {
            // Something else may break meanwhile: then there is nothing to compare.
            let _ = self.observer.states(&[]);
        }
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push(evidence);
        Ok(())
    }

    /// A change of the members. It is under way for as long as it takes, and then what follows from
    /// it may take a moment.
    fn change(&self, id: u64, step: &Step, change: Change) -> Result<()> {
        let began = now();
        if began >= self.end {
            return Ok(());
        }
        let nodes: Vec<usize> = (0..self.world.nodes()).collect();
        let targets = targets(&nodes, &[]);
        self.write(self.event(id, &step.fault, Stage::Installed, targets.clone(), change.name().to_owned()))?;
        let leader_was = self.world.leader_now();
        self.holding.fetch_add(1, Ordering::AcqRel);
        let made = self.members.make(change);
        std::thread::sleep(Duration::from_millis(step.hold_ms));
        self.holding.fetch_sub(1, Ordering::AcqRel);
        let effects: Vec<Effect> = made?.into_iter().collect();
        self.write(self.event(id, &step.fault, Stage::Healed, targets.clone(), String::new()))?;
        let evidence = Evidence {
            fault: step.fault.clone(),
            class: step.fault.class().to_owned(),
            nodes,
            clients: Vec::new(),
            leader_was,
            installed_ns: began,
            healed_ns: now(),
            effective: !effects.is_empty(),
            effects,
            note: String::new(),
        };
        let effect = if evidence.effective { effect(&evidence) } else { BTreeMap::new() };
        self.write(FaultEvent { effect, ..self.event(id, &step.fault, Stage::Evidence, targets, String::new()) })?;
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push(evidence);
        Ok(())
    }

    fn event(&self, id: u64, fault: &Fault, stage: Stage, targets: Vec<String>, detail: String) -> FaultEvent {
        FaultEvent { id, fault: label(fault).to_owned(), stage, targets, detail, effect: BTreeMap::new() }
    }

    fn write(&self, event: FaultEvent) -> Result<()> {
        self.tell(Entry::Fault(event))
    }

    fn tell(&self, entry: Entry) -> Result<()> {
        self.journal.write(&Process::Harness("nemesis".into()), None, entry)
    }
}

fn targets(nodes: &[usize], clients: &[usize]) -> Vec<String> {
    let nodes = nodes.iter().map(|node| format!("n{}", node + 1));
    nodes.chain(clients.iter().map(|client| format!("client{}", client + 1))).collect()
}

/// The word by which checkers and the report know a fault. Those that begin with `client` do not
/// excuse the servers.
pub(super) fn label(fault: &Fault) -> &'static str {
    use crate::env::Who;
    match fault {
        Fault::ClientCut { .. } => "client-partition",
        Fault::PauseClient { .. } => "client-pause",
        Fault::KillClient { .. } => "client-kill",
        Fault::WallJump { who: Who::Client(_) | Who::AllClients, .. }
        | Fault::ClockRate { who: Who::Client(_) | Who::AllClients, .. }
        | Fault::MonotonicJump { who: Who::Client(_) | Who::AllClients, .. } => "client-clock",
        Fault::ClockRate { .. } => "clock-rate",
        Fault::WallJump { .. } | Fault::MonotonicJump { .. } => "clock-jump",
        _ => match fault.class() {
            "slow-network" => "delay",
            "lossy-network" => "loss",
            "resets" => "reset",
            class => class,
        },
    }
}

/// What was seen, in figures.
fn effect(evidence: &Evidence) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let mut add = |what: &str, how_much: f64| *figures.entry(what.to_owned()).or_insert(0.0) += how_much;
    for effect in &evidence.effects {
        match effect {
            Effect::Packets(packets) => {
                let Ok(serde_json::Value::Object(counts)) = serde_json::to_value(packets) else { continue };
                for (what, count) in counts {
                    if let Some(count) = count.as_f64().filter(|count| *count > 0.0) {
                        add(&format!("packets {what}"), count);
                    }
                }
            }
            Effect::Ended { .. } => add("processes ended", 1.0),
            Effect::Started { .. } => add("nodes started", 1.0),
            Effect::NotReady { .. } => add("not ready in time", 1.0),
            Effect::Stopped { nanos, .. } => add("milliseconds stopped", *nanos as f64 / 1e6),
            Effect::Lost { .. } => add("disks that lost what was not synced", 1.0),
            Effect::Syncs { changed, .. } => add("syncs changed", *changed as f64),
            Effect::Full { .. } => add("disks full", 1.0),
            Effect::Damaged { bytes, .. } => add("bytes damaged", *bytes as f64),
            Effect::Refused { .. } => add("nodes that refused the damage", 1.0),
            Effect::Survived { .. } => add("nodes that came up with the damage", 1.0),
            Effect::Clock { ahead_nanos, .. } => add("milliseconds off", ahead_nanos.unsigned_abs() as f64 / 1e6),
            Effect::Throttled { periods, .. } => add("periods throttled", *periods as f64),
            Effect::Compacted { times, .. } => add("compactions", *times as f64),
            Effect::Snapshots { received, .. } => add("snapshots received", *received as f64),
            Effect::Changed { added, promoted, removed, stopped } => {
                let all = [("added", added), ("promoted", promoted), ("removed", removed), ("stopped", stopped)];
                all.into_iter().for_each(|(what, count)| add(&format!("members {what}"), *count as f64));
            }
        }
    }
    // Effective without a figure of its own.
    figures.entry("seen".into()).or_insert(1.0);
    figures
}
