//! The service over a real connection, with the generated client.

use super::*;
use crate::follow::History;
use crate::follow::{StateAt, StateSource};
use crate::watch::WatchConfig;
use bytes::Bytes;
use conclave_api::etcdserverpb::watch_client::WatchClient;
use conclave_api::etcdserverpb::watch_request::RequestUnion;
use conclave_api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use conclave_state::read::Bounds;
use conclave_state::{Changes, Event, EventKind, Fault, KeyValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::metadata::MetadataValue;

struct NoHistory;

impl StateSource for NoHistory {
    fn bounds(&self) -> Bounds {
        Bounds { current: 1, compacted: -1 }
    }

    fn open(&self) -> Result<Box<dyn StateAt>, Fault> {
        Err(Fault::Read("there is none".into()))
    }
}

struct Fake {
    hub: WatchHub,
    stopping: CancellationToken,
}

impl WatchContext for Fake {
    fn hub(&self) -> &WatchHub {
        &self.hub
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { cluster_id: 7, member_id: 8, revision, raft_term: 9 }
    }

    fn max_message(&self) -> usize {
        6 << 20
    }

    fn stream_end(&self, require_leader: bool) -> Result<BoxFuture<'static, Status>, Status> {
        if require_leader {
            return Err(text::NO_LEADER.into());
        }
        let stopping = self.stopping.clone();
        Ok(Box::pin(async move {
            stopping.cancelled().await;
            text::STOPPED.into()
        }))
    }
}

async fn serve() -> (Arc<Fake>, WatchClient<tonic::transport::Channel>) {
    let hub = WatchHub::new(History::new(Arc::new(NoHistory)), WatchConfig::default());
    let fake = Arc::new(Fake { hub, stopping: CancellationToken::new() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = WatchServer::new(fake.clone());
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (fake, WatchClient::connect(address).await.unwrap())
}

fn create(key: &'static [u8]) -> WatchRequest {
    let request = WatchCreateRequest { key: Bytes::from_static(key), ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }
}

async fn open(
    client: &mut WatchClient<tonic::transport::Channel>,
) -> (mpsc::UnboundedSender<WatchRequest>, Streaming<WatchResponse>) {
    let (requests, receiver) = mpsc::unbounded_channel();
    let responses = client.watch(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
    (requests, responses)
}

#[tokio::test]
async fn a_generated_client_understands_the_responses() {
    let (fake, mut client) = serve().await;
    let (requests, mut responses) = open(&mut client).await;
    requests.send(create(b"a")).unwrap();
    let created = responses.message().await.unwrap().unwrap();
    assert!(created.created);
    assert_eq!(created.header, Some(fake.header(1)));
    let kv = KeyValue {
        key: Bytes::from_static(b"a"),
        value: Bytes::from(vec![b'v'; 100_000]),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        lease: -5,
    };
    let events = vec![Event { kind: EventKind::Put, kv: kv.clone() }];
    fake.hub.observe(&Changes { events, revision: 2, ..Changes::default() });
    let response = responses.message().await.unwrap().unwrap();
    assert_eq!((response.header, response.watch_id, response.events.len()), (Some(fake.header(2)), 0, 1));
    let got = response.events[0].kv.clone().unwrap();
    assert_eq!((got.key, got.value), (kv.key, kv.value));
    assert_eq!((got.create_revision, got.mod_revision, got.version, got.lease), (2, 2, 1, -5));
}

#[tokio::test]
async fn a_client_that_goes_takes_its_watchers_along() {
    let (fake, mut client) = serve().await;
    let (requests, mut responses) = open(&mut client).await;
    requests.send(create(b"a")).unwrap();
    responses.message().await.unwrap().unwrap();
    assert_eq!(fake.hub.stats().watchers, 1);
    drop((requests, responses, client));
    let gone = async {
        while fake.hub.stats().streams > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_stream_is_a_status() {
    let (fake, mut client) = serve().await;
    let (requests, mut responses) = open(&mut client).await;
    requests.send(create(b"a")).unwrap();
    responses.message().await.unwrap().unwrap();
    fake.stopping.cancel();
    let status = responses.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
}

#[tokio::test]
async fn unreadable_history_ends_the_stream() {
    let (_fake, mut client) = serve().await;
    let (requests, mut responses) = open(&mut client).await;
    let mut request = create(b"a");
    if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
        create.start_revision = 1;
    }
    requests.send(request).unwrap();
    assert!(responses.message().await.unwrap().unwrap().created);
    assert_eq!(responses.message().await.unwrap_err().code(), tonic::Code::Internal);
}

#[tokio::test]
async fn a_stream_that_requires_a_leader_does_not_begin_without_one() {
    let (_fake, mut client) = serve().await;
    let mut request = Request::new(futures::stream::pending());
    request.metadata_mut().insert(REQUIRE_LEADER, MetadataValue::from_static("true"));
    let status = client.watch(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test(start_paused = true)]
async fn leaderless_only_after_its_patience() {
    let (contact, receiver) = watch::channel(true);
    let waiting = tokio::spawn(leaderless(receiver, Duration::from_millis(750)));
    let pause = |ms| tokio::time::sleep(Duration::from_millis(ms));
    contact.send_replace(false);
    pause(700).await;
    contact.send_replace(true);
    pause(10_000).await;
    contact.send_replace(false);
    pause(740).await;
    assert!(!waiting.is_finished());
    pause(20).await;
    assert!(waiting.is_finished());
}

#[tokio::test]
async fn a_request_may_be_as_large_as_the_context_says() {
    let (_fake, mut client) = serve().await;
    let sized = |bytes: usize| {
        let request = WatchCreateRequest { key: Bytes::from(vec![b'k'; bytes]), ..Default::default() };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }
    };
    let (requests, mut responses) = open(&mut client).await;
    requests.send(sized(5 << 20)).unwrap();
    assert!(responses.message().await.unwrap().unwrap().created);
    requests.send(sized(7 << 20)).unwrap();
    assert_eq!(responses.message().await.unwrap_err().code(), tonic::Code::ResourceExhausted);
}
