//! Keys: put, get, range, txn, a mixture, and filling.

use super::{finished, simply};
use crate::{
    drive::{Operate, once},
    keys::Draw,
    lab::{Lab, Lanes},
    options::LoadArgs,
    verdict::Verdict,
};
use clap::Args;
use conclave_cli::{
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::etcdserverpb::{
    Compare, RangeRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    kv_client::KvClient,
    request_op::Request as Op,
};
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// Write single keys
///
/// Each operation writes a new value under a key drawn from the key space.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench put
  conclave-bench put --clients 1 --connections 3          what one caller sees
  conclave-bench put --rate 5000 --clients 1000           open loop
  conclave-bench put --value-size 16384 --key-space 1000  a few large values, again and again
  conclave-bench put --command-timeout 200ms              a member killed: see `longest gap`")]
pub(crate) struct PutArgs {
    #[command(flatten)]
    load: LoadArgs,
}

/// Read single keys
///
/// The key space is written first. Reads are linearizable unless --serializable is given.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench get
  conclave-bench get --serializable  from the member that is asked, which may be behind")]
pub(crate) struct GetArgs {
    /// Whatever the member that is asked has
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Read ranges of keys
///
/// The key space is written first. Each operation reads --limit keys in a row, from a key that is
/// drawn. With --rest it asks for all keys from there on and takes as many: servers count what they
/// do not give, so this costs as much as there are keys.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench range
  conclave-bench range --limit 1000 --clients 8
  conclave-bench range --rest  the first page of many")]
pub(crate) struct RangeArgs {
    /// Keys an operation
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Ask for all keys up to the last, and take only --limit of them
    #[arg(long)]
    rest: bool,
    /// Whatever the member that is asked has
    #[arg(long)]
    serializable: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Compare, write and read in one transaction
///
/// Each operation compares the version of a key, which holds, writes that key and reads it back.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench txn
  conclave-bench txn --puts 16  write this many keys in each transaction")]
pub(crate) struct TxnArgs {
    /// Keys that an operation writes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    puts: u32,
    #[command(flatten)]
    load: LoadArgs,
}

/// Read and write keys
///
/// The key space is written first. Each operation is a linearizable read or a write, as drawn.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench mixed  four reads to one write
  conclave-bench mixed --reads 50")]
pub(crate) struct MixedArgs {
    /// Reads of a hundred operations
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    #[command(flatten)]
    load: LoadArgs,
}

/// Write the whole key space, once
///
/// In large transactions; the keys stay unless --delete is given. For looking at memory, or at how
/// long a start takes.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench fill --key-space 1000000
  conclave-bench fill --key-space 300000 --pids 4711,4712,4713  memory afterwards")]
pub(crate) struct FillArgs {
    /// Delete the keys at the end
    #[arg(long)]
    delete: bool,
    /// How long the servers may settle before their memory is looked at
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = conclave_cli::parse::duration)]
    settle: Duration,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Put,
    Get { serializable: bool },
    Range { limit: u32, rest: bool, serializable: bool },
    Txn { puts: u32 },
    Mixed { reads: u64 },
}

/// A client of any of them.
struct KvLoop {
    lab: Arc<Lab>,
    lanes: Lanes,
    draw: Draw,
    what: What,
}

impl Operate for KvLoop {
    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        match self.what {
            What::Put => self.put().await,
            What::Get { serializable } => self.get(serializable).await,
            What::Range { limit, rest, serializable } => self.range(limit, rest, serializable).await,
            What::Txn { puts } => self.txn(puts).await,
            What::Mixed { reads } if self.draw.below(100) < reads => self.get(false).await,
            What::Mixed { .. } => self.put().await,
        }?;
        Ok(None)
    }
}

impl KvLoop {
    async fn put(&mut self) -> Result<(), Status> {
        let number = self.draw.below(self.lab.keys.space);
        let request = self.lab.put(number, &mut self.draw, 0);
        KvClient::new(self.lanes.next()).put(request).await.map(drop)
    }

