//! Who answers a request on a client address.
//!
//! The methods that make up nearly all of a cluster's load are answered here by name ([`unary`]).
//! The rest of gRPC goes to tonic's router, and what is not gRPC by its content type to the JSON
//! gateway, the console and the pages ([`Plain`]). A call through the router costs some ten boxes and
//! copies of services more; nothing else differs.

use super::gate::Gate;
use super::json::Json;
use super::plain::{On, Plain};
use super::reply::Reply;
use super::routes::Services;
use super::unsent::Unsent;
use super::{metadata, unary};
use crate::audit::Origin;
use crate::client::Client;
use crate::console::Console;
use crate::deadline;
use crate::gateway::Gateway;
use crate::http::Pages;
use crate::metrics::{ClientBytes, GrpcMetrics, GrpcMetricsService, MethodMetrics};
use crate::service::etcd::watch;
use crate::status::{limited, received};
use conclave_api::conclave::v1::elections_server::Elections;
use conclave_api::conclave::v1::locks_server::Locks;
use conclave_api::etcdserverpb::kv_server::Kv;
use conclave_api::etcdserverpb::lease_server::Lease;
use conclave_api::v3electionpb::election_server::Election;
use conclave_api::v3lockpb::lock_server::Lock;
use conclave_json::Access;
use conclave_node::config::KeepAlive;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::Status;
use tonic::service::Routes;
use tower::{Layer, Service};

pub(super) struct Front {
    gateway: Arc<Gateway>,
    services: Services,
    direct: DirectMetrics,
    routes: GrpcMetricsService<Routes>,
    plain: Arc<Plain>,
    gate: Gate,
    /// What clients have not taken.
    pub(super) unsent: Unsent,
}

/// What the settings say of a connection.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) streams: u32,
    pub(super) keep_alive: KeepAlive,
}

/// On the heap by itself: the task that HTTP/2 makes of a request is copied some ten times until it
/// runs, so it must be small.
pub(super) type Answer = Pin<Box<dyn Future<Output = Response<Reply>> + Send>>;

/// The methods with a way of their own: where they are counted, their paths, and who answers them.
macro_rules! direct {
    ($($metrics:ident: $path:literal => $service:ident, $trait:ident::$method:ident;)*) => {
        struct DirectMetrics {
            $($metrics: MethodMetrics,)*
            watch: MethodMetrics,
        }

        impl DirectMetrics {
            fn new(metrics: &GrpcMetrics) -> DirectMetrics {
                DirectMetrics { $($metrics: metrics.method($path),)* watch: metrics.method(watch::PATH) }
            }
        }

        impl Front {
            /// The answer, or the request if its method has no way of its own.
            #[expect(clippy::result_large_err, reason = "it is no error, and a box is what this is to save")]
            fn direct(
                self: &Arc<Self>,
                request: Request<Incoming>,
                deadline: Option<Instant>,
            ) -> Result<Answer, Request<Incoming>> {
                let max = self.services.max_message;
                match request.uri().path() {
                    $($path => {
                        let service = self.services.$service.clone();
                        let call = move |request| async move { $trait::$method(&*service, request).await };
                        Ok(Box::pin(unary::answer(request, max, self.direct.$metrics.begin(deadline), call)))
                    })*
                    watch::PATH => Ok(Box::pin(std::future::ready(self.watch(request, deadline)))),
                    _ => Err(request),
                }
            }
        }
    };
}

direct! {
    range: "/etcdserverpb.KV/Range" => kv, Kv::range;
    put: "/etcdserverpb.KV/Put" => kv, Kv::put;
    delete_range: "/etcdserverpb.KV/DeleteRange" => kv, Kv::delete_range;
    txn: "/etcdserverpb.KV/Txn" => kv, Kv::txn;
    lease_grant: "/etcdserverpb.Lease/LeaseGrant" => lease, Lease::lease_grant;
    lease_revoke: "/etcdserverpb.Lease/LeaseRevoke" => lease, Lease::lease_revoke;
    lock: "/v3lockpb.Lock/Lock" => lock, Lock::lock;
    unlock: "/v3lockpb.Lock/Unlock" => lock, Lock::unlock;
    campaign: "/v3electionpb.Election/Campaign" => election, Election::campaign;
    leader: "/v3electionpb.Election/Leader" => election, Election::leader;
    proclaim: "/v3electionpb.Election/Proclaim" => election, Election::proclaim;
    resign: "/v3electionpb.Election/Resign" => election, Election::resign;
    enter: "/conclave.v1.Elections/Enter" => elections, Elections::enter;
    leave: "/conclave.v1.Elections/Leave" => elections, Elections::leave;
    get_term: "/conclave.v1.Elections/GetTerm" => elections, Elections::get_term;
    acquire: "/conclave.v1.Locks/Acquire" => locks, Locks::acquire;
    release: "/conclave.v1.Locks/Release" => locks, Locks::release;
}

impl Front {
    /// What the settings say of each connection.
    pub(super) fn bounds(&self) -> Bounds {
        let config = &self.gateway.node.config;
        Bounds { streams: config.max_concurrent_streams, keep_alive: config.keep_alive }
    }

