//! `grpc_server_started_total` and `grpc_server_handled_total`: calls by method and code, named as
//! grpc-go names them, and on request `grpc_server_handling_seconds`.
//!
//! The calls that are most of the load count through [`MethodMetrics`]; for all others a layer
//! around the router does. There a call that ends in the response head (every refusal does) is
//! counted at once; any other when its body ends, by the code in the trailers; one that the client
//! gave up is Canceled. Methods come from the path of the request, so only paths that some service
//! answers (with anything but Unimplemented) get a series: a scanner cannot fill the page. Those of
//! etcd are there from the start.

use crate::deadline;
use conclave_json::SCHEMA;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

/// The codes as grpc-go spells them, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

type Labels = Vec<(&'static str, String)>;
type Series = Family<Labels, Counter>;

#[derive(Clone, Debug)]
pub struct GrpcMetrics {
    methods: Arc<RwLock<HashMap<String, Arc<Method>>>>,
    started: Series,
    handled: Series,
    /// Only where they were asked for (`--metrics extensive`): they take a lock and the time.
    seconds: Option<Family<Labels, Histogram>>,
}

impl Default for GrpcMetrics {
    fn default() -> Self {
        GrpcMetrics::new(false)
    }
}

/// The counters of one method, found by one look-up a call.
#[derive(Debug)]
struct Method {
    labels: Labels,
    started: Counter,
    handled: [OnceLock<Counter>; CODES.len()],
    handled_series: Series,
    seconds: Option<Histogram>,
}

/// The bounds of Prometheus' default, which grpc-go has.
fn histogram() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl GrpcMetrics {
    pub(super) fn new(extensive: bool) -> GrpcMetrics {
        let metrics = GrpcMetrics {
            methods: Arc::default(),
            started: Series::default(),
            handled: Series::default(),
            seconds: extensive.then(|| Family::new_with_constructor(histogram as fn() -> Histogram)),
        };
        // As etcd: a rate over the first failure of its kind needs the zero before it.
        for of_etcd in SCHEMA.methods().filter(|method| !method.path.starts_with("/conclave.")) {
            let method = metrics.add(&of_etcd.path);
            for code in 0..CODES.len() {
                method.handled(code);
            }
        }
        metrics
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("grpc_server_started", "gRPC calls begun", self.started.clone());
        registry.register("grpc_server_handled", "gRPC calls ended, by code", self.handled.clone());
        if let Some(seconds) = &self.seconds {
            registry.register("grpc_server_handling_seconds", "How long gRPC calls took", seconds.clone());
        }
    }

    pub fn layer(&self) -> GrpcMetricsLayer {
        GrpcMetricsLayer { metrics: self.clone() }
    }

    /// For a method that is called without the layer.
    pub fn method(&self, path: &'static str) -> MethodMetrics {
        MethodMetrics { metrics: self.clone(), path, method: OnceLock::new() }
    }

    fn find(&self, path: &str) -> Option<Arc<Method>> {
        self.methods.read().get(path).cloned()
    }

    fn add(&self, path: &str) -> Arc<Method> {
        let mut methods = self.methods.write();
        let method = methods.entry(path.to_owned()).or_insert_with(|| {
            let (service, name) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            let labels = vec![
                ("grpc_type", kind(path).to_owned()),
                ("grpc_service", service.to_owned()),
                ("grpc_method", name.to_owned()),
            ];
            Arc::new(Method {
                started: self.started.get_or_create(&labels).clone(),
                handled: std::array::from_fn(|_| OnceLock::new()),
                handled_series: self.handled.clone(),
                seconds: self.seconds.as_ref().map(|seconds| seconds.get_or_create(&labels).clone()),
                labels,
            })
        });
        Arc::clone(method)
    }
}

/// As grpc-go names what streams.
fn kind(path: &str) -> &'static str {
    match SCHEMA.method(path).map(|method| (method.client_streams, method.server_streams)) {
        Some((true, true)) => "bidi_stream",
        Some((true, false)) => "client_stream",
        Some((false, true)) => "server_stream",
        None if path.starts_with("/grpc.reflection.") => "bidi_stream",
        None if path == "/grpc.health.v1.Health/Watch" => "server_stream",
        _ => "unary",
    }
}

