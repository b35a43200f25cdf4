//! `election`: queue elections, whose order can be seen and changed by hand.

mod candidate;
mod deposed;
mod enter;
mod enter_args;
pub(super) mod line;
mod orders;
mod show;
mod watch;

use super::{Context, names::ListArgs};
use crate::{exit::Exit, failure::Result};
use clap::Subcommand;

/// Elections with a visible line of candidates, whose order can be changed
#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
A candidate stands under a session and goes with it; the first in line leads. FENCE rises with
every leader, also across deletions; give it to services of your own, and let them refuse
smaller ones.

Examples:
  conclavectl election enter printing -- ./spooler     stand, and run it while leading
  conclavectl election show printing                   the line
  conclavectl election promote printing b              one place ahead
  conclavectl election anoint printing b               make b the leader now
  conclavectl election transfer printing b             ask the leader to hand over to b
  conclavectl election evict printing a --cooldown 1m
  conclavectl election watch printing                  every change

These elections have nothing to do with those of `conclavectl elect`, which are etcd's.")]
pub(crate) enum ElectionCommand {
    /// All elections, who leads and how many wait
    #[command(
        visible_alias = "list",
        after_long_help = "\
Examples:
  conclavectl election ls
  conclavectl election ls --namespace billing -w json"
    )]
    Ls(ListArgs),
    /// One election and its line
    Show(show::ShowArgs),
    /// Every change of leader and line
    Watch(watch::WatchArgs),
    Enter(enter_args::EnterArgs),
    /// Take a candidate out, in its own name
    Leave(orders::LeaveArgs),
    /// Move a candidate ahead; from the first place in line to the leadership
    Promote(orders::PromoteArgs),
    /// Move a candidate back; a leader steps down
    Demote(orders::DemoteArgs),
    /// Make a candidate the leader; the leader before it is first in line
    Anoint(orders::AnointArgs),
    /// Take a candidate out, in an operator's name
    Evict(orders::EvictArgs),
    /// Ask the leader to hand over to a candidate that waits
    Transfer(orders::TransferArgs),
    /// End an election for everybody
    Delete(orders::DeleteArgs),
}

impl ElectionCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let done = match self {
            Self::Watch(args) => return args.run(context).await,
            Self::Enter(args) => return enter::run(args, context).await,
            Self::Ls(args) => show::list(context, &args).await,
            Self::Show(args) => args.run(context).await,
            Self::Leave(args) => args.run(context).await,
            Self::Promote(args) => args.run(context).await,
            Self::Demote(args) => args.run(context).await,
            Self::Anoint(args) => args.run(context).await,
            Self::Evict(args) => args.run(context).await,
            Self::Transfer(args) => args.run(context).await,
            Self::Delete(args) => args.run(context).await,
        };
        done.map(|()| Exit::Done)
    }
}
