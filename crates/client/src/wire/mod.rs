//! The wire itself: each service of etcd v3 as a thin typed handle that takes the request message
//! and gives the response message.
//!
//! For tests, and for what the rest of this crate has no better form for.
//!
//! 1. **One attempt a call.** Nothing is retried, least of all a write: a call that failed may have
//!    happened, and [`Error::outcome_unknown`] says when. The next call after a failed connection
//!    goes to the next endpoint.
//! 2. **A deadline a call.** Unary calls end after [`Client::with_timeout`]'s bound. Calls whose
//!    nature is to wait (`lock`, `campaign`, streams) have none: drop the future to give up.

mod answers;
mod coordination;
mod lease;
mod services;
mod watch;

pub use coordination::{Election, Lock};
pub use lease::{KeepAlives, Lease};
pub use services::{Cluster, Kv, Maintenance};
pub use watch::{Watch, WatchStream};

use crate::Channel;
use crate::{Error, endpoints::Endpoints};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// A handle on one or several members, message in, message out; cloning it shares the connections.
///
/// # Examples
/// ```no_run
/// # async fn example(wire: conclave_client::wire::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::api::etcdserverpb::{MemberListRequest, RangeRequest, StatusRequest};
///
/// let range = RangeRequest { key: "greeting".into(), ..RangeRequest::default() };
/// let found = wire.kv().range(range).await?;
/// let members = wire.cluster().member_list(MemberListRequest::default()).await?;
/// let status = wire.with_timeout(std::time::Duration::from_secs(1)).maintenance().status(StatusRequest {}).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    endpoints: Arc<Endpoints>,
    timeout: Duration,
}

/// The services, as in the [example](Client#examples) and in those of each.
impl Client {
    pub(crate) fn of(endpoints: Arc<Endpoints>, timeout: Duration) -> Self {
        Self { endpoints, timeout }
    }

    /// The same connections with another bound for unary calls.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { endpoints: Arc::clone(&self.endpoints), timeout }
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
        // The deadline sent along covers the wait for the answer's head; the local one covers
        // everything.
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
        let choice = self.endpoints.choose();
        match call(choice.channel.clone(), request).await {
            Ok(response) => {
                self.endpoints.succeeded(&choice);
                Ok(response.into_inner())
            }
            Err(status) => {
                let error = Error::from(status);
                if error.of_endpoint() {
                    self.endpoints.failed(&choice);
                }
                Err(error)
            }
        }
    }
}
