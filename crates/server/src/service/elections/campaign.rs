//! Campaign: enter, tell the place whenever it changes (of a long line in steps, `lines`), then the win.
//!
//! 1. A call that ends before its win was handed over leaves the election, at whatever moment it ends: before its command was decided,
//!    while waiting, or just after the grant. [`Candidacy`] sees to that when dropped. Unless the caller wants to stay.
//! 2. Three exceptions, as with native queues. Another call of this node for the same candidacy still wants it: the last to go gives it
//!    up. Who was found *leading already* stays: an earlier call's client leads. And a candidacy that was entered again by way of another
//!    member, whatever the session, is that one's to give up. Calls of one node name their attempt, and apply decides.
//! 3. A node that stops leaves nothing: the clients come back elsewhere and find their candidacies again.
//! 4. A win is told only of the candidacy that was entered: the row is looked at, in one view with the term, when it is told. A candidate
//!    that went and came back in between is another one.
//! 5. Entering again finds what the first attempt did, so a command of unknown outcome is simply proposed again. Where that would not be
//!    the same (a take-over, an expectation), a dedupe id makes it so.

use super::lines::{Call, Lines};
use super::standing;
use crate::convert::coord::election as convert;
use crate::convert::coord::{Caller, election::Campaign, token as wire_token};
use crate::coordination::decode::{self, TermValue};
use crate::coordination::{Batch, Ended, Span, Subscription, snapshot};
use crate::node::Node;
use crate::proposer::ProposeError;
use crate::service::{response, unexpected};
use crate::status::{fault, text};
use conclave_api::conclave::v1::campaign_response::Now;
use conclave_api::conclave::v1::{self, CampaignResponse};
use conclave_state::coord::read;
use conclave_state::coord::{candidate_key, election_prefix, instance_of, term_key, token};
use conclave_state::{
    Cause, Command, CoordBody, CoordResponse, EventKind, GiveUp, LeaseId, Name, Response as Answer, Stand, Standing,
    read as store,
};
use conclave_storage::StateView;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(
    node: Arc<Node>,
    lines: Arc<Lines>,
    campaign: Campaign,
) -> Result<BoxStream<'static, Result<CampaignResponse, Status>>, Status> {
    let deadline = campaign.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let gone = CancellationToken::new();
    let _hang_up = gone.clone().drop_guard();
    // In a task of its own, so that a cancelled call still learns what to leave: the task drops the candidacy then.
    let entered = tokio::spawn(enter(node, lines, campaign, gone));
    let candidacy = tokio::select! {
        entered = entered => entered.map_err(|_| Status::from(text::STOPPED))??,
        () = at(deadline) => return Err(too_late()),
    };
    let waiting = Waiting::begin(candidacy, deadline)?;
    let answers = stream::unfold(Some(waiting), |waiting| async {
        let mut waiting = waiting?;
        match waiting.next().await {
            Ok(answer) if matches!(answer.now, Some(Now::Won(_))) => Some((Ok(answer), None)),
            Ok(answer) => Some((Ok(answer), Some(waiting))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(answers.boxed())
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cold]
fn too_late() -> Status {
    Status::deadline_exceeded("conclave: the election was not won in time")
}

/// A candidacy that a call has entered, and what it owes the others. Dropping it leaves the election, if that is owed.
struct Candidacy {
    node: Arc<Node>,
    call: Call,
    session: LeaseId,
    election: Name,
    candidate: String,
    /// The session's own if the caller named none.
    instance: String,
    /// It is not given up with the call.
    stay: bool,
    /// A proposal of which nothing is known may have been, or may yet be, decided.
    open: bool,
    /// Which candidacy of this name was entered.
    joined: i64,
    /// What entering came to.
    changed: bool,
    revision: i64,
}

async fn enter(
    node: Arc<Node>,
    lines: Arc<Lines>,
    campaign: Campaign,
    gone: CancellationToken,
) -> Result<Candidacy, Status> {
    let Campaign { mut caller, enter, stay, .. } = campaign;
    if caller.dedupe.is_none() && (caller.expect.is_some() || enter.takeover) {
        caller.dedupe = Some(rand::random());
    }
    let instance = instance_of(caller.session, &enter.instance);
    let mut candidacy = Candidacy {
        call: lines.call(&enter.election, &enter.candidate, (caller.session, &instance)),
        session: caller.session,
        election: enter.election.clone(),
        candidate: enter.candidate.clone(),
        instance,
        stay,
        open: false,
        joined: 0,
        changed: false,
        revision: 0,
        node: node.clone(),
    };
    let attempt = candidacy.call.asking.attempt();
    let command = caller.command(CoordBody::Stand(Stand { enter, attempt }));
    let mut pause = FIRST_PAUSE;
    loop {
        match node.proposer.propose(command.clone()).await {
            Ok(applied) => {
                candidacy.revision = applied.outcome.revision;
                return match response(applied.outcome)? {
                    Answer::Coord(CoordResponse::Election { changed, .. }) => {
                        candidacy.take(changed)?;
                        Ok(candidacy)
                    }
                    other => Err(unexpected(&other)),
                };
            }
            Err(error @ (ProposeError::Stopped | ProposeError::TooLarge | ProposeError::TooManyRequests)) => {
                return Err(error.into());
            }
            Err(error) => candidacy.open |= error.outcome_unknown(),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gone.cancelled() => return Err(Status::cancelled("conclave: the caller is gone")),
            () = node.stopping.cancelled() => return Err(text::STOPPED.into()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Candidacy {
    /// The candidate, as long as it is this instance under this session.
    fn row(&self, view: &StateView) -> Result<Option<read::CandidateState>, Status> {
        let row = read::candidate(view, &self.election, &self.candidate).map_err(fault)?;
        Ok(row.filter(|row| row.instance == self.instance && row.lease == self.session))
    }

    /// The command was decided. Whether the candidacy is this attempt's to give up is decided where it is given up.
    fn take(&mut self, changed: bool) -> Result<(), Status> {
        (self.changed, self.open) = (changed, false);
        self.joined = self.row(&self.node.state.view())?.map_or(0, |row| row.joined);
        if !self.stay {
            self.call.asking.owe(self.joined);
        }
        Ok(())
    }

    /// The win is handed over: nothing is to be given up any more.
    fn keep(&mut self) {
        self.call.asking.keep(self.joined);
    }

    /// The candidacy is over.
    fn settle(&mut self) {
        self.call.asking.settle(self.joined);
    }

    /// Leaves, if that is owed and nobody else on this node wants to stay.
    fn leave(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        if self.open && !self.stay {
            self.call.asking.doubt();
        }
        if !self.call.end() || self.node.stopping.is_cancelled() {
            return None;
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let give_up = GiveUp {
            election: self.election.clone(),
            candidate: self.candidate.clone(),
            attempt: self.call.asking.attempt(),
        };
        // Of no session: that of the call may be over.
        let caller = Caller { session: 0, dedupe: None, expect: None };
        Some(runtime.spawn(until_decided(self.node.clone(), caller.command(CoordBody::GiveUp(give_up)))))
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

async fn until_decided(node: Arc<Node>, command: Command) {
    let mut pause = FIRST_PAUSE;
    while !node.stopping.is_cancelled() {
        match node.proposer.propose(command.clone()).await {
            Ok(_) | Err(ProposeError::Stopped | ProposeError::TooLarge) => return,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A call that waits to win.
struct Waiting {
    candidacy: Candidacy,
    changes: Subscription,
    /// Tells this candidacy from a later one of the same name.
    joined: i64,
    own_key: Vec<u8>,
    /// The line is to be looked at as of this revision or later.
    seen: i64,
    told: Option<u64>,
    /// What is known of the line is older than `seen`: when to look again.
    stale_until: Option<Instant>,
    deadline: Option<Instant>,
}

impl Waiting {
    fn begin(mut candidacy: Candidacy, deadline: Option<Instant>) -> Result<Waiting, Status> {
        let (changes, view, revision) = follow(&candidacy)?;
        let Some(row) = candidacy.row(&view)? else { return Err(gone(&mut candidacy, &view, None)) };
        let own_key = candidate_key(&candidacy.election, &candidacy.candidate);
        let seen = candidacy.revision.max(revision);
        Ok(Waiting { candidacy, changes, joined: row.joined, own_key, seen, told: None, stale_until: None, deadline })
    }

    /// The next thing to tell.
    async fn next(&mut self) -> Result<CampaignResponse, Status> {
        loop {
            if let Some(news) = self.look()? {
                return Ok(news);
            }
            let node = self.candidacy.node.clone();
            let change = tokio::select! {
                change = self.changes.next() => change,
                () = at(self.stale_until) => continue,
                () = at(self.deadline) => return self.time_out().await,
                () = node.stopping.cancelled() => return Err(text::STOPPED.into()),
            };
            self.take(change)?;
            while let Some(change) = self.changes.ready().await.transpose() {
                self.take(change)?;
            }
        }
    }

    /// What is new about the place. A win is the caller's from here on.
    fn look(&mut self) -> Result<Option<CampaignResponse>, Status> {
        let Waiting { candidacy, seen, .. } = self;
        let lead = candidacy.call.lead(&candidacy.node, *seen).map_err(fault)?;
        if lead.leader.as_ref() == Some(&candidacy.candidate) {
            return self.won();
        }
        let line = candidacy.call.line(&candidacy.node, *seen).map_err(fault)?;
        self.stale_until = (line.revision < *seen).then_some(line.until);
        let before = line.before(&candidacy.candidate).filter(|before| self.told != Some(*before));
        Ok(before.map(|before| {
            self.told = Some(before);
            let header = Some(self.candidacy.node.header(line.revision));
            CampaignResponse { header, now: Some(Now::Before(before)) }
        }))
    }

    fn won(&mut self) -> Result<Option<CampaignResponse>, Status> {
        let candidacy = &mut self.candidacy;
        let (view, revision) = snapshot(&candidacy.node.state).map_err(fault)?;
        let row = read::candidate(&view, &candidacy.election, &candidacy.candidate).map_err(fault)?;
        let state = read::election(&view, &candidacy.election).map_err(fault)?;
        let leads = state.filter(|state| state.term.leader.as_ref() == Some(&candidacy.candidate));
        let (Some(state), true) = (leads, row.is_some_and(|row| row.joined == self.joined)) else {
            // Over already; how it went comes with the next change.
            return Ok(None);
        };
        candidacy.keep();
        let header = Some(candidacy.node.header(revision));
        let token = token::leadership(&candidacy.election, state.term.id);
        let won = v1::ElectionResponse {
            header,
            term: Some(standing::present(state)),
            changed: candidacy.changed,
            standing: convert::standing(Standing::Leads {}).into(),
            token: Some(wire_token(token)),
        };
        Ok(Some(CampaignResponse { header, now: Some(Now::Won(won)) }))
    }

    /// Takes in a change of the election; an error if the candidacy is over with it.
    fn take(&mut self, change: Result<Arc<Batch>, Ended>) -> Result<(), Status> {
        let batch = match change {
            Ok(batch) => Some(batch),
            // So far behind that history is gone: the present is all that matters.
            Err(Ended::Compacted(_)) => None,
            Err(ended) => return Err(ended.into()),
        };
        let candidacy = &mut self.candidacy;
        let looked = match &batch {
            None => {
                let (changes, view, revision) = follow(candidacy)?;
                self.changes = changes;
                self.seen = revision;
                Some(view)
            }
            Some(batch) => {
                self.seen = batch.revision;
                match batch.events.iter().find(|event| event.kv.key == self.own_key) {
                    None => None,
                    Some(event) if event.kind == EventKind::Delete => {
                        return Err(gone(candidacy, &candidacy.node.state.view(), Some(batch)));
                    }
                    Some(_) => Some(candidacy.node.state.view()),
                }
            }
        };
        let Some(view) = looked else { return Ok(()) };
        let row = read::candidate(&view, &candidacy.election, &candidacy.candidate).map_err(fault)?;
        match row {
            Some(row) if row.joined == self.joined => Ok(()),
            _ => Err(gone(candidacy, &view, batch.as_deref())),
        }
    }

    /// The time is over: the win if it has just come, else the end, after having left.
    async fn time_out(&mut self) -> Result<CampaignResponse, Status> {
        if let Some(won) = self.won()? {
            return Ok(won);
        }
        if let Some(left) = self.candidacy.leave() {
            let patience = self.candidacy.node.config.request_timeout();
            // It goes on if it takes longer.
            let _ = tokio::time::timeout(patience, left).await;
        }
        Err(too_late())
    }
}

/// The changes of the election from a moment on, and that moment.
fn follow(candidacy: &Candidacy) -> Result<(Subscription, StateView, i64), Status> {
    let span = Span::prefix(election_prefix(&candidacy.election));
    let mut changes = candidacy.node.coordination.subscribe(span, None);
    let (view, revision) = snapshot(&candidacy.node.state).map_err(fault)?;
    changes.skip(revision);
    Ok((changes, view, revision))
}

/// The candidacy is over without a win to tell of.
#[cold]
fn gone(candidacy: &mut Candidacy, view: &StateView, batch: Option<&Batch>) -> Status {
    candidacy.settle();
    match store::lease_ttl_millis(view, candidacy.session) {
        Ok(None) => return text::LEASE_NOT_FOUND.into(),
        Err(error) => return fault(error),
        Ok(Some(_)) => {}
    }
    let term_key = term_key(&candidacy.election);
    let term = batch.and_then(|batch| batch.events.iter().find(|event| event.kv.key == term_key));
    let why = match term {
        Some(event) if event.kind == EventKind::Delete => "the election was deleted".to_owned(),
        Some(event) => match decode::put::<TermValue>(event) {
            Some(TermValue { cause: Some(cause), subject, reason, .. }) if subject == candidacy.candidate => {
                let colon = if reason.is_empty() { "" } else { ": " };
                format!("{}{colon}{reason}", cause.word().replace('_', " "))
            }
            _ => "gone".to_owned(),
        },
        None if is_anothers(candidacy, view) => Cause::TakenOver.word().replace('_', " "),
        None => "gone".to_owned(),
    };
    Status::not_found(format!("conclave: no longer a candidate ({why})"))
}

/// Whether the id is another session's or instance's by now.
fn is_anothers(candidacy: &Candidacy, view: &StateView) -> bool {
    let row = read::candidate(view, &candidacy.election, &candidacy.candidate);
    row.is_ok_and(|row| row.is_some()) && candidacy.row(view).is_ok_and(|own| own.is_none())
}