impl Method {
    fn handled(&self, code: usize) -> &Counter {
        let code = code.min(CODES.len() - 1);
        self.handled[code].get_or_init(|| {
            let mut labels = self.labels.clone();
            labels.push(("grpc_code", CODES[code].to_owned()));
            self.handled_series.get_or_create(&labels).clone()
        })
    }
}

/// A call that is counted as begun, and not as ended yet.
#[derive(Debug)]
struct Begun {
    method: Arc<Method>,
    /// Only if it is to be measured.
    at: Option<Instant>,
}

impl Begun {
    fn new(method: Arc<Method>, at: Option<Instant>) -> Begun {
        method.started.inc();
        Begun { method, at }
    }

    fn now(method: Arc<Method>) -> Begun {
        let at = method.seconds.is_some().then(Instant::now);
        Begun::new(method, at)
    }

    fn ended(&self, code: Code) {
        self.method.handled(code as usize).inc();
        if let (Some(seconds), Some(at)) = (&self.method.seconds, self.at) {
            seconds.observe(at.elapsed().as_secs_f64());
        }
    }
}

/// The counters of a method whose calls do not pass through the layer.
#[derive(Debug)]
pub struct MethodMetrics {
    metrics: GrpcMetrics,
    path: &'static str,
    /// From the first call on.
    method: OnceLock<Arc<Method>>,
}

impl MethodMetrics {
    /// Counts a call that begins. One that is dropped before it ended was given up by the client,
    /// or its deadline passed.
    pub fn begin(&self, deadline: Option<Instant>) -> CallMetrics {
        let find = || self.metrics.find(self.path).unwrap_or_else(|| self.metrics.add(self.path));
        let method = self.method.get_or_init(find);
        CallMetrics { method: Some(Begun::now(Arc::clone(method))), deadline }
    }
}

/// A call under way.
#[derive(Debug)]
pub struct CallMetrics {
    method: Option<Begun>,
    deadline: Option<Instant>,
}

impl CallMetrics {
    pub fn ended(mut self, code: Code) {
        if let Some(method) = self.method.take() {
            method.ended(code);
        }
    }

    /// Counts the end where the body ends.
    pub fn body<B>(mut self, inner: B) -> CountedBody<B> {
        CountedBody { inner, pending: self.method.take(), deadline: self.deadline }
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        if let Some(method) = self.method.take() {
            method.ended(given_up(self.deadline));
        }
    }
}

/// The code of a call that was dropped without an answer.
fn given_up(deadline: Option<Instant>) -> Code {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) { Code::DeadlineExceeded } else { Code::Cancelled }
}

/// Put around the gRPC routes.
#[derive(Clone, Debug)]
pub struct GrpcMetricsLayer {
    metrics: GrpcMetrics,
}

impl<S> Layer<S> for GrpcMetricsLayer {
    type Service = GrpcMetricsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GrpcMetricsService { inner, metrics: self.metrics.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct GrpcMetricsService<S> {
    inner: S,
    metrics: GrpcMetrics,
}

impl<S, A, B> Service<Request<A>> for GrpcMetricsService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body + Unpin,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let call = Call::begin(&self.metrics, &request);
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(call.head(answer.await?)) })
    }
}

/// A call from its request to its response head. Dropped without one, it was given up by the
/// client.
struct Call {
    metrics: GrpcMetrics,
    /// Known from the start if this method was called before.
    method: Option<Begun>,
    /// Kept while the method is not known.
    path: String,
    at: Option<Instant>,
    deadline: Option<Instant>,
}

impl Call {
    fn begin<A>(metrics: &GrpcMetrics, request: &Request<A>) -> Call {
        let (path, deadline) = (request.uri().path(), deadline::of(request.headers()));
        let at = metrics.seconds.is_some().then(Instant::now);
        let method = metrics.find(path).map(|method| Begun::new(method, at));
        let path = if method.is_some() { String::new() } else { path.to_owned() };
        Call { metrics: metrics.clone(), method, path, at, deadline }
    }

