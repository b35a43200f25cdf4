//! `lock NAME [COMMAND]`: etcd's lock, held while a command runs.

use super::{Context, lock_admin::LockAdmin, lock_modes::ModeArgs, lock_wait, names::own_signature};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    hold::{self, Holding, Job, Schedule, Tenure, signals::Signals},
    output::{Json, Show, Text, etcd::Got},
    parse,
};
use clap::Args;
use conclave_client::{Client, LockGuard, Mutex, Session, api::etcdserverpb::RangeRequest};
use std::{ffi::OsString, time::Duration};

/// Take a lock, run a command while it is held, give it back
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_long_help = "\
Examples:
  conclavectl lock nightly -- ./backup.sh         one backup at a time, on whichever machine
  conclavectl lock nightly --try -- ./backup.sh   not if it is running already (exit code 123)
  conclavectl lock nightly --wait 5m -- ./backup.sh
  conclavectl lock nightly                        hold it until Ctrl-C
  conclavectl lock ls                             which locks there are
  conclavectl lock -- ls date                     the lock named `ls`; `date` is its command

The command finds in its environment:
  CONCLAVE_FENCE  a number greater than that of every earlier holder: send it with every
                  write to a service of your own, and let that refuse a smaller one than it
                  has seen
  CONCLAVE_KEY    the key that stands for the lock while it is held
  CONCLAVE_LEASE  the lease of the key: what is put under it goes when the lock is lost
  CONCLAVE_NAME, ETCD_LOCK_KEY, ETCD_LOCK_REV (as with etcdctl)

If the lock is lost, the command gets SIGTERM, and SIGKILL after the grace period; where the
cluster cannot be reached both come before the session's deadline, so before anybody else can
have the lock. Ctrl-C and SIGTERM go to the command; the lock is given back when it has ended.
If conclavectl itself is killed, so is the command; the lock is free when the session has run
out (--ttl).

Without a mode it is etcd's lock: all its users join the same queue: etcdctl lock, the
v3lock service, clients' mutexes. With --exclusive, --shared or --permits it is one
of Conclave's own locks; all who share a name must use these, because etcd's lock of the same
name is another one.")]
pub(crate) struct LockArgs {
    #[command(subcommand)]
    admin: Option<LockAdmin>,
    /// Which lock
    #[arg(required = true)]
    name: Option<String>,
    /// What to run while it is held; everything after it belongs to it
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// How long it stays locked if this machine vanishes; seconds, or a time with its unit
    #[arg(long, default_value = "10", value_parser = parse::ttl, allow_hyphen_values = true, value_name = "TIME")]
    ttl: Duration,
    /// Do not wait if somebody holds it
    #[arg(long = "try", conflicts_with = "wait")]
    try_only: bool,
    /// Wait no longer than this
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    wait: Option<Duration>,
    /// From SIGTERM to SIGKILL when the lock is lost; at most a third of --ttl
    #[arg(long, value_parser = parse::duration, value_name = "TIME")]
    grace: Option<Duration>,
    #[command(flatten)]
    mode: ModeArgs,
}

/// What was acquired.
enum Guard {
    Etcd(LockGuard),
    Own(Tenure),
}

impl Guard {
    fn as_held(&self) -> &dyn Holding {
        match self {
            Self::Etcd(guard) => guard,
            Self::Own(tenure) => tenure,
        }
    }

    fn as_held_mut(&mut self) -> &mut dyn Holding {
        match self {
            Self::Etcd(guard) => guard,
            Self::Own(tenure) => tenure,
        }
    }
}