    async fn get(&mut self, serializable: bool) -> Result<(), Status> {
        let key = self.lab.keys.any(&mut self.draw);
        let request = RangeRequest { key, serializable, ..Default::default() };
        let response = KvClient::new(self.lanes.next()).range(request).await?.into_inner();
        expect(serializable || response.kvs.len() == 1, "a key that was written is not there")
    }

    async fn range(&mut self, limit: u32, rest: bool, serializable: bool) -> Result<(), Status> {
        let (keys, count) = (&self.lab.keys, u64::from(limit));
        let first = self.draw.below(keys.space.saturating_sub(count) + 1);
        let request = RangeRequest {
            key: keys.key(first),
            range_end: if rest || first + count >= keys.space { keys.prefix_end() } else { keys.key(first + count) },
            limit: limit.into(),
            serializable,
            ..Default::default()
        };
        let response = KvClient::new(self.lanes.next()).max_decoding_message_size(usize::MAX).range(request).await?;
        let there = response.into_inner().kvs.len() as u64;
        expect(serializable || there == count.min(keys.space), "keys that were written are not there")
    }

    async fn txn(&mut self, puts: u32) -> Result<(), Status> {
        let (space, puts) = (self.lab.keys.space, u64::from(puts));
        let first = self.draw.below(space);
        let key = self.lab.keys.key(first);
        let op = |request| RequestOp { request: Some(request) };
        // A transaction may write a key once, so they are taken in a row.
        let mut success: Vec<RequestOp> = (0..puts.min(space))
            .map(|i| op(Op::RequestPut(self.lab.put((first + i) % space, &mut self.draw, 0))))
            .collect();
        success.push(op(Op::RequestRange(RangeRequest { key: key.clone(), ..Default::default() })));
        let holds = Compare {
            key,
            target: CompareTarget::Version.into(),
            result: CompareResult::Greater.into(),
            target_union: Some(TargetUnion::Version(-1)),
            ..Default::default()
        };
        let request = TxnRequest { compare: vec![holds], success, failure: Vec::new() };
        let response = KvClient::new(self.lanes.next()).txn(request).await?.into_inner();
        expect(response.succeeded, "a comparison that holds did not")
    }
}

/// What a wrong answer counts as.
fn expect(holds: bool, why: &str) -> Result<(), Status> {
    if holds { Ok(()) } else { Err(Status::data_loss(why)) }
}

async fn run(
    settings: &Settings,
    load: &LoadArgs,
    workload: &'static str,
    clients: usize,
    what: What,
) -> Result<Verdict> {
    simply(settings, load, workload, clients, async |lab| {
        if !matches!(what, What::Put | What::Txn { .. }) {
            lab.fill().await?;
        }
        let lab = lab.clone();
        Ok(move |i| KvLoop { lab: lab.clone(), lanes: lab.lanes(i), draw: Draw::new(lab.options.seed, i as u64), what })
    })
    .await
}

impl PutArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        run(settings, &self.load, "put", 256, What::Put).await
    }
}

impl GetArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let workload = if self.serializable { "get-serializable" } else { "get" };
        run(settings, &self.load, workload, 256, What::Get { serializable: self.serializable }).await
    }
}

impl RangeArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let Self { limit, rest, serializable, .. } = self;
        let what = What::Range { limit, rest, serializable };
        let workload = if serializable { "range-serializable" } else { "range" };
        Ok(run(settings, &self.load, workload, 64, what).await?.with("keys_per_operation", self.limit))
    }
}

impl TxnArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        run(settings, &self.load, "txn", 64, What::Txn { puts: self.puts }).await
    }
}

impl MixedArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let what = What::Mixed { reads: self.reads.into() };
        Ok(run(settings, &self.load, "mixed", 256, what).await?.with("reads_percent", self.reads))
    }
}

impl FillArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let mut options = self.load.options(1)?;
        if options.rate.is_some() {
            return Err(Failure::usage("--rate: filling goes as fast as the servers take it"));
        }
        options.keep = !self.delete;
        let lab = Lab::new(settings, options).await?;
        finished(&lab, once(&lab, "fill", lab.keys.space, self.settle, lab.fill())).await
    }
}
