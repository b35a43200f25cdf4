//! Watching an election: its term key's history, which says every change.
//!
//! 1. A watch from now begins with how things stand, at one revision, and goes on with the next
//!    change after it. A resumed one begins with the first change from its revision on. Nothing is
//!    left out or told twice; if history is gone, the watch ends and says so.
//! 2. One revision is one event: it says the term after the change, and the cause.
//! 3. What is told of candidates is read at the event's own revision, from what was projected then.

use crate::auth::Reading;
use crate::convert::conclave::{cause as wire_cause, election::Watch};
use crate::follow::{Batch, Span, Subscription, snapshot};
use crate::gateway::Gateway;
use crate::service::conclave::values::{self, CandidateValue, TermValue};
use crate::service::etcd::watch::WatchContext;
use crate::status::{fault, internal, not_read, rejected};
use conclave_api::conclave::v1::election_event::Type;
use conclave_api::conclave::v1::{self, ElectionEvent};
use conclave_state::auth::prefix_range;
use conclave_state::coord::{Shown, election_prefix, leader_key, term_key};
use conclave_state::read::{self, ReadStop};
use conclave_state::{Event, EventKind, Fault, KeyRange, KeyValue, Name, RangeQuery};
use conclave_storage::StateView;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use tonic::Status;

/// Waiting candidates up to which they are read on the event loop itself.
const FEW: u32 = 100;

struct Watching {
    gateway: Arc<Gateway>,
    name: Name,
    key: Vec<u8>,
    changes: Subscription,
    candidates: bool,
    leaders_only: bool,
    /// What was before the next change; `None` if it is not known yet.
    last: Option<TermValue>,
    /// The first revision that is told of.
    from: i64,
    /// What a watch from now begins with.
    first: Option<ElectionEvent>,
}

