//! Requests and answers over services that say what a test wants.

use super::*;
use crate::metrics::GrpcMetrics;
use crate::outflow::{Measured, Outflow};
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::lease_server::{Lease, LeaseServer};
use conclave_api::v3lockpb::lock_server::{Lock, LockServer};
use conclave_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::Streaming;
use tower::Layer;

const MAX: usize = 4 << 10;

/// A lock that nobody gets (unless its name is `free`), and leases that are kept as long as their
/// ids are positive.
#[derive(Clone, Default)]
struct Fake {
    given_up: Arc<AtomicBool>,
}

struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Lock for Fake {
    async fn lock(&self, request: tonic::Request<LockRequest>) -> Result<tonic::Response<LockResponse>, Status> {
        let _given_up = GivenUp(self.given_up.clone());
        if request.get_ref().name != "free" {
            std::future::pending::<()>().await;
        }
        let token = request.metadata().get("token").map(|token| token.as_bytes().to_vec()).unwrap_or_default();
        Ok(tonic::Response::new(LockResponse { header: None, key: token.into() }))
    }

    async fn unlock(&self, _: tonic::Request<UnlockRequest>) -> Result<tonic::Response<UnlockResponse>, Status> {
        Err(Status::not_found("etcdserver: requested lease not found"))
    }
}

type Kept = Result<pb::LeaseKeepAliveResponse, Status>;

#[tonic::async_trait]
impl Lease for Fake {
    type LeaseKeepAliveStream = BoxStream<'static, Kept>;