impl LockArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit> {
        if let Some(admin) = self.admin {
            return admin.run(context).await.map(|()| Exit::Done);
        }
        let with_command = !self.command.is_empty();
        let outcome = self.take(context).await;
        if with_command { outcome.map_err(Failure::before_command) } else { outcome }
    }

    async fn take(self, context: &Context) -> Result<Exit> {
        self.mode.check()?;
        Schedule::new(self.ttl, self.grace).map_err(Failure::usage)?;
        if let Some(command) = self.command.first() {
            hold::find(command)?;
        }
        let name = self.name.clone().unwrap_or_default();
        if name.is_empty() {
            return Err(Failure::usage("the lock's name is empty"));
        }
        let what = format!("the lock {name:?}");
        let mut signals = Signals::new()?;
        let client = context.link.client().await?;
        let patience = if self.try_only { Some(Duration::ZERO) } else { self.wait };
        let session = match hold::open(&context.link, &client, (self.ttl, patience), &mut signals).await {
            Ok(session) => session,
            Err(failure) => return Err(context.link.not_taken(failure, &what, self.ttl).await),
        };
        let acquired = tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            guard = context.link.while_led(patience, self.acquire(context, &client, &session, &name)) => guard,
        };
        let mut guard = match acquired {
            Ok(guard) => guard,
            Err(failure) => {
                hold::give_up(&context.link, &session, &failure).await;
                return Err(context.link.not_taken(failure, &what, self.ttl).await);
            }
        };
        let outcome = hold::caught(self.hold(context, &guard, &what, &name, &mut signals)).await;
        let lost = guard.as_held().is_lost();
        hold::give_back(&context.link, &session, guard.as_held_mut().release(), (&what, lost)).await;
        match outcome.go_on() {
            Err(failure) => Err(context.link.explained(failure).await),
            held => held,
        }
    }

    async fn acquire(&self, context: &Context, client: &Client, session: &Session, name: &str) -> Result<Guard> {
        if let Some(mode) = self.mode.mode() {
            super::lock_admin::warn_of_etcds(context, name).await;
            let patience = (self.try_only, self.wait);
            return self.mode.acquire(context, client, session, (name, mode), patience).await.map(Guard::Own);
        }
        let mutex = Mutex::new(name).value(own_signature());
        let busy = || Failure::new(Exit::Busy, format!("somebody else holds the lock {name:?}"));
        let show = format!("`conclavectl lock show {name}` shows who, and who waits");
        if self.try_only {
            let guard = mutex.try_lock(session).await.map_err(Failure::of_client)?;
            return match guard {
                Some(guard) => Ok(Guard::Etcd(guard)),
                None => Err(lock_wait::why_not(context, name, busy().hint(show)).await),
            };
        }
        let waiting = async { mutex.lock(session).await.map_err(Failure::of_client) };
        let line = (name, session.lease());
        let guard = lock_wait::within(context, line, self.wait, waiting, busy().hint(show)).await?;
        Ok(Guard::Etcd(guard))
    }

    async fn hold(
        &self,
        context: &Context,
        guard: &Guard,
        what: &str,
        name: &str,
        signals: &mut Signals,
    ) -> Result<Exit> {
        let held = guard.as_held();
        let mut environment: Vec<(String, OsString)> = vec![("CONCLAVE_NAME".to_owned(), name.into())];
        match guard {
            Guard::Etcd(guard) => {
                let key = String::from_utf8_lossy(guard.key()).into_owned();
                if self.command.is_empty() {
                    show_key(context, guard.key()).await?;
                }
                environment.push(("CONCLAVE_KEY".to_owned(), key.clone().into()));
                environment.push(("ETCD_LOCK_KEY".to_owned(), key.into()));
                environment.push(("ETCD_LOCK_REV".to_owned(), held.fence().to_string().into()));
            }
            Guard::Own(_) if self.command.is_empty() => context.out.show(&Held { name, fence: held.fence() })?,
            Guard::Own(_) => {}
        }
        if self.command.is_empty() {
            return hold::until_asked(held, what, signals, hold::never()).await.map(|ended| ended.exit);
        }
        // The cluster may have raised the time to live.
        let schedule = Schedule::new(held.session().ttl().max(self.ttl), self.grace).map_err(Failure::usage)?;
        let job = Job { command: self.command.clone(), environment, schedule };
        hold::run(held, what, &job, signals, hold::never()).await.map(|ended| ended.exit)
    }
}

/// That one of Conclave's own locks is held.
struct Held<'a> {
    name: &'a str,
    fence: i64,
}

impl Show for Held<'_> {
    fn simple(&self, text: &mut Text) {
        text.line(format!("{} held with fence {}", self.name, self.fence));
    }

    fn json(&self) -> Json {
        Json::object().with("name", self.name).with("fence", self.fence).done()
    }
}

/// Shows the key that stands for what is held, as `get` does.
pub(super) async fn show_key(context: &Context, key: &[u8]) -> Result<()> {
    let request = RangeRequest { key: key.to_vec().into(), ..RangeRequest::default() };
    let response = context.link.read(|channel| super::wire::range(channel, request.clone())).await?;
    if response.kvs.is_empty() {
        return Err(Failure::new(Exit::Lost, "its key was deleted at once"));
    }
    context.out.show(&Got { response: &response, keys_only: false, value_only: false, count_only: false })?;
    Ok(())
}
