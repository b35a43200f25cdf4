//! The command line.

use crate::{
    report,
    workloads::{coordination, expire, kv, leases, queue, ready, watch},
};
use clap::{CommandFactory, Parser, Subcommand};
use conclave_cli::{
    exit::{self, Exit},
    failure::Result,
    program,
    settings::{GlobalArgs, Settings},
};

/// Measure a cluster: Conclave's or etcd's
#[derive(Debug, Parser)]
#[command(name = crate::NAME, version, propagate_version = false, max_term_width = 120)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const ABOUT: &str = "\
Every workload drives any server of the etcd v3 API. It prepares what it needs, warms up,
measures, prints one result and takes away what it made. Percentiles are of single operations,
from the request to its answer; nothing is tried again. With the process ids of servers on the
same machine (--pids) the result has their CPU per operation, memory and bytes written, too.
Where load and servers share processors, CPU per operation is the truer figure.

Examples:
  conclave-bench put --clients 256
  conclave-bench get --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 --duration 30s
  conclave-bench put --rate 5000 --clients 1000      latency at a load that does not give way
  conclave-bench lock-queue --clients 50             how fast a lock goes from hand to hand
  conclave-bench watch --clients 500 --pids $(pgrep -d, -x etcd)
  conclave-bench put -w json >> results.jsonl        for programs: one line";

const ENVIRONMENT: &str = "\
Environment:
  CONCLAVECTL_ENDPOINTS, CONCLAVECTL_DIAL_TIMEOUT, CONCLAVECTL_COMMAND_TIMEOUT and
  CONCLAVECTL_WRITE_OUT stand for the global options of the same names, as for conclavectl.";

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command().after_long_help(format!("{ABOUT}\n\n{ENVIRONMENT}\n\n{}", exit::TABLE));
    command.get_subcommands_mut().for_each(program::shape);
    command
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
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

impl Command {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Exit> {
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
        verdict?.show(settings.output)?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        program::parser(command()).debug_assert();
    }

    #[test]
    fn help_begins_with_what_the_program_is_for() {
        for mut command in [command(), program::parser(command())] {
            let help = command.render_long_help().to_string();
            assert!(help.starts_with("Measure a cluster"), "{help}");
        }
    }

    #[test]
    fn every_command_has_help() {
        program::assert_described(&command());
    }
}
