//! Many leases that lapse together.

use super::finished;
use crate::{
    drive::once_with,
    keys::Draw,
    lab::{Lab, preparing},
    options::LoadArgs,
    tally::{CountBy, Tally},
    verdict::Verdict,
};
use clap::Args;
use conclave_cli::{
    exit::Exit,
    failure::{Failure, Result},
    settings::Settings,
};
use conclave_client::api::{
    etcdserverpb::{
        LeaseGrantRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient,
        lease_client::LeaseClient, request_op::Request as Op, watch_client::WatchClient,
        watch_create_request::FilterType, watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
};
use futures::{StreamExt as _, stream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep_until, timeout};
use tonic::{Status, Streaming};

/// Leases with a key each that lapse together: how late the keys are deleted
///
/// Leases are granted so that all end within the same second, each with a key. A watcher sees the
/// keys go. Latency is how much later than its lease's end each key is deleted; `last_deletion_ms`
/// is the time from the end of the last lease to the last deletion.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Examples:
  conclave-bench lease-expire
  conclave-bench lease-expire --leases 200000 --window 60s")]
pub(crate) struct LeaseExpireArgs {
    /// Leases
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    leases: u32,
    /// All end this long after the first is granted; they must all be granted by then
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = conclave_cli::parse::duration)]
    window: Duration,
    /// How long to wait for the last deletion
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = conclave_cli::parse::duration)]
    patience: Duration,
    #[command(flatten)]
    load: LoadArgs,
}

impl LeaseExpireArgs {
    pub(crate) async fn run(self, settings: &Settings) -> Result<Verdict> {
        let mut options = self.load.options(64)?;
        if self.window < Duration::from_secs(3) {
            return Err(Failure::usage("--window: give at least 3s; servers raise shorter lives to their minimum"));
        }
        let count = self.leases as usize;
        options.key_space = self.leases.into();
        let lab = Lab::new(settings, options).await?;
        let run = async {
            let started = Instant::now();
            let end = started + self.window;
            let deadlines = Arc::new(granted(&lab, count, end).await?);
            let leases: Vec<i64> = deadlines.iter().map(|(lease, _)| *lease).collect();
            let revision = attach(&lab, &leases).await?;
            if Instant::now() + Duration::from_secs(2) > end {
                let late = format!("preparing {count} leases took {:.1} s", started.elapsed().as_secs_f64());
                return Err(Failure::new(Exit::Failed, late)
                    .hint("the first may lapse before the last is there: give a longer --window"));
            }
            lab.say(&format!(
                "{count} leases end in {:.1} s",
                end.saturating_duration_since(Instant::now()).as_secs_f64()
            ));
            let events = watch(&lab, revision + 1).await.map_err(|status| preparing(&status))?;
            // The first may lapse a second before the last.
            sleep_until((end - Duration::from_millis(1200)).into()).await;
            let tally = Arc::new(Tally::new(CountBy::End));
            let last = deadlines.iter().map(|(_, deadline)| *deadline).max().unwrap_or(end);
            let work = async {
                let waiting = deletions(&lab, events, &deadlines, &tally);
                let ended = timeout(self.patience, waiting).await;
                let first_and_last = ended.map_err(|_| {
                    let seen = tally.recent().operations;
                    let text = format!("only {seen} of {count} keys were deleted within {:?}", self.patience);
                    Failure::new(Exit::Failed, text)
                })??;
                lab.forget_leases();
                Ok(first_and_last)
            };
            let (verdict, (first_seen, last_seen)) = once_with(&lab, "lease-expire", &tally, work).await?;
            let ms = |at: Instant| at.saturating_duration_since(last).as_secs_f64() * 1000.0;
            let spread = last_seen.saturating_duration_since(first_seen).as_secs_f64();
            Ok(verdict
                .with("leases", count)
                .with("last_deletion_ms", ms(last_seen))
                .with("first_to_last_ms", spread * 1000.0))
        };
        finished(&lab, run).await
    }
}

