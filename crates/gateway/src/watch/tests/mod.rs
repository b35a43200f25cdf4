//! The hub against the real state machine over a [`MemoryView`], read back through the wire's own
//! encoding.

mod compaction;
mod delivery;
mod model;
mod pages;
mod progress;
mod requests;
mod slow;

use super::codec::Reply;
use super::hub::{WatchConfig, WatchHub};
use super::outbox::Responses;
use crate::follow::History;
use crate::follow::tests::store::{Inline, Source, Store};
use bytes::Bytes;
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::etcdserverpb::{
    ResponseHeader, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use conclave_state::{Changes, Command, DeleteRange, KeyRange, Op, Put, Txn};
use futures::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

struct World {
    store: Arc<Mutex<Store>>,
    hub: WatchHub,
    /// What the hub reads on the event loop.
    inline: Inline,
}

impl World {
    fn new() -> World {
        World::with(WatchConfig::default())
    }

    fn with(config: WatchConfig) -> World {
        let source = Source::new();
        let hub = WatchHub::new(History::new(Arc::new(source.clone())), config);
        World { store: source.store, hub, inline: source.inline }
    }

    fn apply(&self, commands: &[Command]) -> Changes {
        let changes = self.apply_unseen(commands);
        self.hub.observe(&changes);
        changes
    }

    /// What a snapshot brought: in the state, but never seen as events.
    fn apply_unseen(&self, commands: &[Command]) -> Changes {
        self.store.lock().apply(commands).1
    }

    fn compact(&self, revision: i64) {
        self.apply(&[Command::Compact { revision }]);
        self.store.lock().sweep(revision);
    }

    fn client(&self) -> Client {
        self.client_until(std::future::pending())
    }

    fn client_until(&self, end: impl Future<Output = Status> + Send + 'static) -> Client {
        let (requests, receiver) = mpsc::unbounded_channel();
        let responses = self.hub.serve(UnboundedReceiverStream::new(receiver), end);
        Client { requests: Some(requests), responses }
    }
}

struct Client {
    requests: Option<mpsc::UnboundedSender<Result<WatchRequest, Status>>>,
    responses: Responses,
}

impl Client {
    fn send(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().send(Ok(request)).unwrap();
    }

    fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// Creates a watcher and takes its first response.
    async fn created(&mut self, request: WatchCreateRequest) -> i64 {
        self.create(request);
        let response = self.next().await;
        assert!(response.created && !response.canceled, "{response:?}");
        response.watch_id
    }

    /// The next response, or how the stream ended; nothing if it stays quiet. The clock is paused,
    /// so that takes no time.
    async fn poll(&mut self) -> Option<Result<WatchResponse, Option<Status>>> {
        match tokio::time::timeout(Duration::from_millis(1), self.responses.next()).await {
            Err(_) => None,
            Ok(None) => Some(Err(None)),
            Ok(Some(Err(status))) => Some(Err(Some(status))),
            Ok(Some(Ok(frame))) => {
                let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: frame.revision, raft_term: 3 };
                let mut wire = Vec::new();
                Reply { header, frame }.encode(&mut wire);
                Some(Ok(WatchResponse::decode(&wire[..]).unwrap()))
            }
        }
    }

    async fn next(&mut self) -> WatchResponse {
        self.poll().await.expect("a response").expect("the stream goes on")
    }

    async fn quiet(&mut self) {
        let response = self.poll().await;
        assert!(response.is_none(), "{response:?}");
    }
}

fn put(key: &str, value: &str) -> Command {
    Command::Put(op_put(key, value))
}

fn op_put(key: &str, value: &str) -> Put {
    Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Put::default()
    }
}

fn op_delete(key: &str) -> DeleteRange {
    DeleteRange { range: KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() }, prev_kv: false }
}

fn delete(key: &str) -> Command {
    Command::DeleteRange(op_delete(key))
}

fn txn(success: Vec<Op>) -> Command {
    Command::Txn(Txn { success, ..Txn::default() })
}

fn watch(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() }
}

fn watch_all() -> WatchCreateRequest {
    WatchCreateRequest { range_end: Bytes::from_static(b"\0"), ..Default::default() }
}

fn from(start_revision: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..request }
}

/// `key@revision` or `-key@revision` for each event.
fn events(response: &WatchResponse) -> Vec<String> {
    let name = |event: &conclave_api::mvccpb::Event| {
        let kv = event.kv.as_ref().unwrap();
        let sign = if event.r#type == 1 { "-" } else { "" };
        format!("{sign}{}@{}", String::from_utf8_lossy(&kv.key), kv.mod_revision)
    };
    response.events.iter().map(name).collect()
}
