//! A work queue: many workers, no more than so many jobs at a time, each job done once.
//!
//! The jobs are keys. A worker takes a permit of a semaphore, then a job, by a transaction that
//! holds only while the permit does: a worker that has lost its permit without noticing takes
//! nothing.
//!
//! ```console
//! $ cargo run --example work_queue -- 127.0.0.1:2379
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use conclave_client::{
    Client, Cmp, Compare, Delete, Error, ErrorKind, Get, Held, KeyRange, KeyValue, LockGuard, Put, Semaphore, Session,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

const WORKERS: usize = 4;
const AT_A_TIME: u32 = 2;

/// Its result.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The jobs, in the order in which they were done.
    pub jobs: Vec<String>,
    /// How many were under way together at most.
    pub most: usize,
}

/// Takes the oldest job out of the queue; `None` if there is none.
async fn take(client: &Client, permit: &LockGuard) -> Result<Option<KeyValue>, Error> {
    loop {
        let queue = client.range(Get::new(KeyRange::prefix("jobs/")).limit(1)).await?;
        let Some(job) = queue.kvs.into_iter().next() else { return Ok(None) };
        let untaken = Compare::mod_revision(job.key.clone(), Cmp::Equal, job.mod_revision);
        let taken = permit.txn().when([untaken]).then([Delete::new(job.key.clone())]).commit().await?;
        if taken.succeeded {
            return Ok(Some(job));
        }
        // Somebody else was faster.
    }
}

async fn worker(client: Client, busy: Arc<AtomicUsize>) -> Result<Done, Error> {
    let session = Session::open(&client, Duration::from_secs(5)).await?;
    let semaphore = Semaphore::new("workers", AT_A_TIME);
    let mut done = Done::default();
    loop {
        let mut permit = semaphore.acquire(&session, 1).await?;
        match take(&client, &permit).await {
            Ok(None) => {
                permit.unlock().await?;
                return Ok(done);
            }
            Ok(Some(job)) => {
                done.most = done.most.max(busy.fetch_add(1, Ordering::SeqCst) + 1);
                sleep(Duration::from_millis(10)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                done.jobs.push(String::from_utf8_lossy(&job.value).into_owned());
            }
            Err(error) if error.kind() == ErrorKind::NotHeld => println!("the permit was lost: {error}"),
            Err(error) => return Err(error),
        }
        permit.unlock().await?;
    }
}

/// Fills a queue and works it off.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn run(client: &Client) -> Result<Done, Error> {
    for i in 0..12 {
        client.put_with(Put::new(format!("jobs/{i:03}"), format!("job {i}"))).await?;
    }
    let (busy, mut workers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..WORKERS {
        workers.spawn(worker(client.clone(), Arc::clone(&busy)));
    }
    let mut all = Done::default();
    while let Some(ended) = workers.join_next().await {
        let Done { jobs, most } = ended.expect("no worker panics")?;
        all.jobs.extend(jobs);
        all.most = all.most.max(most);
    }
    Ok(all)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests call `run` on their own cluster")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    let Done { jobs, most } = run(&Client::new(endpoints)?).await?;
    println!("{} jobs done, {most} at a time at most: {jobs:?}", jobs.len());
    Ok(())
}
