//! `elect NAME [VALUE] [-- COMMAND]`: etcd's election, led while a command runs, or observed.

use super::{
    Context,
    lock::show_key,
    lock_wait::{why_not, within},
    names::own_signature,
    wire,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::{self, Holding, Job, Schedule, signals::Signals},
    output::{self, Format, etcd::Got},
    parse,
};
use clap::Args;
use conclave_client::{
    Election, Error, ErrorKind, KeyValue, Leader, Leadership, Observed, Session,
    api::etcdserverpb::{RangeRequest, RangeResponse},
};
use futures::StreamExt as _;
use std::{ffi::OsString, time::Duration};

/// Campaign, and run a command while leading; or observe who leads
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl elect printing -- ./spooler         on one machine; on another if that fails
  conclavectl elect printing --try -- ./spooler   not if another leads (exit code 123)
  conclavectl elect printing 10.0.0.7:631 -- ./spooler
                                                  with a value that observers see
  conclavectl elect printing alice                lead until Ctrl-C
  conclavectl elect --listen printing             who leads, and every change

The command finds CONCLAVE_FENCE, CONCLAVE_KEY, CONCLAVE_LEASE, CONCLAVE_NAME and
CONCLAVE_VALUE in its environment, and is stopped when the leadership is lost, as with
`conclavectl lock --help`. When it ends, the leadership is given up.

All users of etcd's elections join the same queue: etcdctl elect, the v3election service,
clients' elections. For elections whose order can be changed by hand, see
`conclavectl election`.")]
pub(crate) struct ElectArgs {
    /// Which election
    name: String,
    /// What the leader's key holds [default with COMMAND: user, host name and process id]
    value: Option<String>,
    /// What to run while it leads
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Observe
    #[arg(short, long, conflicts_with_all = ["value", "command", "wait", "try_only"])]
    listen: bool,
    /// How long the leadership stands if this machine vanishes; seconds, or a time with its unit
    #[arg(long, default_value = "10", value_parser = parse::ttl, allow_hyphen_values = true, value_name = "TIME")]
    ttl: Duration,
    /// Do not wait if somebody leads
    #[arg(long = "try", conflicts_with = "wait")]
    try_only: bool,
    /// Wait no longer than this for the leadership
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    wait: Option<Duration>,
    /// From SIGTERM to SIGKILL when the leadership is lost; at most a third of --ttl
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    grace: Option<Duration>,
}

