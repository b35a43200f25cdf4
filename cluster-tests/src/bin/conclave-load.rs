//! A closed-loop load over the etcd v3 wire, for comparing servers side by side (`scripts/compare-etcd`).
//!
//! Drives any etcd v3 server alike: `--clients` loops spread over `--connections` connections, which go round the endpoints. Given the
//! servers' process ids it also reports their CPU time per operation and resident memory, which on a machine that load and servers
//! share is the truer figure. Prints one line for people, or with `--json` one object for programs.

#![allow(clippy::print_stdout)]

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use conclave_api::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use rand::RngExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

#[derive(Parser)]
#[command(about = "Closed-loop load over the etcd v3 wire")]
struct Args {
    /// Client URLs, comma separated, e.g. http://127.0.0.1:2379,http://127.0.0.1:2381
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Loops, each with one request under way.
    #[arg(long, default_value_t = 256)]
    clients: usize,
    /// HTTP/2 connections that the loops share.
    #[arg(long, default_value_t = 12)]
    connections: usize,
    /// Seconds that are measured, after one second of warm-up.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// What each loop does.
    #[arg(long, value_enum, default_value = "put")]
    op: Op,
    /// Bytes a value.
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Distinct keys; each operation draws one.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Process ids of the servers, comma separated: report their CPU and memory.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// One JSON object in place of the line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Op {
    Put,
    Get,
}

/// What the loops share.
struct Run {
    op: Op,
    keys: u64,
    value: Bytes,
    measuring: AtomicBool,
    stop: AtomicBool,
    errors: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut channels = Vec::new();
    for i in 0..args.connections.max(1) {
        let endpoint = Endpoint::from_shared(args.endpoints[i % args.endpoints.len()].clone())?.tcp_nodelay(true);
        channels.push(endpoint.connect().await.context("no connection to an endpoint; is the server up?")?);
    }
    let run = Arc::new(Run {
        op: args.op,
        keys: args.keys,
        value: Bytes::from(vec![b'v'; args.value_size]),
        measuring: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        errors: AtomicU64::new(0),
    });
    let loops: Vec<_> =
        (0..args.clients).map(|i| tokio::spawn(client(run.clone(), channels[i % channels.len()].clone()))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu_before, started) = (cpu_microseconds(&args.pids)?, Instant::now());
    run.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    run.measuring.store(false, Ordering::Relaxed);
    let (elapsed, cpu) = (started.elapsed(), cpu_microseconds(&args.pids)? - cpu_before);
    run.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for l in loops {
        latencies.extend(l.await?);
    }
    latencies.sort_unstable();
    report(&args, &latencies, elapsed, cpu, run.errors.load(Ordering::Relaxed))
}

/// One loop; returns the microseconds of each operation that ended while measuring.
async fn client(run: Arc<Run>, channel: Channel) -> Vec<u32> {
    let mut kv = KvClient::new(channel);
    let mut latencies = Vec::with_capacity(1 << 16);
    while !run.stop.load(Ordering::Relaxed) {
        let key = Bytes::from(format!("load/{:016}", rand::rng().random_range(0..run.keys)));
        let started = Instant::now();
        let done = match run.op {
            Op::Put => kv.put(PutRequest { key, value: run.value.clone(), ..Default::default() }).await.map(drop),
            Op::Get => kv.range(RangeRequest { key, ..Default::default() }).await.map(drop),
        };
        match done {
            Ok(()) if run.measuring.load(Ordering::Relaxed) => latencies.push(started.elapsed().as_micros() as u32),
            Ok(()) => {}
            Err(_) => {
                run.errors.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    latencies
}

/// User and system time of the processes so far. The kernel counts in ticks of 10 ms.
fn cpu_microseconds(pids: &[u32]) -> Result<u64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is not there"))?;
        // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th field after it.
        let Some((_, rest)) = stat.rsplit_once(") ") else { bail!("/proc/{pid}/stat is malformed") };
        let fields: Vec<&str> = rest.split(' ').collect();
        ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    }
    Ok(ticks * 10_000)
}

fn resident_megabytes(pids: &[u32]) -> Result<u64> {
    let mut pages = 0;
    for pid in pids {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
        pages += statm.split(' ').nth(1).unwrap_or("0").parse::<u64>()?;
    }
    Ok((pages * 4096) >> 20)
}

fn report(args: &Args, latencies: &[u32], elapsed: Duration, cpu: u64, errors: u64) -> Result<()> {
    if latencies.is_empty() {
        bail!("no operation ended while measuring ({errors} errors)");
    }
    let at = |q: f64| f64::from(latencies[((latencies.len() - 1) as f64 * q) as usize]) / 1000.0;
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let cpu_per_op = cpu as f64 / latencies.len() as f64;
    let resident = resident_megabytes(&args.pids)?;
    if args.json {
        let out = serde_json::json!({
            "operations": latencies.len(), "per_second": rate, "p50_ms": at(0.5), "p99_ms": at(0.99), "p999_ms": at(0.999),
            "server_cpu_us": cpu_per_op, "server_resident_mb": resident, "errors": errors,
        });
        println!("{out}");
    } else {
        println!(
            "{rate:>9.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms   server CPU {cpu_per_op:>6.1} µs/op   resident {resident:>5} MB   errors {errors}",
            at(0.5),
            at(0.99)
        );
    }
    Ok(())
}
