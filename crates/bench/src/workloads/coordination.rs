//! Elections and locks of the etcd API, each operation from taking to giving back.

use super::simply;
use crate::{
    drive::Operate,
    lab::{Lab, Lanes, preparing},
    options::LoadArgs,
    verdict::Verdict,
};
use bytes::Bytes;
use clap::Args;
use conclave_cli::{failure::Result, settings::Settings};
use conclave_client::api::{
    v3electionpb::{CampaignRequest, ResignRequest, election_client::ElectionClient},
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use futures::future::try_join_all;
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// Long enough for any run: nothing is kept alive meanwhile.
pub(super) const TTL: i64 = 3600;

/// Win an election and resign
///
/// One operation is Campaign and Resign, with a lease that was granted before. Each client has an
/// election of its own, so nobody waits; with --shared-names, clients meet, and the latency has
/// their waiting in it.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench campaign
  conclave-bench campaign --clients 64 --shared-names 8     eight clients an election")]
pub(crate) struct CampaignArgs {
    #[command(flatten)]
    names: SharedNames,
    #[command(flatten)]
    load: LoadArgs,
}

/// Take a lock and give it back
///
/// One operation is Lock and Unlock, with a lease that was granted before. Each client has a lock
/// of its own, so nobody waits; with --shared-names, clients meet, and the latency has their
/// waiting in it. For waiters in a line see `bench lock-queue`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench lock
  conclave-bench lock --clients 64 --shared-names 8         eight clients a lock")]
pub(crate) struct LockArgs {
    #[command(flatten)]
    names: SharedNames,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Args, Clone, Copy, Debug)]
struct SharedNames {
    /// So many names for all clients [default: one for each client]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shared_names: Option<u32>,
}

impl SharedNames {
    fn name(self, lab: &Lab, i: usize) -> Bytes {
        lab.keys.name("name", self.shared_names.map_or(i, |names| i % names as usize))
    }
}

/// A client of either; with `WAIT` its turn may take long.
struct Turns<const WAIT: bool> {
    lock: bool,
    lanes: Lanes,
    name: Bytes,
    value: Bytes,
    lease: i64,
}

impl<const WAIT: bool> Operate for Turns<WAIT> {
    const WAITS: bool = WAIT;

    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        let (wire, name, lease) = (self.lanes.next(), self.name.clone(), self.lease);
        if self.lock {
            let mut client = LockClient::new(wire);
            let key = client.lock(LockRequest { name, lease }).await?.into_inner().key;
            client.unlock(UnlockRequest { key }).await?;
        } else {
            let mut client = ElectionClient::new(wire);
            let request = CampaignRequest { name, lease, value: self.value.clone() };
            let leader = client.campaign(request).await?.into_inner().leader;
            client.resign(ResignRequest { leader }).await?;
        }
        Ok(None)
    }
}

/// A lease for each client.
pub(super) async fn leases(lab: &Arc<Lab>) -> Result<Vec<i64>> {
    let grants = (0..lab.options.clients).map(|i| lab.grant(i, TTL));
    try_join_all(grants).await.map_err(|status| preparing(&status))
}

async fn run<const WAIT: bool>(
    settings: &Settings,
    load: &LoadArgs,
    workload: &'static str,
    lock: bool,
    names: SharedNames,
) -> Result<Verdict> {
    simply(settings, load, workload, 64, async |lab| {
        let (lab, leases) = (lab.clone(), leases(lab).await?);
        Ok(move |i: usize| Turns::<WAIT> {
            lock,
            lanes: lab.lanes(i),
            name: names.name(&lab, i),
            value: Bytes::from(format!("client {i}")),
            lease: leases[i],
        })
    })
    .await
}

impl CampaignArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        match self.names.shared_names {
            None => run::<false>(settings, &self.load, "campaign", false, self.names).await,
            Some(names) => Ok(run::<true>(settings, &self.load, "campaign-shared", false, self.names)
                .await?
                .with("shared_names", names)),
        }
    }
}

impl LockArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        match self.names.shared_names {
            None => run::<false>(settings, &self.load, "lock", true, self.names).await,
            Some(names) => Ok(run::<true>(settings, &self.load, "lock-shared", true, self.names)
                .await?
                .with("shared_names", names)),
        }
    }
}
