//! The handle on a cluster: one lazy connection an endpoint, and which of them is in use.
//!
//! 1. A call uses the endpoint that worked last; it moves on only after a call failed in a way that another member may not.
//! 2. Connections are made when first needed and remade by themselves, so a client may be created before its cluster.

use crate::{Cluster, Election, Error, Kv, Lease, Lock, Maintenance, Watch};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a unary call may take unless the client says otherwise: longer than the server's own bound.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle on one or several members of a cluster; cloning it shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
    timeout: Duration,
}

#[derive(Debug)]
struct Connection {
    channels: Vec<Channel>,
    /// Index of the endpoint in use.
    current: AtomicUsize,
}

impl Client {
    /// A client of the members at `endpoints` (`http://host:port`), first come first used. Connects when first used.
    ///
    /// # Errors
    /// An endpoint is not a URL, or there is none.
    pub fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let channels = endpoints.into_iter().map(|url| channel(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            return Err(Error::unsent("no endpoint given".into()));
        }
        let connection = Connection { channels, current: AtomicUsize::new(0) };
        Ok(Self { connection: Arc::new(connection), timeout: CALL_TIMEOUT })
    }

    /// The same connections with another bound for unary calls.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { connection: Arc::clone(&self.connection), timeout }
    }

    /// Keys and values.
    #[must_use]
    pub fn kv(&self) -> Kv {
        Kv(self.clone())
    }

    /// Leases.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease(self.clone())
    }

    /// Locks of the etcd v3 wire.
    #[must_use]
    pub fn lock(&self) -> Lock {
        Lock(self.clone())
    }

    /// Elections of the etcd v3 wire.
    #[must_use]
    pub fn election(&self) -> Election {
        Election(self.clone())
    }

    /// Watches.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.clone())
    }

    /// Members.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster(self.clone())
    }

    /// Status and hashes of the one member in use.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance {
        Maintenance(self.clone())
    }

    /// One unary call within the deadline.
    pub(crate) async fn unary<Q, A>(
        &self,
        request: Q,
        call: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        // The deadline sent along covers the wait for the answer's head; the local one covers everything.
        let bounded = self.patient(request, async |channel, request| {
            let late = || Status::deadline_exceeded("no answer within the deadline");
            tokio::time::timeout(self.timeout, call(channel, request)).await.map_err(|_| late())?
        });
        bounded.await
    }

    /// One call without a deadline.
    pub(crate) async fn patient<Q, A>(
        &self,
        request: Request<Q>,
        call: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Error> {
        let at = self.connection.current.load(Ordering::Relaxed);
        let channels = &self.connection.channels;
        let channel = channels[at % channels.len()].clone();
        match call(channel, request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                let error = Error::from(status);
                if error.of_endpoint() {
                    // Only if nobody else has moved on already.
                    let _ = self.connection.current.compare_exchange(
                        at,
                        at.wrapping_add(1),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                }
                Err(error)
            }
        }
    }
}

fn channel(url: &str) -> Result<Channel, Error> {
    let endpoint =
        Endpoint::from_shared(url.to_owned()).map_err(|e| Error::unsent(format!("endpoint {url:?}: {e}")))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect_lazy())
}
