//! Writers and watchers: how many events arrive, and how late.
//!
//! A value begins with when its put was sent, so each event tells its own latency. Watchers that
//! stall have connections of their own with small windows: what they do not read must stop at the
//! server, not in this program's memory, and must not hold up watchers that read.

use super::finished;
use crate::{
    drive::{Operate, drive_counting, tally},
    keys::Draw,
    lab::{Lab, Lanes, preparing},
    options::LoadArgs,
    tally::Tally,
    verdict::Verdict,
    wire::{Windows, Wire},
};
use bytes::{Bytes, BytesMut};
use clap::Args;
use conclave_cli::{
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use futures::{StreamExt as _, future::try_join_all, stream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

/// The bytes of a value that say when it was sent.
const STAMP: usize = 8;
/// Stalled watchers that share a connection.
const STALLED_TOGETHER: usize = 50;
/// How much of what is not read a stalled connection takes.
const STALLED_WINDOW: u32 = 65_535;

/// Watch keys while they are written
///
/// Every watcher, with a stream of its own, sees every write. Throughput is events that arrived at
/// all watchers together; latency is from when a put is sent until one watcher has its event.
/// --clients are the watchers.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench watch --clients 500                          one writer, as fast as it can
  conclave-bench watch --clients 500 --rate 200 --writers 16  latency at 200 puts a second
  conclave-bench watch --clients 50 --stalled 1000            beside watchers that never read")]
pub(crate) struct WatchArgs {
    /// Clients that write
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    writers: u32,
    /// Further watchers, which never read what they are sent
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000))]
    stalled: u32,
    #[command(flatten)]
    load: LoadArgs,
}

struct Writer {
    lab: Arc<Lab>,
    lanes: Lanes,
    draw: Draw,
    epoch: Instant,
}

impl Operate for Writer {
    async fn operate(&mut self) -> Result<Option<Duration>, Status> {
        let mut value = BytesMut::from(self.lab.keys.value(&mut self.draw));
        let key = self.lab.keys.any(&mut self.draw);
        let stamp = self.epoch.elapsed().as_nanos() as u64;
        value[..STAMP].copy_from_slice(&stamp.to_be_bytes());
        let request = PutRequest { key, value: value.freeze(), ..Default::default() };
        KvClient::new(self.lanes.next()).put(request).await.map(|_| None)
    }
}

/// A watcher that has been told that it watches.
async fn watcher(lab: &Lab, wire: Wire) -> Result<Streaming<WatchResponse>, Status> {
    let create = WatchCreateRequest { key: lab.keys.prefix(), range_end: lab.keys.prefix_end(), ..Default::default() };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream lasts as long as its requests do.
    let requests = stream::iter([request]).chain(stream::pending());
    let mut client = WatchClient::new(wire).max_decoding_message_size(usize::MAX);
    let mut events = client.watch(requests).await?.into_inner();
    match events.message().await? {
        Some(response) if response.created && !response.canceled => Ok(events),
        Some(response) => Err(Status::aborted(format!("the watch was refused: {}", response.cancel_reason))),
        None => Err(Status::aborted("the watch ended before it began")),
    }
}

/// Reads events until the stream ends.
async fn read(mut events: Streaming<WatchResponse>, tally: Arc<Tally>, epoch: Instant) {
    loop {
        match events.message().await {
            Ok(Some(response)) if !response.canceled => {
                let now = Instant::now();
                for event in &response.events {
                    if let Some(sent) = event.kv.as_ref().and_then(|kv| stamp(&kv.value)) {
                        let sent = epoch + Duration::from_nanos(sent);
                        tally.record(sent, now, Ok(None));
                    }
                }
            }
            Ok(Some(response)) => return tally.fail("WATCH_CANCELED", &response.cancel_reason),
            Ok(None) => return tally.fail("WATCH_ENDED", "a stream of events ended"),
            Err(status) => {
                let now = Instant::now();
                return tally.record(now, now, Err(&status));
            }
        }
    }
}

fn stamp(value: &Bytes) -> Option<u64> {
    value.first_chunk::<STAMP>().map(|stamp| u64::from_be_bytes(*stamp))
}

impl WatchArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let mut options = self.load.options(500)?;
        if options.value_size < STAMP {
            return Err(Failure::usage(format!("--value-size: at least {STAMP} bytes, for when the value was sent")));
        }
        let watchers = options.clients;
        // From here on, clients are those that do the operations.
        options.clients = self.writers as usize;
        let lab = Lab::new(settings, options).await?;
        let run = async {
            let (tally, epoch) = (tally(&lab), Instant::now());
            let _stalled = stalled(&lab, self.stalled as usize).await?;
            let opening = (0..watchers).map(|i| watcher(&lab, lab.wire(i)));
            let streams = try_join_all(opening).await.map_err(|status| preparing(&status))?;
            let mut reading = JoinSet::new();
            for events in streams {
                reading.spawn(read(events, tally.clone(), epoch));
            }
            let writers = (0..lab.options.clients).map(|i| Writer {
                lab: lab.clone(),
                lanes: lab.lanes(i),
                draw: Draw::new(lab.options.seed, i as u64),
                epoch,
            });
            let verdict = drive_counting(&lab, "watch", writers.collect(), tally, false).await?;
            let writes = verdict.per_second() / watchers as f64;
            Ok(verdict
                .with("watchers", watchers)
                .with("stalled_watchers", self.stalled)
                .with("events_per_second_each", writes))
        };
        finished(&lab, run).await
    }
}

/// Watchers that are never read from; they last as long as what is returned.
async fn stalled(lab: &Lab, count: usize) -> Result<Vec<Streaming<WatchResponse>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let windows = Windows { stream: STALLED_WINDOW, connection: STALLED_WINDOW };
    let wires = lab.connect(count.div_ceil(STALLED_TOGETHER), windows).await?;
    let opening = (0..count).map(|i| watcher(lab, wires[i / STALLED_TOGETHER].clone()));
    try_join_all(opening).await.map_err(|status| preparing(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_when_it_was_sent() {
        assert_eq!(stamp(&Bytes::from_static(&[0, 0, 0, 0, 0, 0, 1, 2, 99])), Some(258));
        assert_eq!(stamp(&Bytes::from_static(&[1, 2])), None);
    }
}
