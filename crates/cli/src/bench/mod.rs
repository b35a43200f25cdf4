//! `bench`: load over the etcd v3 API, which drives etcd and Conclave alike, and what it measures.
//!
//! `options` (what was asked for) → `lab` (connections, keys, cleaning up) → `workloads` (what a client does) → `drive` (runs the
//! clients, opens and closes the window; `pace` for an open loop) → `tally` and `process` (what is counted) → `verdict` (what is printed).
//! `wire` is what requests go over. `report` makes a document of many results.
//!
//! 1. What a workload needs (keys, leases, watchers) is made before anything is measured, and taken away afterwards.
//! 2. The load is as cheap as it can be: it shares the machine with the servers more often than not. One thread, generated clients,
//!    one attempt an operation.

mod drive;
mod keys;
mod lab;
mod options;
mod pace;
mod process;
mod progress;
mod report;
mod tally;
mod verdict;
mod wire;
mod workloads;

use crate::{commands::Context, exit::Exit, failure::Result};
use clap::Subcommand;
use workloads::{coordination, expire, kv, leases, queue, ready, watch};

/// Measure a cluster: Conclave's or etcd's
#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
Every workload drives any server of the etcd v3 API. It prepares what it needs, warms up,
measures, prints one result and takes away what it made. Percentiles are of single operations,
from the request to its answer; nothing is tried again. With the process ids of servers on the
same machine (--pids) the result has their CPU per operation, memory and bytes written, too.
Where load and servers share processors, CPU per operation is the truer figure.

Examples:
  conclavectl bench put --clients 256
  conclavectl bench get --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 --duration 30s
  conclavectl bench put --rate 5000 --clients 1000      latency at a load that does not give way
  conclavectl bench lock-queue --clients 50             how fast a lock goes from hand to hand
  conclavectl bench watch --clients 500 --pids $(pgrep -d, -x etcd)
  conclavectl bench put -w json >> results.jsonl        for programs: one line")]
pub(crate) enum BenchCommand {
    Put(kv::PutArgs),
    Get(kv::GetArgs),
    Range(kv::RangeArgs),
    Txn(kv::TxnArgs),
    Mixed(kv::MixedArgs),
    Campaign(coordination::CampaignArgs),
    Lock(coordination::LockArgs),
    LockQueue(queue::LockQueueArgs),
    LeaseGrant(leases::LeaseGrantArgs),
    LeaseKeepalive(leases::LeaseKeepaliveArgs),
    LeaseExpire(expire::LeaseExpireArgs),
    SessionChurn(leases::SessionChurnArgs),
    Watch(watch::WatchArgs),
    Fill(kv::FillArgs),
    Ready(ready::ReadyArgs),
    Report(report::ReportArgs),
}

impl BenchCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let settings = context.link.settings();
        let verdict = match self {
            Self::Put(args) => args.run(settings).await,
            Self::Get(args) => args.run(settings).await,
            Self::Range(args) => args.run(settings).await,
            Self::Txn(args) => args.run(settings).await,
            Self::Mixed(args) => args.run(settings).await,
            Self::Campaign(args) => args.run(settings).await,
            Self::Lock(args) => args.run(settings).await,
            Self::LockQueue(args) => args.run(settings).await,
            Self::LeaseGrant(args) => args.run(settings).await,
            Self::LeaseKeepalive(args) => args.run(settings).await,
            Self::LeaseExpire(args) => args.run(settings).await,
            Self::SessionChurn(args) => args.run(settings).await,
            Self::Watch(args) => args.run(settings).await,
            Self::Fill(args) => args.run(settings).await,
            Self::Ready(args) => args.run(settings).await,
            Self::Report(args) => return args.run().map(|()| Exit::Done),
        };
        verdict?.show(context.out)?;
        Ok(Exit::Done)
    }
}