    fn head<B: Body>(mut self, response: Response<B>) -> Response<CountedBody<B>> {
        let ended = status(response.headers());
        let method = self.method.take().or_else(|| {
            (ended != Some(Code::Unimplemented)).then(|| Begun::new(self.metrics.add(&self.path), self.at))
        });
        let pending = match (method, ended) {
            (Some(method), Some(code)) => {
                method.ended(code);
                None
            }
            (method, _) => method,
        };
        let deadline = self.deadline;
        response.map(|inner| CountedBody { inner, pending, deadline })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(method) = self.method.take() {
            method.ended(given_up(self.deadline));
        }
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

/// A response body whose end is counted.
#[derive(Debug)]
pub struct CountedBody<B> {
    inner: B,
    pending: Option<Begun>,
    deadline: Option<Instant>,
}

impl<B> CountedBody<B> {
    fn end(&mut self, code: Code) {
        if let Some(method) = self.pending.take() {
            method.ended(code);
        }
    }
}

impl<B> Drop for CountedBody<B> {
    fn drop(&mut self) {
        self.end(given_up(self.deadline));
    }
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(status) {
                    self.end(code);
                }
            }
            Some(Err(_)) | None => self.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, StreamBody};
    use prometheus_client::encoding::text::encode;
    use std::time::Duration;
    use tower::{ServiceExt, service_fn};

    fn page(metrics: &GrpcMetrics) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut page, &registry).expect("a String");
        page
    }

    fn request() -> Request<()> {
        Request::builder().uri("/etcdserverpb.KV/Put").body(()).expect("valid")
    }

    #[test]
    fn calls_beside_the_layer_count_in_the_same_series() {
        let metrics = GrpcMetrics::default();
        let (method, again) = (metrics.method("/etcdserverpb.KV/Put"), metrics.method("/etcdserverpb.KV/Put"));
        let put = "grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"";
        let before = page(&metrics);
        for series in [format!("started_total{{{put}}} 0"), format!("handled_total{{{put},grpc_code=\"DataLoss\"}} 0")]
        {
            assert!(before.contains(&series), "{series} is there before the first call:\n{before}");
        }
        for kind in
            ["bidi_stream\",grpc_service=\"etcdserverpb.Watch", "server_stream\",grpc_service=\"etcdserverpb.Maint"]
        {
            assert!(before.contains(kind), "{kind}");
        }
        assert!(!before.contains("conclave.v1") && !before.contains("seconds"));
        method.begin(None).ended(Code::Ok);
        again.begin(None).ended(Code::NotFound);
        drop(again.begin(Some(Instant::now() + Duration::from_secs(99))));
        drop(again.begin(Some(Instant::now())));
        let page = page(&metrics);
        assert!(page.contains(&format!("grpc_server_started_total{{{put}}} 4")), "{page}");
        for code in ["OK", "Canceled", "NotFound", "DeadlineExceeded"] {
            assert!(page.contains(&format!("grpc_server_handled_total{{{put},grpc_code=\"{code}\"}} 1")), "{page}");
        }
    }

    #[test]
    fn how_long_calls_took_on_request() {
        let metrics = GrpcMetrics::new(true);
        metrics.method("/etcdserverpb.KV/Put").begin(None).ended(Code::Ok);
        let page = page(&metrics);
        let put = "grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"";
        assert!(page.contains(&format!("grpc_server_handling_seconds_count{{{put}}} 1")), "{page}");
    }

    #[tokio::test]
    async fn counts_by_code() {
        let metrics = GrpcMetrics::default();
        let answered = metrics.layer().layer(service_fn(|_: Request<()>| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("valid"));
            let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::new())), Ok(Frame::trailers(trailers))];
            Ok::<_, std::io::Error>(Response::new(StreamBody::new(futures::stream::iter(frames))))
        }));
        answered.clone().oneshot(request()).await.expect("answer").into_body().collect().await.expect("body");
        drop(answered.oneshot(request()).await.expect("answer"));

        let refused = |code: &'static str| {
            metrics.layer().layer(service_fn(move |_: Request<()>| async move {
                let response = Response::builder().header("grpc-status", code);
                Ok::<_, std::io::Error>(response.body(Empty::<Bytes>::new()).expect("valid"))
            }))
        };
        refused("5").oneshot(request()).await.expect("answer");
        let unknown = Request::builder().uri("/no.Such/Method").body(()).expect("valid");
        refused("12").oneshot(unknown).await.expect("answer");

        let page = page(&metrics);
        let put = "grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"";
        assert!(page.contains(&format!("grpc_server_started_total{{{put}}} 3")), "{page}");
        for code in ["OK", "Canceled", "NotFound"] {
            assert!(page.contains(&format!("grpc_server_handled_total{{{put},grpc_code=\"{code}\"}} 1")), "{page}");
        }
        assert!(!page.contains("no.Such"));
    }
}
