//! `lease`.

use super::{Context, wire};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    output::{
        self,
        etcd::{Granted, KeptAlive, Leases, Revoked, TimeToLive},
        human,
    },
    parse,
};
use clap::{Args, Subcommand};
use conclave_client::api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, lease_client::LeaseClient,
};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Leases: keys that go when nobody keeps them
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Create a lease
    #[command(after_long_help = "\
Example:
  $ conclavectl lease grant 60
  lease 694d77aa9e38260f granted with TTL(60s)
  $ conclavectl put service/a 10.0.0.1 --lease 694d77aa9e38260f")]
    Grant(GrantArgs),
    /// End a lease and delete its keys
    #[command(after_long_help = "Example:\n  conclavectl lease revoke 694d77aa9e38260f")]
    Revoke {
        /// Its id, in hexadecimal
        #[arg(value_parser = parse::lease)]
        lease: i64,
    },
    /// How long a lease lives on, and which keys it has
    #[command(after_long_help = "Example:\n  conclavectl lease timetolive 694d77aa9e38260f --keys")]
    Timetolive {
        /// Its id, in hexadecimal
        #[arg(value_parser = parse::lease)]
        lease: i64,
        /// Also its keys
        #[arg(long)]
        keys: bool,
    },
    /// All leases that live
    #[command(visible_alias = "ls", after_long_help = "Example:\n  conclavectl lease list")]
    List,
    /// Keep a lease alive, until stopped or until it is gone
    KeepAlive(KeepAliveArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GrantArgs {
    /// Seconds, or a time with its unit; the cluster raises it to its minimum
    #[arg(value_parser = parse::ttl, allow_hyphen_values = true)]
    ttl: Duration,
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclavectl lease keep-alive 694d77aa9e38260f          until Ctrl-C, or until it is gone
  conclavectl lease keep-alive 694d77aa9e38260f --once")]
pub(crate) struct KeepAliveArgs {
    /// Its id, in hexadecimal
    #[arg(value_parser = parse::lease)]
    lease: i64,
    /// Once, not again and again
    #[arg(long)]
    once: bool,
}

impl LeaseCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Grant(args) => args.run(context).await,
            Self::KeepAlive(args) => args.run(context).await,
            Self::Revoke { lease } => {
                let request = LeaseRevokeRequest { id: lease };
                let response = context.link.write(|channel| wire::revoke(channel, request)).await;
                let revoked = response.map_err(|error| {
                    let hint = "it may be revoked or not; revoking it again does no harm";
                    error.about("failed to revoke lease").in_doubt_hint(hint)
                })?;
                context.out.show(&Revoked(lease, &revoked))?;
                Ok(())
            }
            Self::Timetolive { lease, keys } => {
                let request = LeaseTimeToLiveRequest { id: lease, keys };
                let response = context.link.read(|channel| wire::time_to_live(channel, request)).await?;
                context.out.show(&TimeToLive { response: &response, keys })?;
                Ok(())
            }
            Self::List => {
                let response = context.link.read(|channel| wire::leases(channel, LeaseLeasesRequest {})).await?;
                context.out.show(&Leases(&response))?;
                Ok(())
            }
        }
    }
}

/// Whole seconds, rounded up.
pub(crate) fn whole_seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).unwrap_or(i64::MAX)
}

impl GrantArgs {
    async fn run(self, context: &Context) -> Result<()> {
        let request = LeaseGrantRequest { ttl: whole_seconds(self.ttl), id: 0 };
        let response = context.link.write(|channel| wire::grant(channel, request)).await;
        let granted = response.map_err(|error| {
            let ttl = human::time(self.ttl);
            let hint = format!("a lease may have been granted; nothing is attached to it, and it ends after {ttl}");
            error.about("failed to grant lease").in_doubt_hint(hint)
        })?;
        let shown = context.out.show(&Granted(&granted));
        if shown.is_err() {
            // Nobody knows its id.
            let request = LeaseRevokeRequest { id: granted.id };
            if let Err(failure) = context.link.write(|channel| wire::revoke(channel, request)).await {
                output::note(&format!("could not revoke the lease again: {}", failure.message()));
            }
        }
        shown
    }
}

impl KeepAliveArgs {
    async fn run(self, context: &Context) -> Result<()> {
        let mut last = Instant::now();
        let mut lifetime = Duration::ZERO;
        loop {
            let answer = match keep_alive(context, self.lease).await {
                Ok(answer) => answer,
                // As long as the lease may live, another member may answer.
                Err(failure) if failure.exit == Exit::NoConnection && !self.once && last.elapsed() < lifetime => {
                    output::note(&format!("{failure}; trying again"));
                    sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if answer.ttl <= 0 {
                return self.gone(context);
            }
            last = Instant::now();
            lifetime = Duration::from_secs(answer.ttl.unsigned_abs());
            context.out.show(&KeptAlive(&answer))?;
            if self.once {
                return Ok(());
            }
            sleep((lifetime / 3).max(Duration::from_millis(500))).await;
        }
    }

    fn gone(&self, context: &Context) -> Result<()> {
        if self.once {
            return Err(Failure::new(Exit::Lost, "etcdserver: requested lease not found")
                .hint("the lease has run out or was revoked; `conclavectl lease list` shows those that live"));
        }
        if context.out.format == output::Format::Simple {
            output::raw(&format!("lease {} expired or revoked.\n", human::lease(self.lease)))?;
        }
        Err(Failure::new(Exit::Lost, format!("lease {} is gone", human::lease(self.lease))))
    }
}

/// One keep-alive on a stream of its own.
pub(crate) async fn keep_alive(context: &Context, lease: i64) -> Result<LeaseKeepAliveResponse> {
    let call = |channel| async move {
        let requests = one_request(LeaseKeepAliveRequest { id: lease });
        let mut answers = LeaseClient::new(channel).lease_keep_alive(requests).await?.into_inner();
        let answer = answers.message().await?;
        answer.map(tonic::Response::new).ok_or_else(|| tonic::Status::unavailable("the keep-alive stream ended"))
    };
    let bound = context.link.settings().dial_timeout + context.link.settings().command_timeout;
    let late = || Failure::new(Exit::NoConnection, "no answer to the keep-alive");
    timeout(bound, context.link.read(call)).await.unwrap_or_else(|_| Err(late()))
}

/// A request stream of one message that stays open until the call is over.
fn one_request<T: Send + 'static>(item: T) -> impl futures::Stream<Item = T> + Send + 'static {
    use futures::StreamExt as _;
    futures::stream::iter([item]).chain(futures::stream::pending())
}
