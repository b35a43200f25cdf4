//! A worker's life: it reads its orders, runs its clients, stops when it is told to, and ends when
//! all have finished.
//!
//! It runs on one thread. `stop` on its input, or the input's end, tells it to stop; it says
//! `ready` and `done` on its output.

use super::{
    Spec,
    actor::{Actor, Shared},
    append, claim, election, lease,
    link::Link,
    lock, places, queue, register, set, watch,
};
use crate::history::Journal;
use anyhow::{Context, Result};
use std::{
    io::{BufRead, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// How long clients may take to finish after they were told to stop.
const FINISH: Duration = Duration::from_secs(12);

/// Runs the clients that the file describes.
///
/// # Errors
/// The file is no description, or the history cannot be written.
pub fn worker(spec: &Path) -> Result<()> {
    let text = std::fs::read_to_string(spec).with_context(|| spec.display().to_string())?;
    let spec: Spec = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(spec))
}

async fn live(spec: Spec) -> Result<()> {
    let journal = Journal::open(&spec.journal, true)?;
    let link = Link::new(&spec.endpoints, spec.client, !spec.etcd)?;
    let shared = Arc::new(Shared {
        journal,
        processes: AtomicU64::new(spec.first),
        values: AtomicU64::new(spec.first),
        newest: AtomicI64::new(1),
        stop: AtomicBool::new(false),
        stopped: tokio::sync::Notify::new(),
        spec,
    });
    let mut clients = JoinSet::new();
    start(&mut clients, &shared, &link);
    say("ready")?;
    let told = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        // The end of the input means the same as the word.
        let _ = std::io::stdin().lock().read_line(&mut line);
    });
    told.await?;
    shared.stop.store(true, Ordering::Release);
    shared.stopped.notify_waiters();
    let finish = async {
        while let Some(ended) = clients.join_next().await {
            ended.context("a client failed")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(FINISH, finish).await.context("clients do not finish")??;
    say("done")
}

fn say(word: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    out.flush().context("nobody listens")
}

/// Starts what the workloads ask for; numbers decide where each client begins and what it draws.
fn start(clients: &mut JoinSet<()>, shared: &Arc<Shared>, link: &Link) {
    let mut number = shared.spec.client as u64;
    let mut actor = || {
        number += 1;
        Actor::new(shared, link, number)
    };
    let spec = &shared.spec;
    if spec.has("kv") {
        for _ in 0..4 {
            clients.spawn(register::run(actor()));
        }
    }
    if spec.has("append") {
        clients.spawn(append::run(actor()));
    }
    if spec.has("set") {
        clients.spawn(set::run(actor()));
    }
    if spec.has("watch") {
        clients.spawn(watch::run(actor()));
    }
    if spec.has("lease") {
        for _ in 0..6 {
            clients.spawn(lease::run(actor()));
        }
    }
    if spec.has("lock") {
        for _ in 0..2 {
            clients.spawn(lock::run(actor()));
        }
        for number in 0..lock::SLOW {
            clients.spawn(lock::slow(actor(), number));
        }
        if !spec.etcd {
            clients.spawn(places::slow(actor()));
            for _ in 0..2 {
                clients.spawn(places::locks(actor()));
            }
        }
    }
    if spec.has("election") {
        for _ in 0..2 {
            clients.spawn(election::candidate(actor()));
        }
        clients.spawn(election::slow(actor()));
        clients.spawn(election::onlooker(actor()));
    }
    if spec.has("semaphore") {
        for _ in 0..2 {
            clients.spawn(places::semaphores(actor()));
        }
    }
    if spec.has("queue") {
        for candidate in 0..3 {
            clients.spawn(queue::candidate(actor(), spec.client * 3 + candidate));
        }
        clients.spawn(queue::operator(actor()));
        for election in 0..queue::ELECTIONS {
            clients.spawn(queue::watcher(actor(), election));
        }
    }
    if spec.has("claim") {
        for holder in 0..2 {
            clients.spawn(claim::holder(actor(), spec.client * 2 + holder));
        }
    }
}
