//! The workers: started in their hosts, started again when a fault killed them, told to stop.
//!
//! 1. A worker that ends without a fault is a failure of the harness.
//! 2. What a killed worker was waiting for gets its end in the history: its call is of unknown
//!    outcome from then on.

use crate::{
    env::{ClientProcess, Env, Host, World},
    history::{Entry, Failure, Journal, Process, Record},
    plan::Plan,
    workload::{NUMBERS, Spec, WORKLOADS},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Workloads that share a process: what only needs the store, and what holds things.
const OF_THE_STORE: [&str; 4] = ["kv", "append", "set", "watch"];

struct Worker {
    client: usize,
    name: &'static str,
    process: ClientProcess,
    input: Option<std::process::ChildStdin>,
    journal: PathBuf,
}

pub(super) struct Crew {
    world: Arc<World>,
    plan: Plan,
    program: PathBuf,
    began: u64,
    journal: Journal,
    spawned: AtomicU64,
    workers: Mutex<Vec<Worker>>,
}

impl Crew {
    pub(super) fn start(env: &Env, plan: &Plan, program: &Path, journal: &Journal, began: u64) -> Result<Self> {
        let crew = Self {
            world: Arc::clone(env),
            plan: plan.clone(),
            program: program.to_owned(),
            began,
            journal: journal.clone(),
            spawned: AtomicU64::new(0),
            workers: Mutex::default(),
        };
        for client in 0..plan.clients {
            crew.join(client)?;
        }
        Ok(crew)
    }

    /// Starts the workers of one host.
    fn join(&self, client: usize) -> Result<()> {
        let mine = |of_the_store: bool| -> Vec<String> {
            let workloads = WORKLOADS.iter().filter(|workload| OF_THE_STORE.contains(workload) == of_the_store);
            workloads.filter(|workload| self.plan.has(workload)).map(|workload| (*workload).to_owned()).collect()
        };
        for (name, workloads) in [("store", mine(true)), ("places", mine(false))] {
            // Writes under a guard come with what they are guarded by.
            if workloads.iter().all(|workload| workload == "fenced") {
                continue;
            }
            let number = self.spawned.fetch_add(1, Ordering::Relaxed) + 1;
            let out = std::path::absolute(self.world.out())?;
            let journal = out.join(format!("client{}-{name}-{number}.jsonl", client + 1));
            let spec = Spec {
                client,
                journal: journal.clone(),
                endpoints: self.world.endpoints(Host::Client(client)),
                seed: self.plan.seed,
                first: number * NUMBERS,
                workloads,
                began: self.began,
                pace_ms: self.plan.pace_ms,
                ttl_s: self.plan.ttl_s,
                rate_error: self.plan.rate_error(),
                timeout_ms: 1000,
                etcd: self.plan.etcd,
            };
            let file = out.join(format!("worker{number}.json"));
            std::fs::write(&file, serde_json::to_string(&spec)?)?;
            let arguments = ["worker".to_owned(), file.display().to_string()];
            let process = self.world.spawn_client(client, &self.program, &arguments)?;
            let input = process.stdin();
            self.workers().push(Worker { client, name, process, input, journal });
        }
        Ok(())
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a client was killed: ends its calls in the history. Its successors come with
    /// [`Crew::replace`].
    pub(super) fn bury(&self, client: usize) -> Result<()> {
        let mut workers = self.workers();
        let (dead, living) = workers.drain(..).partition(|worker| worker.client == client);
        *workers = living;
        for worker in dead {
            end_calls(&worker, &self.journal)?;
        }
        Ok(())
    }

    pub(super) fn replace(&self, client: usize) -> Result<()> {
        self.join(client)
    }

    /// Whether all live that should.
    pub(super) fn look(&self) -> Result<()> {
        for worker in self.workers().iter() {
            ensure!(worker.process.running(), "the worker {} of client {} has ended", worker.name, worker.client + 1);
        }
        Ok(())
    }

    /// Lets all finish what they do, and waits for them.
    pub(super) fn drain(&self) -> Result<()> {
        let mut workers = self.workers();
        for worker in workers.iter_mut() {
            if let Some(mut input) = worker.input.take() {
                writeln!(input, "stop").context("a worker does not listen")?;
            }
        }
        for worker in workers.drain(..) {
            match worker.process.wait(Duration::from_secs(30)) {
                Some(status) if status.success() => {}
                ended => bail!("the worker {} of client {}: {ended:?}", worker.name, worker.client + 1),
            }
        }
        Ok(())
    }
}

/// Writes the ends of the calls that a dead worker left open.
fn end_calls(worker: &Worker, journal: &Journal) -> Result<()> {
    let text = std::fs::read_to_string(&worker.journal).unwrap_or_default();
    let mut open: BTreeMap<Process, Option<u32>> = BTreeMap::new();
    for line in text.lines() {
        let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
        match record.entry {
            Entry::Invoke(_) => {
                open.insert(record.process, record.node);
            }
            Entry::Ok(_) | Entry::Fail(_) | Entry::Info(_) => {
                open.remove(&record.process);
            }
            _ => {}
        }
    }
    for (process, node) in open {
        let failure = Failure { code: "killed".into(), error: "the client was killed".into() };
        journal.write(&process, node, Entry::Info(failure))?;
    }
    Ok(())
}
