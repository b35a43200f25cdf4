//! Watches of clients: of one key or of a prefix, from now, from the past and from the future,
//! cancelled and resumed elsewhere.

use super::{
    actor::Actor,
    messages::{bytes, change, prefix_end},
};
use crate::history::{Answer, Call, Event, WatchAnswer, WatchCall, WatchEvent, WatchMessage, now};
use conclave_api::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use std::time::{Duration, Instant};
use tonic::{Status, Streaming};

/// Where each workload writes.
const PREFIXES: [(&str, &str); 6] = [
    ("kv", "kv/"),
    ("append", "append/"),
    ("set", "set/"),
    ("lock", "lk/"),
    ("election", "el/"),
    ("lease", "sentinel/"),
];

pub(super) async fn run(mut me: Actor) {
    // A watch where nobody writes shows nothing.
    let runs = |workload: &str| me.spec().has(workload);
    let prefixes: Vec<&str> = PREFIXES.into_iter().filter(|(workload, _)| runs(workload)).map(|(_, at)| at).collect();
    while me.goes_on() {
        let Some(prefix) = prefixes.get(me.draw(prefixes.len().max(1))).map(|prefix| (*prefix).to_owned()) else {
            return;
        };
        let newest = me.newest();
        let start = match me.draw(4) {
            0 => 0,
            1 => newest + 1 + me.draw(20) as i64,
            _ => (newest - me.draw(200) as i64).max(1),
        };
        let stream = format!("w{}", me.unique());
        let mut call = WatchCall { key: prefix, prefix: true, start, prev: me.chance(50), resumes: false, stream };
        for _ in 0..1 + me.draw(4) {
            let Some(next) = part(&mut me, &call).await else { break };
            call = WatchCall { start: next, resumes: true, ..call };
            if !me.goes_on() {
                break;
            }
            me.link.next();
        }
        let pause = me.millis(20, 200);
        me.sleep(pause).await;
    }
}

/// Watches for a while; returns from where to go on, if that is possible.
async fn part(me: &mut Actor, call: &WatchCall) -> Option<i64> {
    me.invoke(Call::Watch(call.clone()));
    let opening = open(me, call);
    let opened = tokio::time::timeout(Duration::from_millis(me.spec().timeout_ms * 2), opening).await;
    let late = || Err(Status::deadline_exceeded("no watch within the client's time"));
    let (asks, mut stream, first) = match opened.unwrap_or_else(|_| late()) {
        Ok(opened) => opened,
        Err(status) => {
            me.refused(&status, true);
            return None;
        }
    };
    let received = now();
    let header = first.header.as_ref().map_or(0, |header| header.revision);
    me.ok_at(received, Answer::Watch(WatchAnswer { revision: header }));
    let mut next = if call.start > 0 { call.start } else { header + 1 };
    // The answer that says that it is there may bring events already, or its end.
    if !take(me, call, &first, &mut next) {
        return None;
    }
    let until = Instant::now() + me.millis(300, 4000);
    while Instant::now() < until && me.goes_on() {
        if me.chance(5) {
            let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
            // A stream that is gone says so itself.
            let _ = asks.unbounded_send(WatchRequest { request_union: Some(progress) });
        }
        match tokio::time::timeout(Duration::from_millis(500), stream.message()).await {
            Err(_) => {}
            Ok(Ok(Some(message))) => {
                if !take(me, call, &message, &mut next) {
                    return None;
                }
            }
            Ok(_) => {
                me.link.next();
                break;
            }
        }
    }
    Some(next)
}

type Opened = (UnboundedSender<WatchRequest>, Streaming<WatchResponse>, WatchResponse);

async fn open(me: &Actor, call: &WatchCall) -> Result<Opened, Status> {
    let (asks, requests) = unbounded();
    let create = WatchCreateRequest {
        key: bytes(&call.key),
        range_end: if call.prefix { prefix_end(&call.key) } else { Default::default() },
        start_revision: call.start,
        prev_kv: call.prev,
        ..Default::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    asks.unbounded_send(request).map_err(|_| Status::cancelled("the stream is gone"))?;
    let mut client = WatchClient::new(me.link.channel()).max_decoding_message_size(usize::MAX);
    let mut stream = client.watch(requests).await?.into_inner();
    let first = stream.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
    Ok((asks, stream, first))
}

/// Writes a message; false if the watch is over.
fn take(me: &Actor, call: &WatchCall, message: &WatchResponse, next: &mut i64) -> bool {
    let revision = message.header.as_ref().map_or(0, |header| header.revision);
    let write = |what| {
        me.event(Event::Watch(WatchEvent { stream: call.stream.clone(), revision, what }));
    };
    if message.canceled {
        let (compacted, reason) = (message.compact_revision, message.cancel_reason.clone());
        write(WatchMessage::Canceled { compacted, reason });
        return false;
    }
    if !message.events.is_empty() {
        let changes: Vec<_> = message.events.iter().map(change).collect();
        if let Some(last) = changes.last() {
            *next = (*next).max(last.modified + 1);
            me.has_seen(last.modified);
        }
        write(WatchMessage::Changes { changes, fragment: message.fragment });
    } else if !message.created {
        write(WatchMessage::Progress);
        *next = (*next).max(revision + 1);
    }
    true
}
