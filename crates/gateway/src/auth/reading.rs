//! Rights to read: of one query, and for as long as a stream lasts.

use super::access::{Access, refused};
use super::scope::{Who, who};
use crate::audit::{self, Origin, Subject};
use crate::charge;
use crate::limits::{Held, Kind};
use crate::status::limited;
use conclave_node::reader::Query;
use conclave_state::auth::AuthRefusal;
use conclave_state::read::{Bounds, ReadStop};
use conclave_state::{Caller, Fault, KeyRange, RangeQuery, Rejection, Txn};
use conclave_storage::StateView;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;

/// A query that is checked against the users and roles of the view that it reads.
pub(crate) struct Allowed<Q> {
    query: Q,
    caller: Option<Caller>,
}

/// What a query reads.
pub(crate) trait Reads {
    fn check(&self, auth: &conclave_state::Auth, caller: Option<&Caller>) -> Result<(), AuthRefusal>;

    /// The same for the audit log.
    fn subject(&self) -> Subject;
}

impl Reads for RangeQuery {
    fn check(&self, auth: &conclave_state::Auth, caller: Option<&Caller>) -> Result<(), AuthRefusal> {
        auth.check_read(caller, &self.range)
    }

    fn subject(&self) -> Subject {
        Subject::keys("get", &self.range.key, &self.range.end)
    }
}

impl Reads for Txn {
    fn check(&self, auth: &conclave_state::Auth, caller: Option<&Caller>) -> Result<(), AuthRefusal> {
        auth.check_reads(caller, self)
    }

    fn subject(&self) -> Subject {
        audit::of_txn(self)
    }
}

impl<Q: Reads> Allowed<Q> {
    /// In the name of who makes this call.
    pub(crate) fn new(query: Q) -> Allowed<Q> {
        audit::about(|| query.subject());
        Allowed { query, caller: super::current() }
    }
}

impl<Q: Query + Reads> Query for Allowed<Q> {
    type Answer = Q::Answer;

    fn read(
        &self,
        view: &StateView,
        bounds: Bounds,
        budget: Option<usize>,
    ) -> Result<Result<Q::Answer, ReadStop>, Fault> {
        if let Some(auth) = view.auth()
            && let Err(refusal) = self.query.check(auth, self.caller.as_ref())
        {
            return Ok(Err(ReadStop::Rejected(Rejection::Auth(refusal))));
        }
        self.query.read(view, bounds, budget)
    }

    fn is_small(&self) -> bool {
        self.query.is_small()
    }
}

/// Who reads a stream. Its right is looked at again after every change of users and roles.
pub(crate) struct Reading {
    access: Access,
    who: Option<Who>,
    /// Where denials are recorded, if they are.
    origin: Option<Arc<Origin>>,
    changes: watch::Receiver<u64>,
}

impl Reading {
    /// In the name of who makes this call.
    pub(crate) fn new(access: &Access) -> Reading {
        Reading { access: access.clone(), who: who(), origin: audit::origin(), changes: access.changes() }
    }

    /// Comes true after a change.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }

    fn caller(&self, auth: &conclave_state::Auth) -> Result<Option<Caller>, Status> {
        self.who.as_ref().map(|who| self.access.caller(&who.identity, auth)).transpose()
    }

    /// Whether it may be read at present.
    pub(crate) fn check(&self, range: &KeyRange) -> Result<(), Status> {
        if !self.access.is_on() {
            return Ok(());
        }
        let auth = self.access.auth();
        let checked = self.caller(&auth).and_then(|caller| auth.check_read(caller.as_ref(), range).map_err(refused));
        self.recorded(checked, || Subject::keys("get", &range.key, &range.end))
    }

    /// Watchers of who reads, none yet; `None`: it may have any number.
    pub(crate) fn watchers(&self) -> Option<Held> {
        charge::holding(self.origin.as_deref(), Kind::Watchers)
    }

    /// A denial that is recorded.
    fn recorded(&self, checked: Result<(), Status>, about: impl FnOnce() -> Subject) -> Result<(), Status> {
        checked.inspect_err(|status| {
            if let Some(origin) = &self.origin {
                origin.denied(status, about());
            }
        })
    }

    /// Whether the lease may be renewed at present.
    pub(crate) fn check_renewal(&self, view: impl FnOnce() -> StateView, lease: i64) -> Result<(), Status> {
        if !self.access.is_on() {
            return Ok(());
        }
        let view = view();
        let Some(auth) = view.auth() else { return Ok(()) };
        let checked = self.caller(auth).map(|caller| auth.check_lease_write(caller.as_ref(), &view, lease));
        let checked = match checked {
            Ok(checked) => checked.map_err(crate::status::fault)?.map_err(refused),
            Err(status) => Err(status),
        };
        self.recorded(checked, || Subject::lease(lease))
    }

    /// Checks, and comes true with the status of the stream's end: `end`, or that the right was
    /// taken away.
    pub(crate) fn guard(
        mut self,
        range: KeyRange,
        end: BoxFuture<'static, Status>,
    ) -> Result<BoxFuture<'static, Status>, Status> {
        self.check(&range)?;
        let mut held = self.watchers();
        held.as_mut().map_or(Ok(()), Held::add).map_err(limited)?;
        let revoked = async move {
            loop {
                self.changed().await;
                if let Err(status) = self.check(&range) {
                    return status;
                }
            }
        };
        Ok(Box::pin(async move {
            let _held = held;
            tokio::select! {
                status = end => status,
                status = revoked => status,
            }
        }))
    }
}
