//! Results in the words of the transcripts.

use conclave_state::*;
use std::fmt::Write;

pub(crate) fn bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() { "\"\"".into() } else { bytes.escape_ascii().to_string().replace("\\x00", "\\0") }
}

pub(crate) fn keys(keys: &[bytes::Bytes]) -> String {
    format!("[{}]", keys.iter().map(|key| bytes(key)).collect::<Vec<_>>().join(" "))
}

pub(crate) fn kv(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease={}", kv.lease) };
    let (key, value) = (bytes(&kv.key), bytes(&kv.value));
    format!("{key}={value} create={} mod={} version={}{lease}", kv.create_revision, kv.mod_revision, kv.version)
}

pub(crate) fn event(event: &Event) -> String {
    match event.kind {
        EventKind::Put => format!("PUT {}", kv(&event.kv)),
        EventKind::Delete => {
            let KeyValue { key, value, create_revision, mod_revision, version, lease } = &event.kv;
            assert!(value.is_empty() && (*create_revision, *version, *lease) == (0, 0, 0), "a delete has only a key");
            format!("DELETE {} mod={mod_revision}", bytes(key))
        }
    }
}

pub(crate) fn response(response: &Response) -> String {
    match response {
        Response::Put { prev } => put(prev.as_ref()),
        Response::DeleteRange(result) => deleted(result),
        Response::Txn(result) => txn(result, 1),
        Response::Compact | Response::LeaseRevoke { .. } | Response::Proclaim | Response::Announce => "ok".into(),
        Response::LeaseGrant { id, ttl_ms } => format!("id={id} ttl={ttl_ms}ms"),
        Response::Expire { expired } => format!("expired={expired}"),
        Response::Enqueue(place) => {
            let Place { key, lease, create_revision, first } = place;
            format!("key={} lease={lease} create={create_revision}{}", bytes(key), if *first { " first" } else { "" })
        }
        Response::Join(admission) => format!("{admission:?}"),
        Response::Version(answer) => format!("{answer:?}"),
        Response::PromoteWhenReady | Response::Placement => "ok".into(),
        Response::Dequeue { deleted } => format!("deleted={deleted}"),
        Response::Cancel { ended } => format!("ended={ended}"),
        Response::Alarm { alarms } => format!("{alarms:?}"),
        Response::Coord(response) => super::coord::response(response),
        Response::CoordTimer { ended } => format!("ended={ended}"),
        Response::Auth => "ok".into(),
        Response::SignIn { index } => format!("index={index}"),
        Response::Unasked => "unasked".into(),
    }
}

fn put(prev: Option<&KeyValue>) -> String {
    prev.map_or("ok".into(), |prev| format!("ok prev: {}", kv(prev)))
}

fn deleted(result: &Deleted) -> String {
    let prev: Vec<_> = result.prev.iter().map(kv).collect();
    let prev = if prev.is_empty() { String::new() } else { format!(" prev: {}", prev.join(", ")) };
    format!("deleted={}{prev}", result.deleted)
}

fn txn(result: &TxnResult, depth: usize) -> String {
    let mut text = if result.succeeded { "succeeded".to_owned() } else { "failed".to_owned() };
    for op in &result.responses {
        let kind = match &op.kind {
            OpResultKind::Range(range) => {
                let kvs: Vec<_> = range.kvs.iter().map(kv).collect();
                let more = if range.more { " more" } else { "" };
                format!("get: count={}{more} {}", range.count, kvs.join(", ")).trim_end().to_owned()
            }
            OpResultKind::Put { prev } => format!("put: {}", put(prev.as_ref())),
            OpResultKind::DeleteRange(result) => format!("del: {}", deleted(result)),
            OpResultKind::Txn(nested) => format!("txn: {}", txn(nested, depth + 1)),
        };
        let _ = write!(text, "\n{}rev={} {kind}", "    ".repeat(depth), op.revision);
    }
    text
}
