//! `claim`: names that are held for at least a given duration.

mod limits;
mod orders;
mod show;
mod take;
mod watch;

use super::{Context, names::ListArgs};
use crate::{exit::Exit, failure::Result};
use clap::Subcommand;

/// Claims: names held for at least a given duration, by a holder that extends it in time
#[derive(Clone, Debug, Subcommand)]
#[command(after_long_help = "\
A claim does not depend on a session: it stands for its duration, counted from when it was
asked for, and the holder takes it again before that is over. FENCE rises with every tenure.

Examples:
  conclavectl claim take app --holder app/0 --for 30s    exit code 8 if another holds it
  conclavectl claim take app --holder app/1 --for 30s --wait
  conclavectl claim check app app/0     still its holder? Prints the fence and its compares
  conclavectl claim await app           until nobody holds it
  conclavectl claim pin app upgrade-42  does not expire meanwhile
  conclavectl claim revoke app          end it now
  conclavectl claim limits set billing --min 1s --max 1h    what claims of a namespace may ask for")]
pub(crate) enum ClaimCommand {
    /// All claims that are held, waited for or pinned
    #[command(
        visible_alias = "list",
        after_long_help = "\
Examples:
  conclavectl claim ls
  conclavectl claim ls --namespace billing -w json"
    )]
    Ls(ListArgs),
    /// One claim: holder, line, pins
    Show(show::ShowArgs),
    /// Every change of a claim's holder
    Watch(watch::WatchArgs),
    Take(take::TakeArgs),
    Check(orders::CheckArgs),
    /// Wait until nobody holds a claim, or a tenure of it has ended
    Await(orders::AwaitArgs),
    /// End a tenure now
    Revoke(orders::RevokeArgs),
    /// Keep a claim from expiring
    Pin(orders::PinArgs),
    /// Let a claim expire again; its holder has the whole duration once more
    Unpin(orders::UnpinArgs),
    /// What claims of a namespace may ask for: the shortest and longest duration, how many may wait
    #[command(subcommand)]
    Limits(limits::LimitsCommand),
}

impl ClaimCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let done = match self {
            Self::Watch(args) => return args.run(context).await,
            Self::Ls(args) => show::list(context, &args).await,
            Self::Show(args) => args.run(context).await,
            Self::Take(args) => args.run(context).await,
            Self::Check(args) => args.run(context).await,
            Self::Await(args) => args.run(context).await,
            Self::Revoke(args) => args.run(context).await,
            Self::Pin(args) => args.run(context).await,
            Self::Unpin(args) => args.run(context).await,
            Self::Limits(command) => command.run(context).await,
        };
        done.map(|()| Exit::Done)
    }
}
