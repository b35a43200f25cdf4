//! `conclave-bench` against real servers: every workload runs on Conclave and on etcd, with figures
//! that can be true, and leaves nothing behind.

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    cluster::Cluster,
    conclavectl::Ctl,
    etcd::Server,
    on_both,
    wait::{LONG, SOON, eventually},
};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

/// A second each, with few clients: enough to see that it works.
const SHORT: [&str; 8] = ["--duration", "1s", "--warm-up", "200ms", "--key-space", "2000", "--connections", "6"];

/// A server with the programs that load it and look at it.
struct Loaded {
    cluster: Cluster,
    bench: Ctl,
    ctl: Ctl,
}

async fn one(server: Server) -> Result<Loaded> {
    let cluster = server.start(1).await?;
    let bench = Ctl::bench(&cluster.endpoints()).with("CONCLAVECTL_COMMAND_TIMEOUT", "20s");
    let ctl = Ctl::new(&cluster.endpoints()).with("CONCLAVECTL_COMMAND_TIMEOUT", "20s");
    Ok(Loaded { cluster, bench, ctl })
}

async fn measure(bench: &Ctl, args: &[&str]) -> Result<Value> {
    let args = [args, &["--quiet", "-w", "json"]].concat();
    let ended = bench.run_with(&args, "", LONG).await?;
    ensure!(ended.code == Some(0), "{args:?} ended with {:?}: {}", ended.code, ended.stderr);
    ensure!(ended.stderr.is_empty() && ended.stdout.lines().count() == 1, "{args:?}: {ended:?}");
    Ok(serde_json::from_str(&ended.stdout)?)
}

fn number(value: &Value, path: &str) -> Result<f64> {
    let found = path.split('.').fold(value, |value, name| &value[name]);
    found.as_f64().with_context(|| format!("no {path} in {value}"))
}

/// Figures that any run can only have together.
fn sane(name: &str, value: &Value, seconds: f64) -> Result<()> {
    let of = |path: &str| number(value, path);
    let (operations, took) = (of("operations")?, of("seconds")?);
    ensure!(operations >= 1.0, "{name}: nothing was done: {value}");
    ensure!(value["errors"] == serde_json::json!({}), "{name}: {value}");
    // The seconds are told to the millisecond.
    let rates = operations / (took + 0.0006)..=operations / (took - 0.0006).max(0.000_1);
    ensure!(rates.contains(&of("per_second")?), "{name}: rate: {value}");
    let order = ["p50", "p90", "p99", "p999", "max"].map(|name| of(&format!("latency_ms.{name}")));
    let order = order.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(order.is_sorted() && order[0] > 0.0, "{name}: percentiles: {value}");
    if seconds > 0.0 {
        ensure!((seconds..seconds * 1.5).contains(&took), "{name} took {took} s: {value}");
        ensure!(of("longest_gap_ms")? <= took * 1000.0 + 1.0, "{name}: {value}");
    }
    Ok(())
}

async fn every_workload_measures_something(server: Server) -> Result<()> {
    let Loaded { mut cluster, bench, ctl } = one(server).await?;
    let pid = cluster.node(0).id()?.to_string();
    let workloads: [&[&str]; 19] = [
        &["put", "--clients", "16"],
        &["put", "--clients", "1"],
        &["put", "--value-size", "0"],
        &["get", "--clients", "16"],
        &["get", "--serializable", "--clients", "16"],
        &["range", "--clients", "4", "--limit", "50"],
        &["txn", "--clients", "8", "--puts", "3"],
        &["mixed", "--clients", "8", "--reads", "50"],
        &["campaign", "--clients", "8"],
        &["campaign", "--clients", "8", "--shared-names", "2"],
        &["lock", "--clients", "8"],
        &["lock", "--clients", "8", "--shared-names", "2"],
        &["lock-queue", "--clients", "5"],
        &["lease-grant", "--clients", "8"],
        &["lease-keepalive", "--clients", "8"],
        &["lease-keepalive", "--clients", "4", "--leases", "40", "--rate", "100"],
        &["session-churn", "--clients", "8"],
        &["watch", "--clients", "5"],
        &["watch", "--clients", "3", "--writers", "2", "--stalled", "60"],
    ];
    for workload in workloads {
        let name = workload.join(" ");
        let value = measure(&bench, &[workload, &SHORT, &["--pids", &pid, "--label", "a=b"]].concat()).await?;
        sane(&name, &value, 1.0)?;
        ensure!(value["labels"]["a"] == "b" && value["elections"] == 0, "{name}: {value}");
        ensure!(number(&value, "servers.resident_mb")? > 5.0, "{name}: {value}");
        // No process uses more than all cores.
        ensure!(number(&value, "servers.cores")? <= 64.0, "{name}: {value}");
    }
    cluster_tests::report("a second of each workload ran");
    nothing_is_left(&ctl).await
}

/// No keys, no leases.
async fn nothing_is_left(ctl: &Ctl) -> Result<()> {
    let keys = ctl.ok(&["get", "bench/", "--prefix", "--keys-only", "--limit", "10"]).await?;
    ensure!(keys.is_empty(), "keys are left: {keys}");
    let leases = ctl.json(&["lease", "list"]).await?;
    ensure!(leases["leases"].as_array().is_none_or(Vec::is_empty), "leases are left: {leases}");
    Ok(())
}

