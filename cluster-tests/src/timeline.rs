//! What really happened: every change under a prefix, in order, as a watch from the beginning tells
//! it.

use crate::{
    client::{bytes, prefix_end, text},
    wait::within,
};
use anyhow::{Context, Result, ensure};
use conclave_client::{
    api::{
        etcdserverpb::WatchCreateRequest,
        mvccpb::{Event, event::EventType},
    },
    wire::Client,
};
use conclave_trials::history::Change;
use std::time::Duration;

/// All changes of keys with `prefix` up to and including `revision`. Nothing may have been
/// compacted.
///
/// # Errors
/// The watch fails, or does not get there.
pub async fn read(client: &Client, prefix: &str, revision: i64) -> Result<Vec<Change>> {
    let mut stream = client.watch().open();
    let from_start = WatchCreateRequest {
        key: bytes(prefix),
        range_end: prefix_end(prefix),
        start_revision: 1,
        ..Default::default()
    };
    stream.create(from_start).await?;
    let mut changes: Vec<Change> = Vec::new();
    loop {
        // Progress is answered only once the watch has caught up; asked again until then.
        stream.request_progress().await?;
        let Ok(message) = within("a watch message", Duration::from_secs(1), stream.next()).await else {
            continue;
        };
        let message = message?.context("the watch stream ended")?;
        ensure!(!message.canceled, "the watch was cancelled: {}", message.cancel_reason);
        let reached = message.header.as_ref().context("a watch message without header")?.revision;
        let caught_up = message.events.is_empty() && !message.created && reached >= revision;
        for event in message.events {
            let change = change(event)?;
            let last = changes.last().map_or(0, |change| change.modified);
            ensure!(change.modified >= last, "the timeline goes back from revision {last} to {}", change.modified);
            changes.push(change);
        }
        if caught_up {
            changes.retain(|change| change.modified <= revision);
            return Ok(changes);
        }
    }
}

fn change(event: Event) -> Result<Change> {
    let deleted = event.r#type() == EventType::Delete;
    let kv = event.kv.context("an event without key")?;
    let value = (!deleted).then(|| text(&kv.value));
    Ok(Change { key: text(&kv.key), value, modified: kv.mod_revision, lease: kv.lease, ..Change::default() })
}
