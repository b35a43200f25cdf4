//! The examples of the client library, run against a cluster: what they show is what happens.

use anyhow::{Result, ensure};
use cluster_tests::{cluster::Cluster, etcd::application, wait::LONG, wait::within};
use conclave_client::{Client, KeyRange};
use std::collections::BTreeSet;

// Each is a program of its own; only its `main` is not used here.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(dead_code, unreachable_pub, reason = "it is a program, here part of a test")]
        mod $name;
    };
}

example!(fenced_writer, "../../crates/client/examples/fenced_writer.rs");
example!(leader_worker, "../../crates/client/examples/leader_worker.rs");
example!(work_queue, "../../crates/client/examples/work_queue.rs");
example!(configuration, "../../crates/client/examples/configuration.rs");
example!(leader_transactions, "../../crates/client/examples/leader_transactions.rs");

async fn one() -> Result<(Cluster, Client)> {
    let cluster = Cluster::start(1).await?;
    let client = application(&cluster)?;
    Ok((cluster, client))
}

#[tokio::test]
async fn the_fenced_writer_is_refused_when_it_is_late() -> Result<()> {
    let (_cluster, client) = one().await?;
    let said = within("the example", LONG, fenced_writer::run(&client)).await??;
    ensure!(said[0] == "first: Ok(())" && said[1] == "second: Ok(())", "{said:?}");
    ensure!(said[2].starts_with("first, late: refused true") && said[3] == "balance 250", "{said:?}");
    Ok(())
}

#[tokio::test]
async fn one_worker_leads_at_a_time_and_hands_over() -> Result<()> {
    let (_cluster, client) = one().await?;
    let journal = within("the example", LONG, leader_worker::run(&client)).await??;
    // In the journal the first worker's entries all come before the second's, in a later term.
    ensure!(journal.is_sorted_by_key(|(fence, _)| *fence), "{journal:?}");
    let terms: BTreeSet<_> = journal.iter().collect();
    ensure!(terms.len() == 2, "two terms of one worker each: {terms:?}");
    Ok(())
}

#[tokio::test]
async fn every_job_is_done_once_and_two_at_a_time() -> Result<()> {
    let (_cluster, client) = one().await?;
    let done = within("the example", LONG, work_queue::run(&client)).await??;
    let jobs: BTreeSet<_> = done.jobs.iter().collect();
    ensure!(done.jobs.len() == 12 && jobs.len() == 12, "{:?}", done.jobs);
    ensure!((1..=2).contains(&done.most), "{} at a time", done.most);
    ensure!(client.range(KeyRange::prefix("jobs/")).await?.kvs.is_empty());
    Ok(())
}

#[tokio::test]
async fn configuration_follows_its_changes() -> Result<()> {
    let (_cluster, client) = one().await?;
    let settings = within("the example", LONG, configuration::run(&client)).await??;
    ensure!(settings == [("config/color".to_owned(), "blue".to_owned())].into());
    Ok(())
}

#[tokio::test]
async fn a_leader_writes_only_while_it_leads() -> Result<()> {
    let (_cluster, client) = one().await?;
    let said = within("the example", LONG, leader_transactions::run(&client)).await??;
    let expected = [
        "unit/0: done",
        "unit/0: leads, but the state is another",
        "unit/0: leads no longer, nothing was written",
        "unit/1: done",
    ];
    ensure!(said == expected, "{said:?}");
    ensure!(client.get("deployment/state").await?.is_some_and(|kv| kv.value == "finished"));
    Ok(())
}