async fn an_open_loop_keeps_to_its_rate(server: Server) -> Result<()> {
    let Loaded { cluster: _cluster, bench, .. } = one(server).await?;
    // The first of the window is due at the moment it opens, and may be answered before anything
    // else wakes.
    let args = ["put", "--rate", "1000", "--clients", "200", "--warm-up", "100ms", "--duration", "200ms"];
    for _ in 0..10 {
        let value = measure(&bench, &args).await?;
        ensure!(value["operations"] == 200 && value["errors"] == serde_json::json!({}), "200 were due: {value}");
        ensure!(value["offered_per_second"] == 1000.0, "{value}");
    }
    Ok(())
}

async fn a_number_of_operations_is_done_exactly(server: Server) -> Result<()> {
    let Loaded { cluster: _cluster, bench, .. } = one(server).await?;
    let value = measure(&bench, &["put", "--total", "300", "--clients", "7", "--warm-up", "100ms"]).await?;
    sane("total", &value, 0.0)?;
    ensure!(value["operations"] == 300, "{value}");
    Ok(())
}

async fn leases_lapse_and_are_seen_to(server: Server) -> Result<()> {
    let Loaded { cluster: _cluster, bench, ctl } = one(server).await?;
    let value = measure(&bench, &["lease-expire", "--leases", "300", "--window", "6s"]).await?;
    ensure!(value["operations"] == 300 && value["more"]["leases"] == 300, "{value}");
    let last = number(&value, "more.last_deletion_ms")?;
    ensure!((0.0..20_000.0).contains(&last), "{value}");
    nothing_is_left(&ctl).await
}

async fn a_fill_stays_unless_told_otherwise(server: Server) -> Result<()> {
    let Loaded { cluster: _cluster, bench, ctl } = one(server).await?;
    let value = measure(&bench, &["fill", "--key-space", "1234", "--delete"]).await?;
    ensure!(value["operations"] == 1234, "{value}");
    nothing_is_left(&ctl).await?;
    measure(&bench, &["fill", "--key-space", "1234"]).await?;
    let keys = ctl.ok(&["get", "bench/", "--prefix", "--keys-only"]).await?;
    let count = keys.lines().filter(|line| !line.is_empty()).count();
    ensure!(count == 1234, "{count} keys");
    Ok(())
}

on_both!(
    every_workload_measures_something,
    an_open_loop_keeps_to_its_rate,
    a_number_of_operations_is_done_exactly,
    leases_lapse_and_are_seen_to,
    a_fill_stays_unless_told_otherwise,
);

#[tokio::test]
async fn a_stall_shows_in_an_open_loop_and_in_the_gap() -> Result<()> {
    let Loaded { mut cluster, bench, ctl } = one(Server::Conclave).await?;
    let args = ["put", "--rate", "100", "--clients", "500", "--duration", "5s", "--warm-up", "200ms", "-w", "json"];
    let mut running = bench.start(&args)?;
    let now = &ctl;
    eventually("the first writes", LONG, || async move {
        let keys = now.ok(&["get", "bench/", "--prefix", "--keys-only", "--limit", "1"]).await?;
        ensure!(!keys.is_empty(), "no key is there");
        Ok(())
    })
    .await?;
    // The warm-up ends.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.node(0).pause()?;
    tokio::time::sleep(Duration::from_millis(800)).await;
    cluster.node(0).resume()?;
    let value: Value = serde_json::from_str(&running.line_within(LONG).await?)?;
    // About 80 of 500 were due during the stall; a closed loop would tell of one slow answer a
    // client.
    ensure!(number(&value, "latency_ms.p90")? > 200.0, "{value}");
    ensure!(number(&value, "longest_gap_ms")? > 700.0, "{value}");
    ensure!(value["operations"] == 500, "none is left out: {value}");
    Ok(())
}

#[tokio::test]
async fn an_interrupted_run_cleans_up() -> Result<()> {
    let Loaded { cluster: _cluster, bench, ctl } = one(Server::Conclave).await?;
    let mut running = bench.start(&["lock-queue", "--clients", "5", "--duration", "10m"])?;
    let ctl_now = &ctl;
    eventually("its leases", SOON, || async move {
        let leases = ctl_now.json(&["lease", "list"]).await?;
        ensure!(leases["leases"].as_array().is_some_and(|leases| leases.len() == 5), "{leases}");
        Ok(())
    })
    .await?;
    running.signal(Signal::INT)?;
    ensure!(running.ended(LONG).await?.code() == Some(130), "interrupted");
    nothing_is_left(&ctl).await
}

#[tokio::test]
async fn wrong_options_are_refused_before_anything_is_done() -> Result<()> {
    let bench = Ctl::bench(&["127.0.0.1:1".to_owned()]);
    for (args, code, says) in [
        (&[][..], 128, "Usage"),
        (&["put", "--clients", "0"], 128, "--clients"),
        (&["put", "--rate", "0"], 128, "--rate"),
        (&["put", "--key-size", "5"], 128, "from 24 to 1024"),
        (&["lock-queue", "--clients", "1"], 128, "it takes two"),
        (&["lease-keepalive", "--leases", "3"], 128, "each of 1000 clients"),
        (&["watch", "--value-size", "2"], 128, "at least 8 bytes"),
        (&["lease-expire", "--window", "1s"], 128, "at least 3s"),
        (&["put"], 2, "127.0.0.1:1"),
        (&["report", "/nowhere"], 6, "/nowhere"),
    ] {
        let ended = bench.run(args).await?;
        ensure!(ended.code == Some(code) && ended.stderr.contains(says), "{args:?}: {ended:?}");
        ensure!(ended.stdout.is_empty(), "{args:?}: {ended:?}");
    }
    Ok(())
}
