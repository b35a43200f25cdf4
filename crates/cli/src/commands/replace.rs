//! `member replace`: a lost member's place is taken by a new one, in steps that each leave the
//! cluster whole.
//!
//! 1. What is to be done next is read from the member list each time, so the command can be
//!    interrupted anywhere and run again.
//! 2. The new member is a learner until it has caught up: it counts for no majority before.
//! 3. The lost member goes last, so the number of members never falls below what it was. Only if
//!    the new one is to have the lost one's URLs must it go first.

use super::{Context, members, wire};
use crate::{
    dial::{Node, dial},
    exit::Exit,
    failure::{Effect, Failure, Result},
    output,
};
use clap::Args;
use conclave_client::api::etcdserverpb::{Member, MemberRemoveRequest, StatusRequest};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};
use tonic::Code;

/// Between two looks at how far the new member is.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
The new member is added as a learner; the settings to start it with are printed. Once it runs
and has caught up, it is promoted, and the lost member is removed. The command may be interrupted
at any point and run again with the lost member's id: it goes on where it was.

If the machine is the same and only its disk was lost, give the URLs that the lost member had;
it is then removed first.

Example:
  conclavectl member replace n3 --peer-urls http://10.0.0.4:2380 --name n4")]
pub(crate) struct ReplaceArgs {
    /// The lost member's name, or its id in hexadecimal as `member list` prints it
    lost: String,
    /// Where the others will reach the new member, comma-separated
    #[arg(long, value_delimiter = ',', required = true, value_name = "URLS")]
    peer_urls: Vec<String>,
    /// The new member's name [default: the lost member's]
    #[arg(long)]
    name: Option<String>,
}

/// The addresses in URLs: the scheme may be changing.
fn addresses(urls: &[String]) -> BTreeSet<&str> {
    urls.iter().map(|url| url.split_once("://").map_or(&**url, |(_, rest)| rest).trim_end_matches('/')).collect()
}

impl ReplaceArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let lost = members::named(context, &self.lost).await?;
        let mut name = self.name.clone();
        let mut seen = String::new();
        loop {
            let members = members::list(context, true).await?.members;
            let old = members.iter().find(|member| member.id == lost);
            let new = members
                .iter()
                .find(|member| member.id != lost && addresses(&member.peer_ur_ls) == addresses(&self.peer_urls));
            name = name.or_else(|| old.map(|old| old.name.clone()).filter(|name| !name.is_empty()));
            match (old, new) {
                (Some(old), None) if !addresses(&old.peer_ur_ls).is_disjoint(&addresses(&self.peer_urls)) => {
                    output::note(&format!(
                        "the new member has the lost one's URLs, so {lost:x} is removed first; if this is interrupted, go on with: \
                         conclavectl member replace {lost:x} --peer-urls {}",
                        self.peer_urls.join(",")
                    ));
                    context.out.show(&members::remove(context, lost).await?)?;
                }
                (None, None) if self.lost_is_id() && was_removed(context, lost).await? => {
                    output::note(&format!("{lost:x} is no member any more"));
                    self.add(context, name.as_deref()).await?;
                }
                (None, None) => {
                    return Err(Failure::usage(format!("there is no member {:?}, and there was none", self.lost))
                        .hint(
                            "conclavectl member list shows the members; member add adds one without replacing another",
                        ));
                }
                (Some(_), None) => self.add(context, name.as_deref()).await?,
                (_, Some(new)) if new.is_learner => {
                    let now = progress(context, new).await;
                    if now != seen {
                        output::note(&format!("{:x} {now}", new.id));
                        seen = now;
                    }
                    match members::promote(context, new.id).await {
                        Ok(done) => context.out.show(&done)?,
                        Err(failure) if failure.message().contains("in sync with leader") => sleep(LOOK).await,
                        Err(failure) => return Err(failure),
                    }
                }
                (Some(_), Some(_)) => context.out.show(&members::remove(context, lost).await?)?,
                (None, Some(new)) => {
                    return output::raw(&format!("Member {lost:x} is replaced by {:x}\n", new.id));
                }
            }
        }
    }

    fn lost_is_id(&self) -> bool {
        crate::parse::member(&self.lost).is_ok()
    }

    async fn add(&self, context: &Context, name: Option<&str>) -> Result<()> {
        let added = members::add(context, self.peer_urls.clone(), true).await?;
        context.out.show(&added)?;
        let settings = added.settings(name.unwrap_or("NAME"));
        output::note(&format!("start the new member with an empty data directory and these settings:\n{settings}"));
        Ok(())
    }
}

/// Whether there was a member of this id. It is asked for as a removal, which has no effect on what
/// is no member.
async fn was_removed(context: &Context, id: u64) -> Result<bool> {
    let Node { channel, .. } = context.link.node().await?;
    let asked =
        timeout(context.link.settings().command_timeout, wire::remove_member(channel, MemberRemoveRequest { id }));
    match asked.await {
        Ok(Err(status)) if status.code() == Code::NotFound => {
            Ok(status.metadata().contains_key("conclave-was-removed"))
        }
        Ok(Err(status)) => Err(Failure::of(&status, Effect::Writes)),
        Ok(Ok(_)) => Ok(true),
        Err(_) => Err(Failure::new(Exit::Unknown, "no member answered in time").hint("run the command again")),
    }
}

/// How far the learner is, for people.
async fn progress(context: &Context, learner: &Member) -> String {
    let settings = context.link.settings();
    let Some(endpoint) = learner.client_ur_ls.first() else { return "has not started yet".to_owned() };
    let Ok(Node { channel, .. }) = dial(endpoint, 0, settings).await else {
        return "has started, and cannot be reached from here".to_owned();
    };
    let applied = match timeout(settings.command_timeout, wire::status(channel, StatusRequest::default())).await {
        Ok(Ok(status)) => status.into_inner().raft_applied_index,
        _ => return "has started, and does not answer".to_owned(),
    };
    match context.link.read(|channel| wire::status(channel, StatusRequest::default())).await {
        Ok(status) => format!("has applied {applied} of {} entries", status.raft_applied_index),
        Err(_) => format!("has applied {applied} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_scheme_and_order() {
        let of = |urls: &[&str]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses(&of(&["http://a:1", "http://b:2/"])), addresses(&of(&["https://b:2", "https://a:1"])));
        assert_ne!(addresses(&of(&["http://a:1"])), addresses(&of(&["http://a:2"])));
    }
}
