//! `migrate`: all keys and their leases from one cluster to another, while clients work, until they
//! can be switched over.

use super::Context;
use crate::{
    failure::Result,
    hold::signals::Signals,
    link::Link,
    mirror::{Cutover, Extra, Leases, Mapping, Mirror, Plan, Progress, Side},
    output::{MigrationDone, MigrationStatus, Output},
    parse,
    settings::Remote,
};
use clap::{ArgAction, Args};
use conclave_client::Get;
use rustix::process::Signal;
use std::{path::PathBuf, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// Move to Conclave from a running etcd, or back: mirror all keys with their leases, verify, say
/// when to switch
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl --endpoints 10.0.0.1:2379 migrate --from 10.1.0.1:2379   from etcd to Conclave
  conclavectl migrate --from 10.0.0.1:2379 --to 10.1.0.1:2379          and back
  conclavectl migrate --from 10.1.0.1:2379 --cutover                   end when the writers stop
  kill -USR1 PID                                                       the same, of one that runs

It can be interrupted and run again: it compares both sides and writes what differs.

To switch: let it run until the lag is small; ask for the cutover (--cutover or SIGUSR1); stop
the writers at the source. When nothing was written for two seconds and both sides were found
the same, key by key at one revision, it says so and ends with exit code 0. Then start the
writers with the endpoints of the destination.

Carried: keys with their values; and leases that have keys, under the same ids with their TTL. The
migration keeps them alive for as long as they live at the source, and they have their whole TTL
when it ends. Not carried: history and revisions (the destination counts its own), leases without
keys, users and roles, and what is below /_conclave/ (elections, locks and claims of Conclave).
`conclave snapshot restore` carries all that, from a snapshot.

Keys that only the destination has stop it before anything is written, unless --prune is given.
Flags --from-* are for the source, the global options for the destination.")]
pub(crate) struct MigrateArgs {
    /// Members of the source, comma-separated
    #[arg(long, required = true, value_name = "HOST:PORT,...", value_delimiter = ',')]
    from: Vec<String>,
    /// Members of the destination [default: --endpoints]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    to: Option<Vec<String>>,
    /// End as soon as the writers have stopped and both sides are the same
    #[arg(long)]
    cutover: bool,
    /// Delete what only the destination has
    #[arg(long)]
    prune: bool,
    /// Operations in one transaction at the destination, the migration's own among them
    #[arg(long, default_value_t = 128, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(2..))]
    max_txn_ops: u16,
    /// How often to print how far it is
    #[arg(long, default_value = "5s", value_parser = parse::duration, value_name = "TIME")]
    interval: Duration,
    /// The authorities that the source's certificates are verified by (PEM)
    #[arg(long, value_name = "FILE")]
    from_cacert: Option<PathBuf>,
    /// The certificate that is shown to the source (PEM); needs --from-key
    #[arg(long, value_name = "FILE")]
    from_cert: Option<PathBuf>,
    /// The private key of --from-cert (PEM)
    #[arg(long, value_name = "FILE")]
    from_key: Option<PathBuf>,
    /// false: --from without http:// or https:// is encrypted [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    from_insecure_transport: Option<bool>,
    /// Encrypt, but accept any certificate of the source
    #[arg(long)]
    from_insecure_skip_tls_verify: bool,
    /// The user at the source, as name or name:password; asks for a password that is not given
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    from_user: Option<String>,
    /// The password of --from-user
    #[arg(long, value_name = "PASSWORD")]
    from_password: Option<String>,
}

impl MigrateArgs {
    fn plan(&self) -> Plan {
        Plan {
            mapping: Mapping::default(),
            most: self.max_txn_ops.into(),
            leases: true,
            extra: if self.prune { Extra::Remove } else { Extra::Refuse },
            from: 0,
        }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let plan = self.plan();
        let mut signals = Signals::without(CUTOVER)?;
        let interval = self.interval.max(Duration::from_millis(100));
        let remote = Remote {
            endpoints: self.from,
            cacert: self.from_cacert,
            cert: self.from_cert,
            key: self.from_key,
            insecure_transport: self.from_insecure_transport,
            insecure_skip_tls_verify: self.from_insecure_skip_tls_verify,
            user: self.from_user,
            password: self.from_password,
        };
        let source = Link::new(context.link.settings().remote(remote)?);
        let other = self.to.map(|endpoints| context.link.settings().elsewhere(endpoints)).transpose()?.map(Link::new);
        let source = Side { client: source.client().await?, name: "source" };
        let client = other.as_ref().unwrap_or(&context.link).client().await?;
        let destination = Side { client, name: "destination" };
        let mut mirror = Mirror::new(source.clone(), destination, plan);
        let (progress, leases, cutover) = (mirror.progress(), mirror.leases(), mirror.cutover());
        if self.cutover {
            cutover.ask();
        }
        let done = tokio::select! {
            done = mirror.run() => done,
            failed = report(context.out, &source, &progress, &leases, interval) => Err(failed),
            failed = asked(&cutover) => Err(failed),
            interrupted = signals.interrupt() => Err(interrupted.hint("the same command goes on where it was")),
        };
        mirror.leave().await;
        let done = done?;
        context.out.show(&MigrationDone {
            revision: done.revision,
            keys: done.keys,
            leases: done.leases,
            skipped: progress.skipped(),
        })
    }
}

/// This signal asks for the cutover.
const CUTOVER: Signal = Signal::USR1;

/// Asks for the cutover when the signal comes; returns only if signals cannot be had.
async fn asked(cutover: &Cutover) -> crate::failure::Failure {
    let mut user = match signal(SignalKind::from_raw(CUTOVER.as_raw())) {
        Ok(user) => user,
        Err(error) => return error.into(),
    };
    loop {
        user.recv().await;
        cutover.ask();
    }
}

/// Prints how far it is from time to time; returns only if that fails.
async fn report(
    out: Output,
    source: &Side,
    progress: &Progress,
    leases: &Leases,
    interval: Duration,
) -> crate::failure::Failure {
    loop {
        sleep(interval).await;
        // Without an answer there is nothing new to tell but what is known here.
        let present = source.client.range(Get::new("\0").count_only()).await.map_or(0, |found| found.header.revision);
        let status = MigrationStatus {
            revision: progress.revision(),
            source_revision: present,
            written: progress.written(),
            deleted: progress.deleted(),
            skipped: progress.skipped(),
            leases: leases.count(),
            comparisons: progress.syncs(),
        };
        if let Err(failure) = out.show(&status) {
            return failure;
        }
    }
}
