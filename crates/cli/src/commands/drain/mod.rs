//! `drain`: leaderships, claims and locks move away from the clients of a host.
//!
//! The cluster does not know on which host a client runs. It goes by what clients say: names,
//! owners and labels ([`host`]).

mod elections;
mod held;
mod host;
mod report;

use super::{Context, names::ListArgs};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    parse,
};
use clap::Args;
use host::Host;
use report::{Outcome, Report};
use std::time::Duration;

/// Move application leaderships away from the clients of a host
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Each leader on the host is asked to hand over to the next in line that is not on it, as by
`election transfer`, and is waited for. Elections without anybody else, claims and locks have
no planned transfer: they are listed, and taken away with --evict.

Who is on a host is not known to the cluster, only what clients call themselves. On HOST are
candidates, holders and owners named HOST, HOST/anything or anyone@HOST/anything, which are
conclavectl's own defaults, and candidates with the label host=HOST. Programs with other names
are chosen by --candidate, where * stands for anything. Elections and locks of etcd's own wire
are not touched: see `conclavectl lock ls`.

The exit code is 8 if something stayed on the host.

Examples:
  conclavectl drain host-7 --dry-run                what would move, and to whom
  conclavectl drain host-7                          wait up to 30s for each leader
  conclavectl drain host-7 --wait 5s --force        then without the leader
  conclavectl drain --candidate 'web-7*' --evict    also what nobody else stands for")]
pub(crate) struct DrainArgs {
    /// The host
    #[arg(required_unless_present = "candidate")]
    host: Option<String>,
    /// Also these candidates, holders and owners; * is anything. May be repeated
    #[arg(long, value_name = "PATTERN")]
    candidate: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// For how long a leader may take to hand over
    #[arg(long, value_parser = parse::duration, default_value = "30s", value_name = "TIME")]
    wait: Duration,
    /// After that, hand over without the leader
    #[arg(long)]
    force: bool,
    /// Take away what cannot be handed over: a leadership without anybody in line, claims, locks
    #[arg(long)]
    evict: bool,
    #[command(flatten)]
    list: ListArgs,
}

impl DrainArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let host = Host::new(self.host.clone(), self.candidate.clone());
        let mut report = Report::default();
        elections::drain(context, &self, &host, &mut report).await?;
        held::claims(context, &self, &host, &mut report).await?;
        held::locks(context, &self, &host, &mut report).await?;
        context.out.show(&report)?;
        let stayed = report.rows.iter().filter(|row| row.outcome == Outcome::Stayed).count();
        match stayed {
            0 => Ok(()),
            _ if self.dry_run => Ok(()),
            _ => Err(Failure::new(Exit::Busy, format!("{stayed} of {} stayed", report.rows.len())).hint(
                "with --evict what cannot be handed over is taken away; with --force a leader is not waited for",
            )),
        }
    }
}
