//! `member`: who is in the cluster, and changes of that.

use super::{
    Context,
    members::{add, list, named, promote, promote_when_ready_of, remove},
    placement,
    replace::ReplaceArgs,
    wire,
};
use crate::{
    failure::Result,
    output::{
        self,
        etcd::{MemberChange, Members},
    },
};
use clap::{Subcommand, ValueEnum};
use conclave_client::api::etcdserverpb::MemberUpdateRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// The members of the cluster
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Every member with its id, name and addresses
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  conclavectl member list
  conclavectl member list -w json --hex           ids in hexadecimal, as everywhere else"
    )]
    List {
        /// As all members agree (the default); =false: as this member knows them, also without a
        /// majority
        #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
              require_equals = true, default_missing_value = "true", hide_default_value = true)]
        linearizable: bool,
    },
    /// Adds a member; prints the settings to start it with
    #[command(after_long_help = "\
A learner is a member without a vote: it counts for no majority until it is promoted,
so a mistake in its settings harms nobody. To replace a member: conclavectl member replace.

Example:
  conclavectl member add n4 --peer-urls http://10.0.0.4:2380 --learner --promote-when-ready")]
    Add {
        /// The new member's name
        name: String,
        /// Where the others will reach it, comma-separated
        #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
        peer_urls: Vec<String>,
        /// Without a vote, until it is promoted
        #[arg(long)]
        learner: bool,
        /// The cluster gives the learner its vote by itself, once it has been in sync for some
        /// seconds
        #[arg(long, requires = "learner")]
        promote_when_ready: bool,
    },
    /// Removes a member; it never takes part again
    #[command(after_long_help = "Example:\n  conclavectl member remove 8e9e05c52164694d")]
    Remove {
        /// The member's name, or its id in hexadecimal as `member list` prints it
        member: String,
    },
    /// Tells the others where a member is from now on
    #[command(after_long_help = "\
Example:
  conclavectl member update 8e9e05c52164694d --peer-urls http://10.0.0.9:2380")]
    Update {
        /// The member's name, or its id in hexadecimal as `member list` prints it
        member: String,
        /// Where the others will reach it, comma-separated
        #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
        peer_urls: Vec<String>,
    },
    /// Gives a learner its vote; it must be in sync with the leader
    #[command(after_long_help = "Example:\n  conclavectl member promote 8e9e05c52164694d")]
    Promote {
        /// The member's name, or its id in hexadecimal as `member list` prints it
        member: String,
        /// Do not fail if it is not: the cluster does it by itself, once the learner has been in
        /// sync for some seconds
        #[arg(long)]
        when_ready: bool,
    },
    /// Maintenance: the member gives leadership away and is not chosen, until it is switched off
    /// again
    #[command(after_long_help = "\
It goes on voting and serving, and leads only while nobody else can. It is kept across
restarts. `member list` and the member's /status show it.

Examples:
  conclavectl member maintenance n2 on
  conclavectl member maintenance n2 off")]
    Maintenance {
        /// The member's name, or its id in hexadecimal as `member list` prints it
        member: String,
        /// on or off
        state: Switch,
    },
    /// Replaces a member that is lost: a new one is added, catches up, gets its vote, and the lost
    /// one is removed
    Replace(ReplaceArgs),
}

impl MemberCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List { linearizable } => {
                let list = list(context, linearizable).await?;
                let placement = placement::of_members(context, !linearizable).await;
                context.out.show(&Members { list: &list, placement: &placement })
            }
            Self::Maintenance { member, state } => placement::maintenance(context, &member, state == Switch::On).await,
            Self::Add { name, peer_urls, learner, promote_when_ready } => {
                let change = add(context, peer_urls, learner).await?;
                if promote_when_ready {
                    let wished = promote_when_ready_of(context, change.id).await;
                    let go_on = format!(
                        "the member was added; go on with: conclavectl member promote {:x} --when-ready",
                        change.id
                    );
                    wished.map_err(|failure| failure.hint(go_on))?;
                }
                context.out.show(&change)?;
                if context.out.format == output::Format::Simple {
                    output::raw(&format!("\n{}", change.settings(&name)))?;
                }
                Ok(())
            }
            Self::Remove { member } => {
                let id = named(context, &member).await?;
                context.out.show(&remove(context, id).await?)
            }
            Self::Update { member, peer_urls } => {
                let id = named(context, &member).await?;
                let request = MemberUpdateRequest { id, peer_ur_ls: peer_urls };
                let done = context.link.write(|channel| wire::update_member(channel, request.clone())).await?;
                let header = done.header;
                context.out.show(&MemberChange { id, what: "updated in", header, member: None, members: done.members })
            }
            Self::Promote { member, when_ready } => {
                let id = named(context, &member).await?;
                let done =
                    if when_ready { promote_when_ready_of(context, id).await? } else { promote(context, id).await? };
                context.out.show(&done)
            }
            Self::Replace(args) => args.run(context).await,
        }
    }
}
