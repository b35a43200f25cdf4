//! Watch: every change of a lock's holders and line, as the projected keys tell them.

use crate::auth::Reading;
use crate::convert::conclave::cause;
use crate::convert::conclave::lock::WatchLock;
use crate::follow::{Batch, Ended, Span, Subscription};
use crate::gateway::Gateway;
use crate::service::conclave::values::{self, LockValue};
use crate::service::etcd::watch::WatchContext;
use crate::status::{fault, internal, not_read, read_failed, text};
use bytes::Bytes;
use conclave_api::conclave::v1::{Cause, LockEvent, lock_event::Change, lock_event::Type};
use conclave_state::auth::prefix_range;
use conclave_state::coord::{self, Shown};
use conclave_state::{Event, EventKind, Fault, KeyRange, KeyValue, RangeQuery, read};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use tonic::Status;

/// Changes in one answer of a snapshot; more holders and waiters come in several.
const MOST_CHANGES: usize = 10_000;

struct Live {
    gateway: Arc<Gateway>,
    changes: Subscription,
    /// The snapshot, as far as it is not sent.
    first: VecDeque<LockEvent>,
    end: BoxFuture<'static, Status>,
}

pub(super) async fn run(
    gateway: Arc<Gateway>,
    watch: WatchLock,
    require_leader: bool,
) -> Result<BoxStream<'static, Result<LockEvent, Status>>, Status> {
    let end = gateway.stream_end(require_leader)?;
    let end = Reading::new(&gateway.access).guard(prefix_range(&coord::lock_prefix(&watch.lock)), end)?;
    let prefix = coord::lock_prefix(&watch.lock);
    if watch.start.is_none() {
        // So that nothing is shown that was over before the call.
        gateway.node.reader.barrier().await.map_err(not_read)?;
    }
    let mut changes = gateway.feed.subscribe(Span::prefix(prefix.clone()), watch.start);
    let mut first = VecDeque::new();
    if watch.snapshot {
        let (found, revision) = snapshot(&gateway, prefix).await?;
        changes.skip(revision);
        first = found;
    }
    let live = Live { gateway, changes, first, end };
    let answers = stream::unfold(Some(live), |live| async {
        let mut live = live?;
        match live.next().await {
            Ok(answer) => Some((Ok(answer), Some(live))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(answers.boxed())
}

async fn snapshot(gateway: &Gateway, prefix: Vec<u8>) -> Result<(VecDeque<LockEvent>, i64), Status> {
    let mut end = prefix.clone();
    // A prefix ends with a slash.
    *end.last_mut().expect("a prefix is not empty") += 1;
    let range = KeyRange { key: prefix.into(), end: end.into() };
    let query = RangeQuery { range, ..RangeQuery::default() };
    // What is here is new enough, after the barrier.
    let (found, revision) = gateway.node.reader.range(query, true).await.map_err(read_failed)?;
    let changes: Vec<Change> = found.kvs.iter().filter_map(begins).collect();
    let header = Some(gateway.header(revision));
    let event = |changes: &[Change]| LockEvent { header, changes: changes.to_vec(), snapshot: true };
    let mut events: VecDeque<LockEvent> = changes.chunks(MOST_CHANGES).map(event).collect();
    if events.is_empty() {
        events.push_back(event(&[]));
    }
    Ok((events, revision))
}

/// The change that puts a key.
fn begins(kv: &KeyValue) -> Option<Change> {
    let value: LockValue = values::value(&kv.value).unwrap_or_default();
    let (kind, fence) = match Shown::parse(&kv.key)? {
        Shown::LockHolder { fence, .. } => (Type::Held, fence),
        Shown::LockWaiter { fence, .. } => (Type::Waits, fence),
        _ => return None,
    };
    let cause = value.cause.map_or(Cause::Unspecified, cause);
    Some(Change { r#type: kind.into(), fence, owner: value.owner, cause: cause.into(), previous_fence: value.previous })
}

/// The change that deletes a key. Who waited and is `granted` now did not withdraw.
fn ends(
    key: &Bytes,
    granted: &BTreeSet<i64>,
    owner: impl FnOnce() -> Result<String, Fault>,
) -> Result<Option<Change>, Fault> {
    let (kind, fence) = match Shown::parse(key) {
        Some(Shown::LockHolder { fence, .. }) => (Type::Released, fence),
        Some(Shown::LockWaiter { fence, .. }) if !granted.contains(&fence) => (Type::Withdrawn, fence),
        _ => return Ok(None),
    };
    Ok(Some(Change { r#type: kind.into(), fence, owner: owner()?, ..Change::default() }))
}

impl Live {
    async fn next(&mut self) -> Result<LockEvent, Status> {
        if let Some(event) = self.first.pop_front() {
            return Ok(event);
        }
        loop {
            let told = tokio::select! {
                told = self.changes.next() => told,
                status = &mut self.end => return Err(status),
            };
            let batch = match told {
                Ok(batch) => batch,
                Err(Ended::Compacted(_)) => return Err(text::COMPACTED.status()),
                Err(Ended::Fault(reason)) => return Err(internal(reason)),
            };
            let changes = self.changes_of(&batch).map_err(fault)?;
            if !changes.is_empty() {
                let header = Some(self.gateway.header(batch.revision));
                return Ok(LockEvent { header, changes, snapshot: false });
            }
        }
    }

    fn changes_of(&self, batch: &Batch) -> Result<Vec<Change>, Fault> {
        let granted: BTreeSet<i64> =
            batch.events.iter().filter(|event| event.kind == EventKind::Put).filter_map(holds).collect();
        let mut changes = Vec::with_capacity(batch.events.len());
        for Event { kind, kv } in &batch.events {
            match kind {
                EventKind::Put => changes.extend(begins(kv)),
                EventKind::Delete => changes.extend(ends(&kv.key, &granted, || self.owner(kv))?),
            }
        }
        Ok(changes)
    }

    /// Who it was, as the key said before; nothing if that is compacted.
    fn owner(&self, gone: &KeyValue) -> Result<String, Fault> {
        let before = read::version_at(&self.gateway.node.state.view(), &gone.key, gone.mod_revision - 1)?;
        let value: Option<LockValue> = before.and_then(|kv| values::value(&kv.value));
        Ok(value.unwrap_or_default().owner)
    }
}

fn holds(event: &Event) -> Option<i64> {
    match Shown::parse(&event.kv.key) {
        Some(Shown::LockHolder { fence, .. }) => Some(fence),
        _ => None,
    }
}