    /// What is known of the other end of a connection.
    pub(super) fn client(&self, address: Option<SocketAddr>, certificate: Option<Arc<str>>) -> Arc<Client> {
        let address = address.filter(|_| self.gateway.audit.is_on()).map(|address| address.to_string().into());
        let limits = &self.gateway.limits;
        Arc::new(Client { address, certificate, budget: limits.connection(), limits: limits.clone() })
    }

    pub(super) fn bytes(&self) -> ClientBytes {
        self.gateway.metrics.client_bytes.clone()
    }

    pub(super) fn new(gateway: &Arc<Gateway>) -> Front {
        let services = Services::new(gateway);
        let routes = gateway.metrics.grpc.layer().layer(services.routes(gateway));
        let config = &gateway.node.config;
        let gate = Gate::new(gateway.node.leadership.clone());
        let access = Some(gateway.access.clone());
        let json = config
            .enable_grpc_gateway
            .then(|| Json::new(routes.clone(), services.max_message, access).behind(gate.clone()))
            .map(|json| json.recorded(gateway.audit.clone()));
        let access = Access::new(&config.cors, &config.host_whitelist);
        Front {
            direct: DirectMetrics::new(&gateway.metrics.grpc),
            routes,
            services,
            plain: Arc::new(Plain::new(access, json, Console::of(gateway), Pages::new(gateway.clone()))),
            gateway: gateway.clone(),
            gate,
            unsent: Unsent::default(),
        }
    }

    pub(super) fn answer(self: &Arc<Self>, mut request: Request<Incoming>, on: &On) -> Answer {
        metadata::trim(request.headers_mut());
        if !is_grpc(request.headers()) {
            let (plain, on) = (self.plain.clone(), on.clone());
            request.extensions_mut().insert(on.client.clone());
            return Box::pin(async move { plain.answer(request, &on).await });
        }
        if let Some(refusal) = self.gate.refusal(request.uri().path()) {
            return Box::pin(std::future::ready(refusal.into_http()));
        }
        let deadline = deadline::of(request.headers());
        let certificate = on.client.certificate.clone();
        if let Some(budget) = &on.client.budget
            && let Err(exceeded) = budget.request()
        {
            return Box::pin(std::future::ready(limited(exceeded).into_http()));
        }
        let answer = match self.gateway.audit.is_on() || self.gateway.limits.is_on() {
            false => self.admitted(request, deadline, certificate),
            true => {
                let origin = Origin::new(&self.gateway.audit, &on.client, request.uri().path());
                let front = self.clone();
                // All of it in the scope of the call, what is done at once too.
                let call = async move { front.admitted(request, deadline, certificate).await };
                Box::pin(origin.run(call, |answer| Status::from_header_map(answer.headers())))
            }
        };
        let Some(deadline) = deadline else { return answer };
        Box::pin(async move {
            let answer = deadline::within(deadline, answer).await;
            answer.map_or_else(Status::into_http, |answer| answer.map(|reply| reply.until(deadline)))
        })
    }

    fn admitted(
        self: &Arc<Self>,
        request: Request<Incoming>,
        deadline: Option<Instant>,
        certificate: Option<Arc<str>>,
    ) -> Answer {
        match self.gateway.access.is_on() {
            false => self.call(request, deadline),
            true => self.checked(request, deadline, certificate),
        }
    }

    /// The same in the name of who asks, if that may be.
    fn checked(
        self: &Arc<Self>,
        request: Request<Incoming>,
        deadline: Option<Instant>,
        certificate: Option<Arc<str>>,
    ) -> Answer {
        let front = self.clone();
        Box::pin(async move {
            let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
            let call = async { front.call(request, deadline).await };
            let answered = front.gateway.access.run(&path, &headers, certificate.as_deref(), call).await;
            answered.unwrap_or_else(Status::into_http)
        })
    }

    fn call(self: &Arc<Self>, request: Request<Incoming>, deadline: Option<Instant>) -> Answer {
        // No encoding is spoken here; tonic has the words for that.
        let request = match is_encoded(request.headers()) {
            false => match self.direct(request, deadline) {
                Ok(answer) => return answer,
                Err(request) => request,
            },
            true => request,
        };
        let routed = self.routes.clone().call(request.map(tonic::body::Body::new));
        Box::pin(async move {
            match routed.await {
                Ok(answer) => in_words_of_grpc(answer.map(Reply::routed)),
                Err(never) => match never {},
            }
        })
    }

    fn watch(&self, request: Request<Incoming>, deadline: Option<Instant>) -> Response<Reply> {
        let counted = self.direct.watch.begin(deadline);
        match watch::open(&self.gateway, request) {
            Ok(response) => response.map(|body| Reply::watch(counted.body(body))),
            Err(status) => {
                counted.ended(status.code());
                status.into_http()
            }
        }
    }
}

/// A refusal for the size of a message, which the router words in its own way.
fn in_words_of_grpc(answer: Response<Reply>) -> Response<Reply> {
    if answer.headers().get(Status::GRPC_STATUS).is_none_or(|code| code != OUT_OF_RANGE) {
        return answer;
    }
    match Status::from_header_map(answer.headers()) {
        Some(status) => received(status).into_http(),
        None => answer,
    }
}

const OUT_OF_RANGE: &str = "11";

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
}
