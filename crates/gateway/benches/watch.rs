//! What an event costs on its way from apply to the connections of those who watch: matched,
//! queued, and encoded as the bytes of their HTTP/2 streams. No socket. The item is one event for
//! one watcher.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::{Bytes, BytesMut};
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest};
use conclave_gateway::follow::{History, StateAt, StateSource};
use conclave_gateway::watch::codec::Reply;
use conclave_gateway::watch::{Responses, WatchConfig, WatchHub};
use conclave_state::read::Bounds;
use conclave_state::{Changes, Event, EventKind, Fault, KeyValue};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use futures::StreamExt;
use futures::stream;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const VALUE: usize = 256;
const PIECE: usize = 32 << 10;

fn main() {
    divan::main();
}

/// Nobody is ever behind here.
struct NoHistory;

impl StateSource for NoHistory {
    fn bounds(&self) -> Bounds {
        Bounds { current: 1, compacted: -1 }
    }

    fn open(&self) -> Result<Box<dyn StateAt>, Fault> {
        Err(Fault::Read("there is none".into()))
    }
}

/// A hub, and streams with one watcher each.
struct World {
    hub: WatchHub,
    streams: Vec<Responses>,
    revision: i64,
    /// Keeps the streams' tasks.
    _runtime: Runtime,
}

impl World {
    /// `own`: each watches a key of its own, and not all the same.
    fn new(watchers: usize, own: bool) -> World {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let hub = WatchHub::new(History::new(Arc::new(NoHistory)), WatchConfig::default());
        let streams = runtime.block_on(async {
            let mut streams = Vec::new();
            for n in 0..watchers {
                let create = WatchCreateRequest { key: key(if own { n } else { 0 }), ..Default::default() };
                let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
                let requests = stream::iter([Ok(request)]).chain(stream::pending());
                let mut responses = hub.serve(requests, std::future::pending());
                responses.next().await.unwrap().unwrap();
                streams.push(responses);
            }
            streams
        });
        World { hub, streams, revision: 1, _runtime: runtime }
    }

    /// One batch of events, to everybody's bytes. How many events arrived.
    fn deliver(&mut self, events: usize) -> usize {
        let events = (0..events).map(|n| self.event(n)).collect();
        self.hub.observe(&Changes { events, revision: self.revision, ..Changes::default() });
        let mut context = Context::from_waker(Waker::noop());
        let mut bytes = 0;
        for responses in &mut self.streams {
            let mut data = BytesMut::new();
            let show = |frame| Reply { header: ResponseHeader::default(), frame }.encode_message(&mut data).unwrap();
            if let Poll::Ready(taken) = responses.poll_frames(&mut context, PIECE, show) {
                taken.unwrap().unwrap();
                bytes += data.len();
            }
        }
        bytes / VALUE
    }

    fn event(&mut self, n: usize) -> Event {
        self.revision += 1;
        let (value, mod_revision) = (Bytes::from(vec![b'v'; VALUE]), self.revision);
        let kv = KeyValue { key: key(n), value, mod_revision, version: 1, create_revision: mod_revision, lease: 0 };
        Event { kind: EventKind::Put, kv }
    }
}

fn key(n: usize) -> Bytes {
    format!("watched/{n:08}").into()
}

/// Five hundred watchers of one key.
#[divan::bench]
fn one_event_for_500_watchers(bencher: Bencher<'_, '_>) {
    let mut world = World::new(500, false);
    bencher.counter(ItemsCount::new(500_usize)).bench_local(|| assert!(world.deliver(1) >= 500));
}

/// Ten thousand watchers of as many keys, of which a batch changes a hundred.
#[divan::bench]
fn a_batch_among_10_000_keys(bencher: Bencher<'_, '_>) {
    let mut world = World::new(10_000, true);
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| assert!(world.deliver(100) >= 100));
}