/// Leases with the times when they end, in the order of their keys.
async fn granted(lab: &Arc<Lab>, count: usize, end: Instant) -> Result<Vec<(i64, Instant)>> {
    let grant = |i: usize| async move {
        // Whole seconds: rounded down, so all end within the last second before `end`, and none is
        // granted twice.
        let ttl = end.saturating_duration_since(Instant::now()).as_secs().max(1);
        let request = LeaseGrantRequest { ttl: ttl as i64, id: 0 };
        let response = LeaseClient::new(lab.wire(i)).lease_grant(request).await?.into_inner();
        lab.remember(response.id);
        Ok::<_, Status>((response.id, Instant::now() + Duration::from_secs(response.ttl.unsigned_abs())))
    };
    let mut granting = stream::iter((0..count).map(grant)).buffer_unordered(64);
    let (mut leases, mut told) = (Vec::with_capacity(count), Instant::now());
    while let Some(lease) = granting.next().await {
        leases.push(lease.map_err(|status| preparing(&status))?);
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            lab.say(&format!("preparing: {} of {count} leases", leases.len()));
        }
    }
    Ok(leases)
}

/// A key for each lease; returns the last revision.
async fn attach(lab: &Arc<Lab>, leases: &[i64]) -> Result<i64> {
    let batches = leases.chunks(100).enumerate().map(|(i, batch)| async move {
        let mut draw = Draw::new(lab.options.seed, i as u64);
        let put = |(n, lease): (usize, &i64)| RequestOp {
            request: Some(Op::RequestPut(lab.put((i * 100 + n) as u64, &mut draw, *lease))),
        };
        let success = batch.iter().enumerate().map(put).collect();
        let request = TxnRequest { success, ..Default::default() };
        let response = KvClient::new(lab.wire(i)).txn(request).await?.into_inner();
        Ok::<_, Status>(response.header.map_or(0, |header| header.revision))
    });
    let mut putting = stream::iter(batches).buffer_unordered(16);
    let mut revision = 0;
    while let Some(batch) = putting.next().await {
        revision = revision.max(batch.map_err(|status| preparing(&status))?);
    }
    Ok(revision)
}

/// The deletions of all keys.
async fn watch(lab: &Lab, start_revision: i64) -> Result<Streaming<WatchResponse>, Status> {
    let create = WatchCreateRequest {
        key: lab.keys.prefix(),
        range_end: lab.keys.prefix_end(),
        start_revision,
        filters: vec![FilterType::Noput.into()],
        ..Default::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = stream::iter([request]).chain(stream::pending());
    let mut client = WatchClient::new(lab.wire(0)).max_decoding_message_size(usize::MAX);
    Ok(client.watch(requests).await?.into_inner())
}

/// Waits for all; returns when the first and the last came.
async fn deletions(
    lab: &Lab,
    mut events: Streaming<WatchResponse>,
    deadlines: &[(i64, Instant)],
    tally: &Tally,
) -> Result<(Instant, Instant)> {
    let lost = |why: &str| Failure::new(Exit::Failed, format!("the watch of the deletions ended: {why}"));
    let (mut left, mut first) = (deadlines.len(), None);
    let digits = lab.keys.prefix().len();
    while left > 0 {
        let response = events.message().await.map_err(|status| lost(status.message()))?;
        let response = response.ok_or_else(|| lost("without a reason"))?;
        if response.canceled {
            return Err(lost(&response.cancel_reason));
        }
        let now = Instant::now();
        for event in response.events.iter().filter(|event| event.r#type() == EventType::Delete) {
            let key = event.kv.as_ref().map_or(&[][..], |kv| &kv.key[digits.min(kv.key.len())..]);
            let number = std::str::from_utf8(key).ok().and_then(|digits| digits.parse::<usize>().ok());
            let Some((_, deadline)) = number.and_then(|number| deadlines.get(number)) else { continue };
            tally.record(now, now, Ok(Some(now.saturating_duration_since(*deadline))));
            first.get_or_insert(now);
            left -= 1;
        }
    }
    let now = Instant::now();
    Ok((first.unwrap_or(now), now))
}
