//! The arguments of `election enter`, and the request that they make.

use super::{
    super::names::{CallerArgs, NameArgs, SessionArg},
    orders::millis,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    parse,
};
use clap::{Args, builder::NonEmptyStringValueParser};
use conclave_client::api::conclave::v1::EnterRequest;
use std::{ffi::OsString, time::Duration};

/// Campaign, and run a command while leading
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl election enter printing -- ./spooler
  conclavectl election enter printing --candidate host-7 --priority 10 --preempt -- ./spooler
  conclavectl election enter printing --candidate host-7 --takeover --again -- ./spooler
      as a service: takes the place of the process before it, and stands again if deposed
  conclavectl election enter printing              stand, and lead until Ctrl-C
  conclavectl election enter printing --candidate a --session 694d77aa9e38260f
      only enter; you keep that session alive yourself
  conclavectl election enter printing --candidate host-7 --takeover -- ./spooler
      replace the process that stands as host-7, and stop what it runs

The command finds CONCLAVE_FENCE, CONCLAVE_LEASE, CONCLAVE_NAME and
CONCLAVE_CANDIDATE in its environment, and is stopped when the leadership is lost, as with
`conclavectl lock --help`. When it ends, the candidate leaves. Asked for a transfer, conclavectl
stops the command, then hands over and leaves. With --again a candidate that handed over, or
was deposed (anoint, promote, demote, preempt), stays in line, and one whose --max-hold is over
enters again; the command runs again when it leads again. It ends when the command ends by
itself, by a signal, when the session is lost, and (exit code 124) when the candidate is evicted
or taken over, leaves, or the election is deleted.")]
pub(crate) struct EnterArgs {
    #[command(flatten)]
    pub(super) name: NameArgs,
    /// What to run while it leads
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "session")]
    pub(super) command: Vec<OsString>,
    /// Its id, unique in the election: refused while another process has it
    /// [default: host name and process id]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(super) candidate: Option<String>,
    /// Which process in the session this is [default: the session]
    #[arg(long, default_value = "", hide_default_value = true)]
    instance: String,
    /// Candidates with a higher priority wait further ahead
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// NAME=VALUE, shown in listings; may be repeated
    #[arg(long = "label", value_parser = label, value_name = "NAME=VALUE")]
    labels: Vec<(String, String)>,
    /// What the leader's key holds
    #[arg(long, default_value = "", hide_default_value = true)]
    value: String,
    /// Enter only if that means to lead at once
    #[arg(long = "try", conflicts_with = "wait")]
    pub(super) try_only: bool,
    /// Take the place of the process that has this id; that one is fenced out and told so
    #[arg(long)]
    takeover: bool,
    /// Deposed or asked to hand over, stop the command, stay in line, and run it again when leading
    #[arg(long, conflicts_with_all = ["try_only", "session"])]
    pub(super) again: bool,
    /// With a priority above the leader's, lead at once
    #[arg(long)]
    preempt: bool,
    /// How long nobody leads after this candidate was lost as the leader
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    lock_delay: Option<Duration>,
    /// Lead no longer than this in one term
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    max_hold: Option<Duration>,
    /// Wait no longer than this for the leadership
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(super) wait: Option<Duration>,
    /// How long the candidacy stands if this machine vanishes; seconds, or a time with its unit
    #[arg(long, default_value = "10", value_parser = parse::ttl, allow_hyphen_values = true, value_name = "TIME")]
    pub(super) ttl: Duration,
    /// From SIGTERM to SIGKILL when the leadership is lost; at most a third of --ttl
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    pub(super) grace: Option<Duration>,
    #[command(flatten)]
    pub(super) session: SessionArg,
    #[command(flatten)]
    caller: CallerArgs,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EnterArgs {
    /// `first`: the process enters for the first time.
    pub(super) fn request(&self, candidate: &str, session: i64, first: bool) -> EnterRequest {
        EnterRequest {
            caller: self.caller.caller_of(session),
            election: self.name.name(),
            candidate: candidate.to_owned(),
            instance: self.instance(session),
            priority: self.priority,
            labels: self.labels.iter().cloned().collect(),
            value: self.value.clone().into(),
            try_only: self.try_only,
            takeover: self.takeover && first,
            preempt: self.preempt && first,
            lock_delay_ms: millis(self.lock_delay),
            max_hold_ms: millis(self.max_hold),
        }
    }

    /// Each session is an instance of its own, unless it is said otherwise.
    pub(super) fn instance(&self, session: i64) -> String {
        if self.instance.is_empty() { format!("{session:x}") } else { self.instance.clone() }
    }

    /// How long it waits; `None` for as long as it takes.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.try_only { Some(Duration::ZERO) } else { self.wait }
    }

    pub(super) fn taken(&self) -> Failure {
        Failure::new(Exit::Busy, format!("somebody else leads {:?}", self.name.name))
            .hint(format!("`conclavectl election show {}` shows who, and who waits", self.name.name))
    }
}
