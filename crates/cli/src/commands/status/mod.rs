//! `status`: the whole cluster in one view, once or live.

mod changes;
mod live;
mod look;
mod outside;
mod view;

use super::Context;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    parse,
};
use clap::Args;
use std::time::Duration;

/// The cluster in one view: members, leader, lag, sizes, alarms, elections, locks
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl status
  conclavectl status --watch       live; into a file or a pipe it prints the changes, one a line
  conclavectl status -w json

Every member is asked, also those that are not among the endpoints. LAG is how many log
entries a member has still to apply. Where nobody can log in, because the members that are up
are no majority, each endpoint is shown with what it says without a login. Exit code 0: the
cluster has a leader; 1: members answer but have none; 2: nobody answers.")]
pub(crate) struct StatusArgs {
    /// Keep looking, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// With --watch: how often
    #[arg(long, default_value = "1s", value_parser = parse::duration, value_name = "TIME")]
    interval: Duration,
    /// With --watch at a terminal: what stays above
    #[arg(long, hide = true, requires = "watch", default_value = "", value_name = "TEXT")]
    title: String,
}

impl StatusArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let mut looker = match look::Looker::new(context).await {
            Ok(looker) => looker,
            Err(failure) => return outside::show(context.link.settings(), context.out, failure).await,
        };
        if self.watch {
            return live::run(context, looker, self.interval.max(Duration::from_millis(100)), &self.title).await;
        }
        let view = looker.look(context, context.link.settings().dial_timeout).await;
        context.out.show(&view)?;
        if view.leader.is_some() {
            return Ok(Exit::Done);
        }
        Err(Failure::new(Exit::Failed, "the cluster has no leader")
            .hint("nothing can be written and no lock is granted until a majority of the members is up and connected"))
    }
}
