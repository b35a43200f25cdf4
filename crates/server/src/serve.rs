//! Listening: the client services on the client addresses, the peer service on the peer addresses.
//!
//! Client addresses also answer plain HTTP (`/health`, `/metrics`, …): what is not gRPC by its content type goes to the pages.

mod authority;

use crate::config::Config;
use crate::http::{PageBody, Pages};
use crate::node::{Addresses, Node};
use crate::peer::handler::Handler;
use crate::service::{
    auth, claims, cluster, election, elections, kv, lease, lock, locks, maintenance, sessions, watch,
};
use authority::LenientAuthority;
use conclave_api::conclave::v1::claims_server::ClaimsServer;
use conclave_api::conclave::v1::elections_server::ElectionsServer;
use conclave_api::conclave::v1::locks_server::LocksServer;
use conclave_api::conclave::v1::sessions_server::SessionsServer;
use conclave_api::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
    maintenance_server::MaintenanceServer,
};
use conclave_api::v3electionpb::election_server::ElectionServer;
use conclave_api::v3lockpb::lock_server::LockServer;
use futures::TryStreamExt;
use futures::future::{BoxFuture, Either, MapOk, TryFutureExt};
use http_body_util::Either as EitherBody;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::{Layer, Service};

/// Around a request of the largest size there is the rest of its message.
const MESSAGE_OVERHEAD: usize = 512 << 10;
const STREAM_WINDOW: u32 = 1 << 20;
/// Half of this is what h2 allows in small frames that are not read yet; many small requests share a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 4_096;

/// All sockets of a node, bound before anything else is done.
pub struct Listeners {
    pub clients: Vec<TcpListener>,
    pub peers: Vec<TcpListener>,
    pub metrics: Vec<TcpListener>,
}

impl Listeners {
    pub fn bind(config: &Config) -> anyhow::Result<Listeners> {
        Ok(Listeners {
            clients: bind_all("--listen-client-urls", &config.listen_client)?,
            peers: bind_all("--listen-peer-urls", &config.listen_peer)?,
            metrics: bind_all("--listen-metrics-urls", &config.listen_metrics)?,
        })
    }

    pub fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>();
        Ok(Addresses { clients: of(&self.clients)?, peers: of(&self.peers)?, metrics: of(&self.metrics)? })
    }
}

fn bind_all(flag: &str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let bound = addresses.iter().map(|address| {
        bind(*address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "cannot listen on {address} ({flag}): the address is in use by another process; stop that, or choose another port"
            ),
            _ => anyhow::anyhow!("cannot listen on {address} ({flag}): {error}"),
        })
    });
    bound.collect()
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted node takes its port back while old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(u32::MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// The peer service, until `closing`.
pub async fn peers(listener: TcpListener, handler: Handler, closing: CancellationToken) {
    let served = server()
        .add_service(crate::peer::service::server(handler))
        .serve_with_incoming_shutdown(incoming(listener), closing.clone().cancelled_owned());
    tokio::select! {
        served = served => ended("peers", served),
        // Append streams of peers do not end by themselves, and nobody waits for them.
        () = closing.cancelled() => {}
    }
}

/// The client services, until the node stops and the requests under way are answered, or `closing` cuts them off.
pub async fn clients(listener: TcpListener, node: Arc<Node>, closing: CancellationToken) {
    let pages = PagesLayer(Pages::new(node.clone()));
    let stopping = node.stopping.clone();
    let served = server()
        .accept_http1(true)
        .layer(pages)
        .layer(node.metrics.grpc.layer())
        .add_routes(routes(&node))
        .serve_with_incoming_shutdown(incoming(listener).map_ok(LenientAuthority::new), stopping.cancelled_owned());
    tokio::select! {
        served = served => ended("clients", served),
        () = closing.cancelled() => {}
    }
}

fn ended(whom: &str, served: Result<(), tonic::transport::Error>) {
    if let Err(error) = served {
        tracing::error!(%error, "serving {whom} ended");
    }
}

fn routes(node: &Arc<Node>) -> Routes {
    let max = node.config.max_request_bytes + MESSAGE_OVERHEAD;
    let (health, health_server) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    // As large as the largest request for the services that carry values.
    routes
        .add_service(KvServer::new(kv::KvService::new(node.clone())).max_decoding_message_size(max))
        .add_service(watch::WatchServer::new(node.clone()))
        .add_service(LeaseServer::new(lease::LeaseService::new(node.clone())))
        .add_service(LockServer::new(lock::LockService::new(node.clone())).max_decoding_message_size(max))
        .add_service(ElectionServer::new(election::ElectionService::new(node.clone())).max_decoding_message_size(max))
        .add_service(
            ElectionsServer::new(elections::ElectionsService::new(node.clone())).max_decoding_message_size(max),
        )
        .add_service(ClusterServer::new(cluster::ClusterService(node.clone())))
        .add_service(MaintenanceServer::new(maintenance::MaintenanceService(node.clone())))
        .add_service(AuthServer::new(auth::AuthService(node.clone())))
        .add_service(SessionsServer::new(sessions::SessionsService::new(node.clone())))
        .add_service(ClaimsServer::new(claims::ClaimsService::new(node.clone())).max_decoding_message_size(max))
        .add_service(LocksServer::new(locks::LocksService::new(node.clone())))
        .add_service(health_server);
    // Older tools know the alpha version alone; both are the same service.
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => drop(routes.add_service(v1).add_service(v1alpha)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "no reflection: the descriptors cannot be read");
        }
    }
    tokio::spawn(report_health(health, node.clone()));
    routes.routes()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(conclave_api::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Healthy while a leader is known and the node is not stopping.
async fn report_health(health: tonic_health::server::HealthReporter, node: Arc<Node>) {
    use tonic_health::ServingStatus;
    let mut contact = node.leadership.contact();
    loop {
        let led = *contact.borrow_and_update() && !node.stopping.is_cancelled();
        let status = if led { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if node.stopping.is_cancelled() {
            return;
        }
        tokio::select! {
            changed = contact.changed() => if changed.is_err() { return },
            () = node.stopping.cancelled() => {}
        }
    }
}

/// Sends plain HTTP requests to the pages.
#[derive(Clone)]
struct PagesLayer(Pages);

#[derive(Clone)]
struct WithPages<S> {
    inner: S,
    pages: Pages,
}

impl<S> Layer<S> for PagesLayer {
    type Service = WithPages<S>;

    fn layer(&self, inner: S) -> WithPages<S> {
        WithPages { inner, pages: self.0.clone() }
    }
}

fn is_grpc<B>(request: &http::Request<B>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

type Answer<B> = http::Response<EitherBody<B, PageBody>>;

impl<S, A, B> Service<http::Request<A>> for WithPages<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Answer<B>;
    type Error = S::Error;
    type Future =
        Either<MapOk<S::Future, fn(http::Response<B>) -> Answer<B>>, BoxFuture<'static, Result<Answer<B>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        if is_grpc(&request) {
            let wrap: fn(http::Response<B>) -> Answer<B> = |answer| answer.map(EitherBody::Left);
            return Either::Left(self.inner.call(request).map_ok(wrap));
        }
        let pages = self.pages.clone();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Either::Right(Box::pin(async move { Ok(pages.respond(&method, &uri).await.map(EitherBody::Right)) }))
    }
}