pub(super) async fn run(
    gateway: Arc<Gateway>,
    watch: Watch,
    require_leader: bool,
) -> Result<BoxStream<'static, Result<ElectionEvent, Status>>, Status> {
    let end = gateway.stream_end(require_leader)?;
    let end = Reading::new(&gateway.access).guard(prefix_range(&election_prefix(&watch.election)), end)?;
    let Watch { election: name, resume, snapshot, leaders_only, candidates } = watch;
    if resume.is_none() {
        // So that it begins with nothing that was over before the call.
        gateway.node.reader.barrier().await.map_err(not_read)?;
    }
    let key = term_key(&name);
    let changes = gateway.feed.subscribe(Span::key(key.clone()), resume);
    let from = resume.unwrap_or_default();
    let mut watching =
        Watching { gateway, name, key, changes, candidates, leaders_only, last: None, from, first: None };
    match resume {
        None => watching.begin_now(snapshot).await?,
        Some(from) => watching.begin_after(from - 1).map_err(fault)?,
    }
    let events = stream::unfold(Some((watching, end)), |live| async {
        let (mut watching, mut end) = live?;
        match watching.next(&mut end).await {
            Ok(event) => Some((Ok(event), Some((watching, end)))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(events.boxed())
}

impl Watching {
    async fn begin_now(&mut self, tell: bool) -> Result<(), Status> {
        let (view, revision) = snapshot(&self.gateway.node.state).map_err(fault)?;
        self.changes.skip(revision);
        self.from = revision + 1;
        let now = value_at(&view, &self.key, revision).map_err(fault)?;
        if tell {
            let term = self.term(&now, revision).await?;
            let header = Some(self.gateway.header(revision));
            let (cause, subject, reason) = (cause(&now), now.subject.clone(), now.reason.clone());
            let (r#type, previous_leader) = (Type::Snapshot.into(), now.previous.clone());
            self.first =
                Some(ElectionEvent { header, r#type, term: Some(term), cause, subject, previous_leader, reason });
        }
        self.last = Some(now);
        Ok(())
    }

    /// What was before is read now, as it may be compacted by the time of the first change.
    fn begin_after(&mut self, revision: i64) -> Result<(), Fault> {
        let (view, current) = snapshot(&self.gateway.node.state)?;
        // There may be changes up to a revision that is yet to come.
        if revision <= current {
            self.last = self.known_at(&view, revision)?;
        }
        Ok(())
    }

    async fn next(&mut self, end: &mut BoxFuture<'static, Status>) -> Result<ElectionEvent, Status> {
        loop {
            if let Some(event) = self.first.take() {
                return Ok(event);
            }
            let batch = tokio::select! {
                batch = self.changes.next() => batch?,
                status = &mut *end => return Err(status),
            };
            if let Some(event) = batch.events.first()
                && let Some(told) = self.told(&batch, event).await?
            {
                return Ok(told);
            }
        }
    }

    /// The event of a change, unless it is one that is left out.
    async fn told(&mut self, batch: &Batch, event: &Event) -> Result<Option<ElectionEvent>, Status> {
        let before = match self.last.take() {
            Some(last) => last,
            None => self.before().map_err(fault)?,
        };
        let now = values::put::<TermValue>(event).unwrap_or_default();
        let deleted = event.kind == EventKind::Delete;
        let line_alone = !deleted && is_line_alone(&before, &now);
        self.last = Some(now.clone());
        if self.leaders_only && line_alone {
            return Ok(None);
        }
        let r#type = match (deleted, now.leader.is_empty()) {
            (true, _) => Type::Deleted,
            (false, true) => Type::Vacant,
            (false, false) => Type::Changed,
        };
        Ok(Some(ElectionEvent {
            header: Some(self.gateway.header(batch.revision)),
            r#type: r#type.into(),
            term: Some(self.term(&now, batch.revision).await?),
            cause: if deleted { 0 } else { cause(&now) },
            previous_leader: if deleted { before.leader } else { now.previous },
            subject: now.subject,
            reason: now.reason,
        }))
    }

    /// The term before the first change of this watch; the default if that revision is compacted.
    fn before(&self) -> Result<TermValue, Fault> {
        let (view, _) = snapshot(&self.gateway.node.state)?;
        Ok(self.known_at(&view, self.from - 1)?.unwrap_or_default())
    }

    fn known_at(&self, view: &StateView, revision: i64) -> Result<Option<TermValue>, Fault> {
        if revision < read::meta(view)?.compacted {
            return Ok(None);
        }
        value_at(view, &self.key, revision).map(Some)
    }

    async fn term(&self, value: &TermValue, revision: i64) -> Result<v1::Term, Status> {
        let TermValue { term: id, seq, leader, waiting, at, transfer_to, delayed, .. } = value;
        let candidates = if self.candidates { self.candidates_at(value, revision).await? } else { Vec::new() };
        Ok(v1::Term {
            id: *id,
            seq: *seq,
            leader: leader.clone(),
            candidates,
            waiting: *waiting,
            revision: *at,
            transfer_to: transfer_to.clone(),
            delayed: *delayed != 0,
        })
    }

    async fn candidates_at(&self, value: &TermValue, revision: i64) -> Result<Vec<v1::Candidate>, Status> {
        let (view, name, term) = (self.gateway.node.state.view(), self.name.clone(), value.clone());
        if value.waiting <= FEW {
            return candidates_at(&view, &name, &term, revision);
        }
        let read = self.gateway.node.reader.long(move || candidates_at(&view, &name, &term, revision));
        read.await.map_err(internal)?
    }
}

fn cause(value: &TermValue) -> i32 {
    value.cause.map_or(0, |cause| wire_cause(cause).into())
}

/// Leader, term and what is planned for it are as before.
fn is_line_alone(before: &TermValue, now: &TermValue) -> bool {
    let fixed = |value: &TermValue| (value.term, value.leader.clone(), value.transfer_to.clone(), value.delayed);
    fixed(before) == fixed(now)
}

fn value_at(view: &StateView, key: &[u8], revision: i64) -> Result<TermValue, Fault> {
    let shown = read::version_at(view, key, revision)?;
    Ok(shown.and_then(|kv| values::value(&kv.value)).unwrap_or_default())
}

/// The leader first, then who waits, in order. Values of those who wait are not projected.
fn candidates_at(view: &StateView, name: &Name, term: &TermValue, revision: i64) -> Result<Vec<v1::Candidate>, Status> {
    let prefix = [election_prefix(name), b"q/".to_vec()].concat();
    let end = [election_prefix(name), b"q0".to_vec()].concat();
    let range = KeyRange { key: prefix.into(), end: end.into() };
    let query = RangeQuery { range, revision, ..RangeQuery::default() };
    let meta = read::meta(view).map_err(fault)?;
    let found = match read::range(view, &query, meta.bounds(), None).map_err(fault)? {
        Ok(found) => found.kvs,
        Err(ReadStop::Rejected(rejection)) => return Err(rejected(rejection)),
        Err(ReadStop::OverBudget) => return Err(internal("a scan without budget ran out of it")),
    };
    let mut candidates: Vec<_> = found.into_iter().filter_map(|kv| candidate(kv, term)).collect();
    candidates.sort_by_key(|(place, _)| *place);
    let mut candidates: Vec<_> = candidates.into_iter().map(|(_, candidate)| candidate).collect();
    if let Some(leader) = candidates.first_mut().filter(|first| first.id == term.leader) {
        let shown = read::version_at(view, &leader_key(name, term.term), revision).map_err(fault)?;
        leader.value = shown.map(|kv| kv.value).unwrap_or_default();
    }
    Ok(candidates)
}

/// With what it is sorted by: the leader, then higher classes, then lower ranks.
type Placed = ((bool, std::cmp::Reverse<i64>, i64), v1::Candidate);

fn candidate(kv: KeyValue, term: &TermValue) -> Option<Placed> {
    let Some(Shown::Candidate { id, .. }) = Shown::parse(&kv.key) else { return None };
    let CandidateValue { instance, priority, class, rank, joined, labels } = values::value(&kv.value)?;
    let place = (id != term.leader, std::cmp::Reverse(class), rank);
    let labels = labels.into_iter().collect();
    let session = kv.lease;
    Some((place, v1::Candidate { id, instance, session, priority, labels, joined, ..Default::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_node::bootstrap::Plan;
    use conclave_node::config::Config;
    use conclave_node::peer::memory::MemoryNetwork;
    use conclave_node::running::RunningNode;
    use conclave_state::{Command, Coord, CoordBody, Enter, LeaseGrant, Leave, Put};
    use std::net::SocketAddr;

    async fn apply(gateway: &Gateway, command: Command) -> i64 {
        gateway.node.proposer.propose(command).await.unwrap().outcome.revision
    }

    async fn coord(gateway: &Gateway, body: CoordBody) -> i64 {
        apply(gateway, Command::Coord(Box::new(Coord { session: 1, dedupe: None, expect: None, body }))).await
    }

    fn enter(candidate: &str) -> CoordBody {
        let election = Name { namespace: "n".into(), name: "e".into() };
        CoordBody::Enter(Enter { election, candidate: candidate.into(), ..Enter::default() })
    }

    #[tokio::test]
    async fn a_change_of_the_line_is_left_out_also_when_what_was_before_is_compacted_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config::single("solo", dir.path(), any, any);
        let plan = Plan::new(&config).unwrap();
        let transport = MemoryNetwork::default().transport(plan.identity.member_id);
        let mut running = RunningNode::assemble(config, plan, transport).unwrap();
        let gateway = Arc::new(Gateway::new(running.node.clone()));
        running.follow(gateway.followers());
        running.start_consensus().await.unwrap();
        running.ready().await;
        apply(&gateway, Command::LeaseGrant(LeaseGrant { id: 1, ttl_ms: 600_000 })).await;
        let election = Name { namespace: "n".into(), name: "e".into() };
        let first = coord(&gateway, enter("a")).await;
        let watch = Watch {
            election: election.clone(),
            resume: Some(first + 1),
            snapshot: false,
            leaders_only: true,
            candidates: false,
        };
        let mut events = run(gateway.clone(), watch, false).await.unwrap();
        let noise = Put { key: "other".into(), ..Put::default() };
        apply(&gateway, Command::Put(noise.clone())).await;
        let last = apply(&gateway, Command::Put(noise)).await;
        apply(&gateway, Command::Compact { revision: last }).await;
        coord(&gateway, enter("b")).await;
        let leave = Leave { election, candidate: "a".into(), ..Leave::default() };
        let left = coord(&gateway, CoordBody::Leave(leave)).await;
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.header.unwrap().revision, event.term.unwrap().leader.as_str()), (left, "b"));
        drop(events);
        drop(gateway);
        running.stop().await.unwrap();
    }
}
