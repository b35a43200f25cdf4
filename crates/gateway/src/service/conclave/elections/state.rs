//! The applied state, as campaigns need it: from the node, or in memory for tests.

use crate::gateway::Gateway;
use conclave_api::etcdserverpb::ResponseHeader;
use conclave_state::coord::read::{self, CandidateState, ElectionState};
use conclave_state::{Fault, LeaseId, Name, View, read as store};
use std::sync::Arc;

pub(super) trait State: Send + Sync + 'static {
    fn candidate(&self, election: &Name, candidate: &str) -> Result<Seen, Fault>;

    /// Who leads, and the revision at which that is so.
    fn leader(&self, election: &Name) -> Result<(Option<String>, i64), Fault>;

    /// `None`, after a look at one row, if more than `most` wait.
    fn order(&self, election: &Name, most: usize) -> Result<Option<Order>, Fault>;

    /// Reads an order of any length beside the event loop, and hands it to `then`.
    fn order_later(&self, election: &Name, then: Then);

    fn session_lives(&self, session: LeaseId) -> Result<bool, Fault>;

    fn header(&self, revision: i64) -> ResponseHeader;
}

/// What is done with an order; `None`: the node stops.
pub(super) type Then = Box<dyn FnOnce(Option<Result<Order, Fault>>) + Send>;

/// A candidate and its election, at one revision.
pub(super) struct Seen {
    pub(super) row: Option<CandidateState>,
    pub(super) election: Option<ElectionState>,
    pub(super) revision: i64,
}

/// The order of an election at one revision.
pub(super) struct Order {
    pub(super) leader: Option<String>,
    /// The candidates that wait.
    pub(super) waiting: Vec<String>,
    pub(super) revision: i64,
}

pub(super) fn candidate<V: View>(view: &V, election: &Name, candidate: &str) -> Result<Seen, Fault> {
    Ok(Seen {
        row: read::candidate(view, election, candidate)?,
        election: read::election(view, election)?,
        revision: store::meta(view)?.revision,
    })
}

pub(super) fn leader<V: View>(view: &V, election: &Name) -> Result<(Option<String>, i64), Fault> {
    let leader = read::election(view, election)?.and_then(|state| state.term.leader);
    Ok((leader, store::meta(view)?.revision))
}

pub(super) fn order<V: View>(view: &V, election: &Name, most: usize) -> Result<Option<Order>, Fault> {
    let (leader, revision) = leader(view, election)?;
    let waiting = read::line_within(view, election, most)?;
    Ok(waiting.map(|waiting| Order { leader, waiting, revision }))
}

pub(super) fn session_lives<V: View>(view: &V, session: LeaseId) -> Result<bool, Fault> {
    Ok(store::lease_ttl(view, session)?.is_some())
}

/// The state of this node.
pub(super) struct Applied(pub(super) Arc<Gateway>);

impl State for Applied {
    fn candidate(&self, election: &Name, id: &str) -> Result<Seen, Fault> {
        candidate(&self.0.node.state.view(), election, id)
    }

    fn leader(&self, election: &Name) -> Result<(Option<String>, i64), Fault> {
        leader(&self.0.node.state.view(), election)
    }

    fn order(&self, election: &Name, most: usize) -> Result<Option<Order>, Fault> {
        order(&self.0.node.state.view(), election, most)
    }

    fn order_later(&self, election: &Name, then: Then) {
        let (gateway, election) = (self.0.clone(), election.clone());
        tokio::spawn(async move {
            let state = gateway.node.state.clone();
            let read = move || order(&state.view(), &election, usize::MAX);
            then(gateway.node.reader.long(read).await.ok().and_then(Result::transpose));
        });
    }

    fn session_lives(&self, session: LeaseId) -> Result<bool, Fault> {
        session_lives(&self.0.node.state.view(), session)
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        self.0.header(revision)
    }
}