impl ElectArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        if self.name.is_empty() {
            return Err(Failure::usage("the election's name is empty"));
        }
        if self.listen {
            return observe(context, &self.name).await;
        }
        let with_command = !self.command.is_empty();
        let value = match self.value.clone() {
            Some(value) => value,
            None if with_command => own_signature(),
            None => {
                return Err(Failure::usage("no proposal argument but -l not set").hint(format!(
                    "give a value (conclavectl elect {0} ME), a command (elect {0} -- COMMAND), or observe (elect -l {0})",
                    self.name
                )));
            }
        };
        let outcome = self.stand(context, value).await;
        if with_command { outcome.map_err(Failure::before_command) } else { outcome }
    }

    async fn stand(&self, context: &Context, value: String) -> Result<Exit> {
        Schedule::new(self.ttl, self.grace).map_err(Failure::usage)?;
        if let Some(command) = self.command.first() {
            hold::find(command)?;
        }
        let what = format!("the leadership of {:?}", self.name);
        let mut signals = Signals::new()?;
        let client = context.link.client().await?;
        let patience = if self.try_only { Some(Duration::ZERO) } else { self.wait };
        let session = match hold::open(&context.link, &client, (self.ttl, patience), &mut signals).await {
            Ok(session) => session,
            Err(failure) => return Err(context.link.not_taken(failure, &what, self.ttl).await),
        };
        let won = tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            won = context.link.while_led(patience, self.campaign(context, &client, &session, &value)) => won,
        };
        let mut leadership = match won {
            Ok(leadership) => leadership,
            Err(failure) => {
                hold::give_up(&context.link, &session, &failure).await;
                return Err(context.link.not_taken(failure, &what, self.ttl).await);
            }
        };
        let outcome = hold::caught(self.lead(context, &leadership, &what, value, &mut signals)).await;
        let lost = leadership.is_lost();
        hold::give_back(&context.link, &session, Holding::release(&mut leadership), (&what, lost)).await;
        match outcome.go_on() {
            Err(failure) => Err(context.link.explained(failure).await),
            led => led,
        }
    }

    async fn campaign(
        &self,
        context: &Context,
        client: &conclave_client::Client,
        session: &Session,
        value: &str,
    ) -> Result<Leadership> {
        let election = Election::new(client, self.name.as_str());
        let busy = || {
            Failure::new(Exit::Busy, format!("somebody else leads {:?}", self.name))
                .hint(format!("`conclavectl elect -l {}` shows who", self.name))
        };
        if self.try_only {
            let won = election.try_campaign(session, value.to_owned()).await.map_err(Failure::of_client)?;
            return match won {
                Some(won) => Ok(won),
                None => Err(why_not(context, &self.name, busy()).await),
            };
        }
        let waiting = async { election.campaign(session, value.to_owned()).await.map_err(Failure::of_client) };
        within(context, (&self.name, session.lease()), self.wait, waiting, busy()).await
    }

    async fn lead(
        &self,
        context: &Context,
        leadership: &Leadership,
        what: &str,
        value: String,
        signals: &mut Signals,
    ) -> Result<Exit> {
        if self.command.is_empty() {
            show_key(context, leadership.key()).await?;
            return hold::until_asked(leadership, what, signals, hold::never()).await.map(|ended| ended.exit);
        }
        // The cluster may have raised the time to live.
        let schedule = Schedule::new(leadership.session().ttl().max(self.ttl), self.grace).map_err(Failure::usage)?;
        let environment = vec![
            ("CONCLAVE_NAME".to_owned(), self.name.clone().into()),
            ("CONCLAVE_KEY".to_owned(), String::from_utf8_lossy(leadership.key()).into_owned().into()),
            ("CONCLAVE_VALUE".to_owned(), value.into()),
        ];
        let job = Job { command: self.command.clone(), environment, schedule };
        hold::run(leadership, what, &job, signals, hold::never()).await.map(|ended| ended.exit)
    }
}

/// Prints the leader, and each that follows.
async fn observe(context: &Context, name: &str) -> Result<Exit> {
    let client = context.link.client().await?;
    let election = Election::new(&client, name);
    let mut seen = std::pin::pin!(election.observe());
    let mut telling = std::pin::pin!(context.link.tell_of_leader());
    loop {
        let observed = tokio::select! {
            biased;
            observed = seen.next() => observed,
            never = &mut telling => match never {},
        };
        let Some(observed) = observed else { break };
        match observed.map_err(observing)? {
            Observed::Leader(leader) => {
                let response = as_found(context, leader).await?;
                context.out.show(&Got {
                    response: &response,
                    keys_only: false,
                    value_only: false,
                    count_only: false,
                })?;
            }
            // etcdctl prints nothing for it; a note does not disturb who reads the output.
            _ if context.out.format == Format::Simple => output::note(&format!("nobody leads {name:?}")),
            _ => {}
        }
    }
    Err(Failure::new(Exit::Failed, "the observation ended"))
}

/// A leader as `get` finds its key; etcdctl shows the whole of it.
async fn as_found(context: &Context, leader: Leader) -> Result<RangeResponse> {
    let request = RangeRequest { key: leader.key.clone(), ..RangeRequest::default() };
    let mut response = context.link.read(|channel| wire::range(channel, request.clone())).await?;
    if response.kvs.first().is_none_or(|kv| kv.create_revision != leader.revision) {
        // It leads no longer, but it did, and who follows is told next.
        let Leader { key, value, revision, lease, .. } = leader;
        response.kvs = vec![KeyValue { key, value, create_revision: revision, lease, ..KeyValue::default() }];
    }
    response.count = 0;
    Ok(response)
}

fn observing(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => {
            Failure::new(Exit::NoConnection, error.message().to_owned())
                .hint("`conclavectl status` shows which members answer and whether they have a leader")
        }
        _ => Failure::of_client(error),
    }
}
