//! Several instances of a program, of which one works at a time.
//!
//! Each stands for election and works while it leads. When leadership is taken away, the work is
//! stopped before anything is given up; when an operator asks for a hand-over, the worker comes to
//! an end in good order and lets the other one lead in the same revision.
//!
//! ```console
//! $ cargo run --example leader_worker -- 127.0.0.1:2379
//! ```
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use conclave_client::{Client, Error, QueueElection, Ran, Session, run_as_leader};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

/// What was worked, in which term, by whom.
pub type Journal = Arc<Mutex<Vec<(i64, String)>>>;

/// One instance: leads, works until it is asked to hand over, and goes.
async fn worker(client: Client, id: &str, journal: Journal) -> Result<(), Error> {
    let session = Session::open(&client, Duration::from_secs(5)).await?;
    let election = QueueElection::new(&client, "nightly-batch");
    let leadership = election.candidate(&session, id).label("host", id).takeover().campaign().await?;
    let ran = run_as_leader(leadership, async |leading| {
        let mut stopping = leading.stopping();
        loop {
            journal.lock().await.push((leading.fence(), id.to_owned()));
            tokio::select! {
                () = &mut stopping => return,
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    match ran.await {
        // The work had ended; only then was the leadership given on.
        Ran::HandedOver(()) => println!("{id}: handed over"),
        Ran::Finished(()) => println!("{id}: ended, no member confirmed the session"),
        Ran::Stopped(reason) => println!("{id}: stopped, {reason:?}"),
    }
    Ok(())
}

/// Two workers, and an operator who moves the work from one to the other and then stops. Returns
/// the journal.
///
/// # Errors
/// The cluster cannot be reached.
pub async fn run(client: &Client) -> Result<Vec<(i64, String)>, Error> {
    let (journal, election) = (Journal::default(), QueueElection::new(client, "nightly-batch"));
    let mut workers = JoinSet::new();
    for id in ["north", "south"] {
        let (client, journal) = (client.clone(), Arc::clone(&journal));
        workers.spawn(async move { worker(client, id, journal).await });
    }
    // Wait until one leads and the other stands in line.
    let term = loop {
        let term = election.candidates(10, 0).await?;
        if term.leader.is_some() && term.waiting == 1 && !journal.lock().await.is_empty() {
            break term;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let next = term.candidates.last().map(|candidate| candidate.id.clone()).unwrap_or_default();
    election.request_transfer(&next, Some(Duration::from_secs(10)), false).await?;
    while journal.lock().await.last().is_none_or(|(_, id)| *id != next) {
        sleep(Duration::from_millis(20)).await;
    }
    workers.shutdown().await;
    let journal = journal.lock().await.clone();
    Ok(journal)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests call `run` on their own cluster")]
async fn main() -> Result<(), Error> {
    let endpoints: Vec<String> = std::env::args().skip(1).collect();
    for (fence, id) in run(&Client::new(endpoints)?).await? {
        println!("term {fence}: {id} worked");
    }
    Ok(())
}
