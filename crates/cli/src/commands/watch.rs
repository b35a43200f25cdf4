//! `watch`: events of keys, printed or handed to a command.

use super::Context;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold,
    output::{
        self,
        etcd::{Watched, kind},
        quote,
    },
    parse::Keys,
};
use clap::Args;
use conclave_client::{
    Batch, Error, EventKind, Watch,
    api::{
        etcdserverpb::WatchResponse,
        mvccpb::{Event, event::EventType},
    },
};
use futures::StreamExt as _;
use std::ffi::OsString;

/// Watch keys: print every change, or run a command for it
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl watch config                        what happens to it from now on
  conclavectl watch job/ --prefix --rev 4711      everything since revision 4711, then on
  conclavectl watch config -- ./reload.sh         run a command for each event
  conclavectl watch -i                            read `watch KEY`, `progress` from standard input

Prints PUT or DELETE, the key and the value. A lost connection is made again with another
member, and no event is left out or repeated. The command finds ETCD_WATCH_REVISION,
ETCD_WATCH_KEY, ETCD_WATCH_VALUE and ETCD_WATCH_EVENT_TYPE (the latter three in double quotes,
as with etcdctl). CONCLAVECTL_WATCH_KEY or ETCDCTL_WATCH_KEY stands for a KEY that is left
out.")]
pub(crate) struct WatchArgs {
    /// The key, or where the range begins
    key: Option<String>,
    /// Where the range ends (not included)
    range_end: Option<String>,
    /// What to run for each event
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// Also what was there before
    #[arg(long)]
    prev_kv: bool,
    /// From this revision on; 0 is from now on
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    rev: i64,
    /// Also say, from time to time, that nothing happened
    #[arg(long)]
    progress_notify: bool,
    /// Read from standard input what to watch
    #[arg(short, long)]
    pub(super) interactive: bool,
}

/// What is watched.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) keys: Keys,
    pub(super) rev: i64,
    pub(super) prev_kv: bool,
    pub(super) progress: bool,
    pub(super) command: Vec<OsString>,
}

impl WatchArgs {
    /// Also for a line of the interactive mode.
    pub(super) fn target(self) -> Result<Target> {
        let from_environment =
            || ["CONCLAVECTL_WATCH_KEY", "ETCDCTL_WATCH_KEY"].into_iter().find_map(|name| std::env::var(name).ok());
        let Some(key) = self.key.or_else(from_environment) else {
            return Err(Failure::usage("watch needs a key")
                .hint("conclavectl watch KEY, or conclavectl watch '' --prefix for all keys"));
        };
        if self.rev < 0 {
            return Err(Failure::usage("--rev cannot be negative"));
        }
        let keys = Keys::new(&key, self.range_end.as_deref(), self.prefix, false).map_err(Failure::usage)?;
        let (rev, prev_kv, progress, command) = (self.rev, self.prev_kv, self.progress_notify, self.command);
        Ok(Target { keys, rev, prev_kv, progress, command })
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        let target = self.target()?;
        if let Some(command) = target.command.first() {
            hold::find(command)?;
        }
        let client = context.link.client().await?;
        let mut watch = Watch::new(target.keys.range());
        if target.rev > 0 {
            watch = watch.from_revision(target.rev);
        }
        if target.prev_kv {
            watch = watch.previous();
        }
        if target.progress {
            watch = watch.progress();
        }
        let mut stream = match client.watch(watch).await {
            Ok(stream) => stream,
            Err(error) => return Err(context.link.explained(canceled(error)).await),
        };
        let mut telling = std::pin::pin!(context.link.tell_of_leader());
        loop {
            let batch = tokio::select! {
                biased;
                batch = stream.next() => batch,
                never = &mut telling => match never {},
            };
            let Some(batch) = batch else { break };
            show(context, &message(batch.map_err(canceled)?), &target.command).await?;
        }
        Err(Failure::new(Exit::Failed, "the watch ended"))
    }
}

/// As the message that it came as.
fn message(batch: Batch) -> WatchResponse {
    let event = |event: conclave_client::Event| Event {
        r#type: match event.kind {
            EventKind::Put => EventType::Put.into(),
            EventKind::Delete => EventType::Delete.into(),
        },
        kv: Some(event.kv),
        prev_kv: event.previous,
    };
    let events = batch.events.into_iter().map(event).collect();
    WatchResponse { header: Some(batch.header), events, ..WatchResponse::default() }
}

/// Why a watch ended.
fn canceled(error: Error) -> Failure {
    match error.compacted() {
        Some(revision) => Failure::new(Exit::Failed, format!("watch was canceled ({})", error.message()))
            .hint(format!("history up to revision {revision} is gone; watch from {} or later", revision + 1)),
        None => Failure::of_client(error),
    }
}

/// Prints one message, and runs the command for each of its events.
pub(super) async fn show(context: &Context, response: &WatchResponse, command: &[OsString]) -> Result<()> {
    let revision = response.header.unwrap_or_default().revision;
    if response.events.is_empty() {
        if context.out.format == output::Format::Simple {
            output::raw(&format!("progress notify: {revision}\n"))?;
        }
        return Ok(());
    }
    context.out.show(&Watched(response))?;
    let Some((program, args)) = command.split_first() else { return Ok(()) };
    for event in &response.events {
        let kv = event.kv.clone().unwrap_or_default();
        let mut child = tokio::process::Command::new(program);
        child.args(args).kill_on_drop(true);
        child.env("ETCD_WATCH_REVISION", revision.to_string());
        child.env("ETCD_WATCH_EVENT_TYPE", quote::go(kind(event).as_bytes()));
        child.env("ETCD_WATCH_KEY", quote::go(&kv.key));
        child.env("ETCD_WATCH_VALUE", quote::go(&kv.value));
        let status = child.status().await?;
        if !status.success() {
            return Err(Failure::new(Exit::Failed, format!("the command {} ended with {status}", program.display()))
                .hint(format!(
                    "it was run for revision {}; watch again with --rev {0} to repeat it",
                    kv.mod_revision
                )));
        }
    }
    Ok(())
}