    async fn lease_keep_alive(
        &self,
        request: tonic::Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<tonic::Response<Self::LeaseKeepAliveStream>, Status> {
        let kept = request.into_inner().map(|request| match request?.id {
            id if id > 0 => Ok(pb::LeaseKeepAliveResponse { id, ttl: 60, ..Default::default() }),
            _ => Err(Status::permission_denied("etcdserver: permission denied")),
        });
        Ok(tonic::Response::new(kept.boxed()))
    }

    async fn lease_grant(
        &self,
        _: tonic::Request<pb::LeaseGrantRequest>,
    ) -> Result<tonic::Response<pb::LeaseGrantResponse>, Status> {
        Err(Status::unavailable("no"))
    }

    async fn lease_revoke(
        &self,
        _: tonic::Request<pb::LeaseRevokeRequest>,
    ) -> Result<tonic::Response<pb::LeaseRevokeResponse>, Status> {
        Err(Status::unavailable("no"))
    }

    async fn lease_time_to_live(
        &self,
        _: tonic::Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<tonic::Response<pb::LeaseTimeToLiveResponse>, Status> {
        Err(Status::unavailable("no"))
    }

    async fn lease_leases(
        &self,
        _: tonic::Request<pb::LeaseLeasesRequest>,
    ) -> Result<tonic::Response<pb::LeaseLeasesResponse>, Status> {
        let leases = vec![pb::LeaseStatus { id: 7 }; 100_000];
        Ok(tonic::Response::new(pb::LeaseLeasesResponse { header: None, leases }))
    }
}

fn json_over(fake: &Fake) -> Json {
    let routes = Routes::new(LockServer::new(fake.clone())).add_service(LeaseServer::new(fake.clone()));
    Json::new(GrpcMetrics::default().layer().layer(routes.prepare()), MAX, None)
}

fn found(path: &str) -> Found {
    conclave_json::find(path.split('?').next().expect("a split has a first part")).expect("a path of the gateway")
}

type Sent = BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

fn post(path: &str, body: Sent) -> Request<StreamBody<Sent>> {
    Request::post(path).body(StreamBody::new(body)).expect("valid")
}

fn whole(body: impl Into<Bytes>) -> Sent {
    let body = body.into();
    stream::once(async move { Ok(Frame::data(body)) }).boxed()
}

async fn read(response: Response<Reply>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("it ends well").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn ask(path: &str, body: impl Into<Bytes>) -> (u16, String) {
    read(json_over(&Fake::default()).answer(found(path), post(path, whole(body))).await).await
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn unary_calls_and_their_errors() {
    assert_eq!(ask("/v3/lock/lock", r#"{"name":"ZnJlZQ=="}"#).await, (200, "{}".to_owned()));
    let (status, body) = ask("/v3/lock/unlock", "{}").await;
    let expected = json!({ "error": "etcdserver: requested lease not found", "code": 5,
        "message": "etcdserver: requested lease not found" });
    assert_eq!((status, parsed(&body)), (404, expected));
    let (status, body) = ask("/v3/lock/lock", r#"{"name":"!"}"#).await;
    assert_eq!((status, &parsed(&body)["code"]), (400, &json!(3)));
    assert_eq!(ask("/v3/nosuch", "{}").await.0, 404);
    // A service that is not there, as one without an implementation.
    assert_eq!(ask("/v3/kv/put", "{}").await.0, 501);
    let get = Request::get("/v3/kv/put").body(StreamBody::new(whole(""))).expect("valid");
    assert_eq!(json_over(&Fake::default()).answer(found("/v3/kv/put"), get).await.status(), 501);
}

/// The router encodes an answer when its body is read, all at once: 400 values of 700 kB took more
/// than a second.
#[tokio::test]
async fn a_large_answer_is_read_beside_the_event_loop() {
    let large = pb::RangeResponse {
        kvs: vec![conclave_api::mvccpb::KeyValue { value: vec![0; 2 << 20].into(), ..Default::default() }],
        ..Default::default()
    };
    let admitted = Outflow::with_budget(64 << 20).admit(Measured::new(large)).await;
    let share = admitted.expect("it fits").extensions_mut().remove::<Share>().expect("it is large");
    let Found::Method(range) = found("/v3/kv/range") else { panic!("a method") };
    let mut threads = Vec::new();
    for share in [None, Some(share)] {
        let (sender, mut read_on) = tokio::sync::mpsc::unbounded_channel();
        let answer = stream::once(async move {
            sender.send(std::thread::current().id()).expect("it is waited for");
            Ok::<_, Status>(Frame::data(conclave_json::framed(&[]).expect("small")))
        });
        let body = GrpcMetrics::default().method("/x").begin(None).body(Body::new(StreamBody::new(answer)));
        let mut extensions = Extensions::new();
        share.map(|share| extensions.insert(share));
        let answered =
            unary(range, Form::Base64, extensions, body).await.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(read(answered).await, (200, "{}".to_owned()));
        threads.push(read_on.recv().await.expect("it was read"));
    }
    let here = std::thread::current().id();
    assert!(threads[0] == here && threads[1] != here);
}

#[tokio::test]
async fn metadata_comes_with_and_without_the_prefix() {
    for name in ["Token", "Grpc-Metadata-Token"] {
        let mut request = post("/v3/lock/lock?utf8=true", whole(r#"{"name":"free"}"#));
        request
            .headers_mut()
            .insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), "t".parse().expect("ok"));
        let response = json_over(&Fake::default()).answer(found("/v3/lock/lock"), request).await;
        assert_eq!(response.headers()["grpc-metadata-content-type"], "application/grpc");
        assert_eq!(read(response).await, (200, r#"{"key":"t"}"#.to_owned()));
    }
}

#[tokio::test]
async fn a_stream_is_lines_and_ends_with_its_requests() {
    let (status, body) = ask("/v3/lease/keepalive", r#"{"ID":"7"} {"ID":8}"#).await;
    let line = |id: &str| json!({ "result": { "ID": id, "TTL": "60" } });
    let lines: Vec<Value> = body.lines().map(parsed).collect();
    assert_eq!((status, lines), (200, vec![line("7"), line("8")]));
    // Refused before anything was sent: the status of HTTP says so. Later, the last line does.
    let (status, body) = ask("/v3/lease/keepalive", r#"{"ID":0}"#).await;
    assert_eq!((status, &parsed(&body)["error"]["grpc_code"]), (403, &json!(7)));
    let (status, body) = ask("/v3/lease/keepalive", r#"{"ID":7}{"ID":0}"#).await;
    let last = parsed(body.lines().last().expect("lines"));
    assert_eq!((status, body.lines().count(), &last["error"]["http_code"]), (200, 2, &json!(403)));
    // What is no request ends the stream in the same way.
    let (status, body) = ask("/v3/lease/keepalive", r#"{"ID":7}{"ID":"x"}"#).await;
    let last = parsed(body.lines().last().expect("lines"));
    assert_eq!((status, &last["error"]["code"]), (200, &json!(3)), "{body}");
    assert_eq!(ask("/v3/lease/keepalive", r#"{"ID":"x"}"#).await.0, 400);
    assert_eq!(ask("/v3/lease/keepalive", " ").await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_is_given_up() {
    for path in ["/v3/lock/lock", "/v3/lease/keepalive"] {
        let slow = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"name\":")))]).chain(stream::pending()).boxed();
        let (status, body) = read(json_over(&Fake::default()).answer(found(path), post(path, slow)).await).await;
        assert_eq!((status, &parsed(&body)["code"]), (504, &json!(4)), "{path}");
    }
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let endless = || stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'1'; 1_000])))).boxed();
    for path in ["/v3/lock/lock", "/v3/lease/keepalive"] {
        let (status, body) = read(json_over(&Fake::default()).answer(found(path), post(path, endless())).await).await;
        assert_eq!((status, &parsed(&body)["code"]), (429, &json!(8)), "{path}");
    }
    // What breaks off is no request.
    let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"{}"))), Err(std::io::Error::other("gone"))]).boxed();
    let (status, _) =
        read(json_over(&Fake::default()).answer(found("/v3/lock/lock"), post("/v3/lock/lock", broken)).await).await;
    assert!(status >= 400, "{status}");
}

#[tokio::test]
async fn a_call_ends_with_its_connection_and_with_its_deadline() {
    let fake = Fake::default();
    let json = json_over(&fake);
    let mut answer = Box::pin(json.answer(found("/v3/lock/lock"), post("/v3/lock/lock", whole("{}"))));
    for _ in 0..10 {
        assert!((&mut answer).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert!(!fake.given_up.load(Ordering::SeqCst));
    drop(answer);
    assert!(fake.given_up.swap(false, Ordering::SeqCst));

    let mut request = post("/v3/lock/lock", whole("{}"));
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("20m"));
    let (status, body) = read(json.answer(found("/v3/lock/lock"), request).await).await;
    assert_eq!((status, &parsed(&body)["code"]), (504, &json!(4)));
    assert!(fake.given_up.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_stream_rests_between_its_requests() {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"ID\":7}")))]);
    let request = post("/v3/lease/keepalive", first.chain(stream::pending()).boxed());
    let json = json_over(&Fake::default());
    let answer = json.answer(found("/v3/lease/keepalive"), request);
    let mut response = tokio::time::timeout(Duration::from_secs(60), answer).await.expect("the first line is there");
    let line = response.body_mut().frame().await.expect("no end").expect("no error");
    assert!(line.data_ref().is_some_and(|line| line.ends_with(b"}\n")));
    assert!(response.body_mut().frame().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline_and_its_last_line_says_so() {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"ID\":7}")))]);
    let mut request = post("/v3/lease/keepalive", first.chain(stream::pending()).boxed());
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("250m"));
    let began = tokio::time::Instant::now();
    let answer = json_over(&Fake::default()).answer(found("/v3/lease/keepalive"), request).await;
    let (status, body) = read(answer).await;
    let last = parsed(body.lines().last().expect("lines"));
    assert_eq!((status, body.lines().count(), &last["error"]["grpc_code"]), (200, 2, &json!(4)), "{body}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_answer_is_written_elsewhere() {
    let (status, body) = ask("/v3/lease/leases", "{}").await;
    assert_eq!((status, parsed(&body)["leases"].as_array().map(Vec::len)), (200, Some(100_000)));
}
