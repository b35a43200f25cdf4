//! `make-mirror`: the keys of this cluster written into another one, as etcdctl does it.

use super::Context;
use crate::{
    failure::{Failure, Result},
    hold::signals::Signals,
    link::Link,
    mirror::{Extra, Mapping, Mirror, Plan, Progress, Side},
    output, parse,
    settings::Remote,
};
use clap::{ArgAction, Args};
use std::{path::PathBuf, time::Duration};
use tokio::time::sleep;

/// Write the keys of the cluster (--endpoints) into another one, and follow their changes
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl --endpoints 10.0.0.1:2379 make-mirror 10.1.0.1:2379
  conclavectl make-mirror 10.1.0.1:2379 --prefix app/ --dest-prefix copy/app/
  conclavectl make-mirror https://10.1.0.1:2379 --dest-cacert ca.pem --dest-user root:secret

Keys and values are carried, and deletions. Leases are not: at the destination the keys have none,
and are deleted when they end at the source. Keys below /_conclave/ are left out. What differs is
written first, then every change; several revisions of the source may become one. The number
of keys written is printed every 30 seconds (--interval), as etcdctl prints it.

It goes on until it is interrupted, and waits while a cluster does not answer. History that was
compacted before it was followed ends it (exit code 1); with --prune it compares both sides and
goes on. While it runs, a key `conclave-mirror` behind the destination's prefix marks its steps:
of two mirrors into the same prefix the first one ends (exit code 9).")]
pub(crate) struct MakeMirrorArgs {
    /// Members of the other cluster, comma-separated
    #[arg(value_name = "DESTINATION", value_delimiter = ',', required = true)]
    destination: Vec<String>,
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// What stands in the place of --prefix at the destination [default: --prefix]
    #[arg(long, value_name = "PREFIX", conflicts_with = "no_dest_prefix")]
    dest_prefix: Option<String>,
    /// Nothing stands in the place of --prefix at the destination
    #[arg(long)]
    no_dest_prefix: bool,
    /// Only follow the changes from this revision on, without what is there
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    rev: i64,
    /// Operations in one transaction at the destination, the mirror's own among them
    #[arg(long, default_value_t = 128, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(2..))]
    max_txn_ops: u16,
    /// Delete what only the destination has behind its prefix
    #[arg(long)]
    prune: bool,
    /// How often to print the number of keys
    #[arg(long, default_value = "30s", value_parser = parse::duration, value_name = "TIME")]
    interval: Duration,
    /// The authorities that the destination's certificates are verified by (PEM)
    #[arg(long, value_name = "FILE")]
    dest_cacert: Option<PathBuf>,
    /// The certificate that is shown to the destination (PEM); needs --dest-key
    #[arg(long, value_name = "FILE")]
    dest_cert: Option<PathBuf>,
    /// The private key of --dest-cert (PEM)
    #[arg(long, value_name = "FILE")]
    dest_key: Option<PathBuf>,
    /// false: a DESTINATION without http:// or https:// is encrypted [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dest_insecure_transport: Option<bool>,
    /// Encrypt, but accept any certificate of the destination
    #[arg(long)]
    dest_insecure_skip_tls_verify: bool,
    /// The user at the destination, as name or name:password; asks for a password that is not given
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    dest_user: Option<String>,
    /// The password of --dest-user
    #[arg(long, value_name = "PASSWORD")]
    dest_password: Option<String>,
}

impl MakeMirrorArgs {
    fn plan(&self) -> Result<Plan> {
        if self.rev < 0 {
            return Err(Failure::usage("--rev cannot be negative"));
        }
        let destination = match (&self.dest_prefix, self.no_dest_prefix) {
            (_, true) => String::new(),
            // etcdctl takes an empty one for none, too.
            (Some(prefix), false) if !prefix.is_empty() => prefix.clone(),
            _ => self.prefix.clone(),
        };
        Ok(Plan {
            mapping: Mapping::new(self.prefix.clone(), destination),
            most: self.max_txn_ops.into(),
            leases: false,
            extra: if self.prune { Extra::Remove } else { Extra::Keep },
            from: self.rev,
        })
    }

    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let plan = self.plan()?;
        let mut signals = Signals::new()?;
        let interval = self.interval.max(Duration::from_millis(100));
        let remote = Remote {
            endpoints: self.destination,
            cacert: self.dest_cacert,
            cert: self.dest_cert,
            key: self.dest_key,
            insecure_transport: self.dest_insecure_transport,
            insecure_skip_tls_verify: self.dest_insecure_skip_tls_verify,
            user: self.dest_user,
            password: self.dest_password,
        };
        let destination = Link::new(context.link.settings().remote(remote)?);
        let source = Side { client: context.link.client().await?, name: "source" };
        let destination = Side { client: destination.client().await?, name: "destination" };
        let mut mirror = Mirror::new(source, destination, plan);
        let progress = mirror.progress();
        let ended = tokio::select! {
            done = mirror.run() => done.map(drop),
            failed = count(&progress, interval) => failed,
            interrupted = signals.interrupt() => Err(interrupted),
        };
        mirror.leave().await;
        ended
    }
}

/// Prints the number of keys from time to time, as etcdctl does; returns only if that fails.
async fn count(progress: &Progress, interval: Duration) -> Result<()> {
    loop {
        sleep(interval).await;
        output::raw(&format!("{}\n", progress.written()))?;
    }
}
