//! Leases: granting, keeping alive, and whole sessions.

use super::{coordination::TTL, finished, simply};
use crate::{
    drive::{Operate, drive},
    keys::Draw,
    lab::{Lab, Lanes, preparing},
    options::LoadArgs,
    verdict::Verdict,
};
use clap::Args;
use conclave_cli::{
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, kv_client::KvClient,
    lease_client::LeaseClient,
};
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _, channel::mpsc, stream};
use std::{sync::Arc, time::Duration};
use tonic::{Status, Streaming};

/// Grant leases
///
/// They are revoked when all has been measured.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench lease-grant
  conclave-bench lease-grant --total 100000 --keep --ttl 60      leave them to lapse")]
pub(crate) struct LeaseGrantArgs {
    /// Seconds a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = TTL, value_parser = clap::value_parser!(i64).range(1..))]
    ttl: i64,
    #[command(flatten)]
    load: LoadArgs,
}

/// Keep leases alive
///
/// Each client has a stream, on which it keeps its leases alive in turn and waits for each answer.
/// Without --rate, as fast as answers come. With it, as sessions do: 200,000 leases of 60 seconds
/// that are kept alive every 20 seconds are 10,000 a second.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench lease-keepalive --clients 1000
  conclave-bench lease-keepalive --leases 200000 --ttl 60 --rate 10000 --duration 2m")]
pub(crate) struct LeaseKeepaliveArgs {
    /// Leases, shared out among the clients [default: one for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    leases: Option<u32>,
    /// Seconds a lease lives without a keep-alive
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(i64).range(1..))]
    ttl: i64,
    #[command(flatten)]
    load: LoadArgs,
}

/// Begin and end sessions
///
/// One operation is the whole of a short session: a lease is granted, a key is put with it, the
/// lease is revoked, which deletes the key.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench session-churn")]
pub(crate) struct SessionChurnArgs {
    #[command(flatten)]
    load: LoadArgs,
}

struct Granter {
    lab: Arc<Lab>,
    lanes: Lanes,
    ttl: i64,
}

impl Operate for Granter {
    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        self.lab.grant_on(self.lanes.next(), self.ttl).await.map(|_| None)
    }
}

impl LeaseGrantArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        simply(settings, &self.load, "lease-grant", 64, async |lab| {
            let (lab, ttl) = (lab.clone(), self.ttl);
            Ok(move |i| Granter { lab: lab.clone(), lanes: lab.lanes(i), ttl })
        })
        .await
    }
}

struct Churner {
    lab: Arc<Lab>,
    lanes: Lanes,
    draw: Draw,
    number: u64,
}

impl Operate for Churner {
    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        let wire = self.lanes.next();
        let mut leases = LeaseClient::new(wire.clone());
        let request = LeaseGrantRequest { ttl: TTL, id: 0 };
        let id = leases.lease_grant(request).await?.into_inner().id;
        let put = self.lab.put(self.number, &mut self.draw, id);
        let done = match KvClient::new(wire).put(put).await {
            Ok(_) => leases.lease_revoke(LeaseRevokeRequest { id }).await.map(drop),
            Err(status) => Err(status),
        };
        if done.is_err() {
            self.lab.remember(id);
        }
        done.map(|()| None)
    }
}

impl SessionChurnArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        simply(settings, &self.load, "session-churn", 64, async |lab| {
            let lab = lab.clone();
            Ok(move |i| Churner {
                lab: lab.clone(),
                lanes: lab.lanes(i),
                draw: Draw::new(lab.options.seed, i as u64),
                number: i as u64,
            })
        })
        .await
    }
}

/// A stream of keep-alives, opened at its first use and again after a failure.
struct Keeper {
    lanes: Lanes,
    leases: Vec<i64>,
    next: usize,
    stream: Option<Exchange>,
}

type Exchange = (mpsc::Sender<LeaseKeepAliveRequest>, Streaming<LeaseKeepAliveResponse>);

impl Operate for Keeper {
    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        let request = LeaseKeepAliveRequest { id: self.leases[self.next % self.leases.len()] };
        self.next += 1;
        let gone = || Status::unavailable("the stream of keep-alives has ended");
        // Taken: if this is given up half-way, the next answer would be that of another request.
        let (requests, mut answers) = match self.stream.take() {
            Some((mut requests, answers)) => {
                requests.send(request).await.map_err(|_| gone())?;
                (requests, answers)
            }
            None => {
                let (mut requests, receiver) = mpsc::channel(1);
                requests.send(request).await.map_err(|_| gone())?;
                let answers = LeaseClient::new(self.lanes.next()).lease_keep_alive(receiver).await?;
                (requests, answers.into_inner())
            }
        };
        let answer = answers.message().await?.ok_or_else(gone)?;
        self.stream = Some((requests, answers));
        if answer.ttl > 0 { Ok(None) } else { Err(Status::not_found("the lease is gone")) }
    }
}

impl LeaseKeepaliveArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let options = self.load.options(1000)?;
        let clients = options.clients;
        let count = self.leases.map_or(clients, |leases| leases as usize);
        if count < clients {
            return Err(Failure::usage(format!(
                "--leases {count}: each of {clients} clients needs one; see --clients"
            )));
        }
        let lab = Lab::new(settings, options).await?;
        let run = async {
            let leases = lab.grants(count, || self.ttl).await?;
            let keepers = (0..clients).map(|i| Keeper {
                lanes: lab.lanes(i),
                leases: leases.iter().skip(i).step_by(clients).copied().collect(),
                next: 0,
                stream: None,
            });
            // Every stream is opened before it is measured.
            let opened = keepers.map(|mut keeper| async move { keeper.operate().await.map(|_| keeper) });
            let keepers = stream::iter(opened).buffer_unordered(64).try_collect::<Vec<_>>().await;
            let keepers = keepers.map_err(|status| preparing(&status))?;
            Ok(drive(&lab, "lease-keepalive", keepers).await?.with("leases", count))
        };
        finished(&lab, run).await
    }
}
