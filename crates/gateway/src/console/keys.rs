//! Keys: for who may read them, as with `Range`.

use super::query::Query;
use super::times::Times;
use super::{PAGE, beginning};
use crate::gateway::Gateway;
use crate::service::conclave::decide::look_at;
use bytes::Bytes;
use conclave_console::Frame;
use conclave_console::keys::{self as shown, About, Child, Key, Version};
use conclave_state::{EventKind, KeyRange, KeyValue, read};
use conclave_storage::StateView;
use tonic::Status;

/// Bytes of values that are read for a list, and for the versions of one key: the value that goes
/// beyond is the last.
const MOST_BYTES: usize = 1 << 20;

/// Versions of a key that are shown.
const VERSIONS: usize = 50;

pub(super) async fn tree(gateway: &Gateway, times: &Times, frame: &Frame, query: &Query) -> Result<String, Status> {
    let (prefix, after) = (query.bytes("prefix").to_vec(), query.bytes("after").to_vec());
    let goes_on = !after.is_empty();
    let range = beginning(&prefix);
    let asked = prefix.clone();
    let read = move |view: &StateView| {
        let after = (!after.is_empty()).then_some(&after[..]);
        let mut children = read::children(view, &asked, after, PAGE + 1)?;
        let more = children.len() > PAGE;
        children.truncate(PAGE);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for child in children {
            let about = match &child {
                read::Child::Key(key) if bytes < MOST_BYTES => {
                    let kv = read::version_at(view, key, view.bounds().current)?;
                    bytes += kv.as_ref().map_or(0, |kv| kv.value.len());
                    kv.map(|kv| about(&kv))
                }
                _ => None,
            };
            found.push((child, about));
        }
        Ok((found, more))
    };
    let ((found, more), _) = look_at(gateway, true, true, move || range, read).await?;
    let next = found.last().filter(|_| more).map(|(read::Child::Key(key) | read::Child::Folder(key), _)| key.clone());
    let children = found.into_iter().map(|(child, about)| match child {
        read::Child::Folder(folder) => Child::Folder(folder.into()),
        read::Child::Key(key) => {
            let about = about.map(|about| About { modified: times.since(about.modified.revision), ..about });
            Child::Key { key: key.into(), about }
        }
    });
    Ok(shown::keys(frame, &prefix, &children.collect::<Vec<_>>(), goes_on, next.as_deref()))
}

fn about(kv: &KeyValue) -> About {
    let KeyValue { mod_revision, version, lease, ref value, .. } = *kv;
    About { modified: Times::at(mod_revision), version, lease, bytes: value.len() as u64 }
}

pub(super) async fn one(gateway: &Gateway, times: &Times, frame: &Frame, query: &Query) -> Result<String, Status> {
    let key = Bytes::copy_from_slice(query.bytes("key"));
    let revision: Option<i64> = query.number("revision")?;
    let range = KeyRange { key: key.clone(), end: Bytes::new() };
    let asked = range.clone();
    let read = move |view: &StateView| read::versions(view, &asked, VERSIONS, MOST_BYTES);
    let ((events, is_whole), _) = look_at(gateway, true, true, move || range, read).await?;
    if events.is_empty() {
        return Err(Status::not_found("There is no such key, and no version of it is kept."));
    }
    let chosen = match revision {
        None => 0,
        Some(revision) => events
            .iter()
            .position(|event| event.kv.mod_revision <= revision)
            .ok_or_else(|| Status::not_found("The version of that revision is not kept, or not among the latest."))?,
    };
    let oldest = events.last().is_none_or(|event| event.kv.version == 1);
    let created = events.get(chosen).filter(|event| event.kind == EventKind::Put);
    let created = created.map(|event| event.kv.create_revision);
    let version = |event: conclave_state::Event| Version {
        at: times.since(event.kv.mod_revision),
        version: event.kv.version,
        lease: event.kv.lease,
        value: event.kv.value.into(),
    };
    let versions = events.into_iter().map(version).collect();
    let of = Key { key: key.into(), versions, chosen, is_cut: !is_whole || !oldest, created };
    Ok(shown::key(frame, &of))
}
