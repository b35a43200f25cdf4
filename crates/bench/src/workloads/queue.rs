//! One lock that goes from hand to hand along a line of waiters.

use super::{coordination, simply};
use crate::{drive::Operate, lab::Lanes, options::LoadArgs, verdict::Verdict};
use bytes::Bytes;
use clap::Args;
use conclave_cli::{
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tonic::Status;

/// Many clients wait for one lock: how fast it goes from hand to hand
///
/// The holder gives the lock back at once and queues again, so all other clients wait at any time.
/// Throughput is hand-overs a second; latency is that of one hand-over: from when its holder begins
/// to give it back until the next one knows that it holds it.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench lock-queue
  conclave-bench lock-queue --clients 1000")]
pub(crate) struct LockQueueArgs {
    #[command(flatten)]
    load: LoadArgs,
}

struct Waiter {
    lanes: Lanes,
    name: Bytes,
    lease: i64,
    /// When the lock was last begun to be given back.
    released: Arc<Mutex<Option<Instant>>>,
}

impl Operate for Waiter {
    const WAITS: bool = true;

    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        let mut client = LockClient::new(self.lanes.next());
        let request = LockRequest { name: self.name.clone(), lease: self.lease };
        let key = client.lock(request).await?.into_inner().key;
        let now = Instant::now();
        let released = self.released.lock().expect("nothing panics while it is locked").replace(now);
        client.unlock(UnlockRequest { key }).await?;
        // The very first had nobody before it.
        Ok(Some(released.map_or(Duration::ZERO, |released| now.saturating_duration_since(released))))
    }
}

impl LockQueueArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let options = self.load.options(50)?;
        if options.clients < 2 {
            return Err(Failure::usage("--clients: it takes two for a hand-over"));
        }
        if options.rate.is_some() {
            return Err(Failure::usage(
                "--rate: a line moves as fast as the lock goes from hand to hand; see --clients",
            ));
        }
        simply(settings, &self.load, "lock-queue", 50, async |lab| {
            let (lab, leases) = (lab.clone(), coordination::leases(lab).await?);
            let (name, released) = (lab.keys.name("queue", 0), Arc::default());
            Ok(move |i: usize| Waiter {
                lanes: lab.lanes(i),
                name: name.clone(),
                lease: leases[i],
                released: Arc::clone(&released),
            })
        })
        .await
    }
}
