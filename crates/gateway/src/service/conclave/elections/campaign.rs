//! Campaign: become a candidate, report the position whenever it changes (in a long election in
//! steps, see `lines`), then the win.
//!
//! 1. A win is told only of the candidate that was entered: its row is read, in one view with the
//!    term, when the win is told. A candidate that went and came back in between is another one.
//! 2. A call that ends before its win was handed over leaves the election, unless it is to stay:
//!    see [`Candidacy`].

use super::candidacy::Candidacy;
use super::lines::{Call, Lines};
use super::standing;
use super::state::State;
use crate::convert::conclave::election as convert;
use crate::convert::conclave::{election::Campaign, token as wire_token};
use crate::follow::{Batch, Ended, Feed, Span, Subscription};
use crate::pending::{Calls, Pending};
use crate::service::conclave::values::{self, TermValue};
use crate::status::{fault, text};
use conclave_api::conclave::v1::campaign_response::Now;
use conclave_api::conclave::v1::{self, CampaignResponse};
use conclave_state::coord::{candidate_key, election_prefix, term_key, token};
use conclave_state::{Cause, EventKind, Name, Standing};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Where campaigns are served. Cheap to clone.
#[derive(Clone)]
pub(super) struct Campaigns {
    pub(super) calls: Calls,
    pub(super) state: Arc<dyn State>,
    pub(super) feed: Feed,
    pub(super) lines: Arc<Lines>,
    pub(super) stopping: CancellationToken,
    /// How long a call that ran out of time waits for its leaving to be decided.
    pub(super) leave_timeout: Duration,
}

impl Campaigns {
    pub(super) async fn run(
        &self,
        campaign: Campaign,
    ) -> Result<BoxStream<'static, Result<CampaignResponse, Status>>, Status> {
        let deadline = campaign.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let candidacy = Candidacy::new(self.state.clone(), campaign);
        let line = self.lines.call(self.state.clone(), candidacy.election());
        let pending = tokio::select! {
            pending = self.calls.ask(candidacy) => pending?,
            () = at(deadline) => return Err(too_late()),
        };
        let waiting = Waiting::begin(self.clone(), pending, line, deadline)?;
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

    /// The changes of an election from a revision on, and that revision.
    fn follow(&self, election: &Name) -> Result<(Subscription, i64), Status> {
        let mut changes = self.feed.subscribe(Span::prefix(election_prefix(election)), None);
        let (_, revision) = self.state.leader(election).map_err(fault)?;
        changes.skip(revision);
        Ok((changes, revision))
    }
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

/// A call that waits to win.
struct Waiting {
    campaigns: Campaigns,
    pending: Pending<Candidacy>,
    line: Call,
    changes: Subscription,
    own_key: Vec<u8>,
    /// The order is to be read as of this revision or later.
    seen: i64,
    told: Option<u64>,
    /// The order that is known is older than `seen`: when to read it again.
    stale_until: Option<Instant>,
    deadline: Option<Instant>,
}

impl Waiting {
    fn begin(
        campaigns: Campaigns,
        pending: Pending<Candidacy>,
        line: Call,
        deadline: Option<Instant>,
    ) -> Result<Waiting, Status> {
        let candidacy = pending.request();
        let (changes, revision) = campaigns.follow(candidacy.election())?;
        let own_key = candidate_key(candidacy.election(), candidacy.candidate());
        let seen = candidacy.revision.max(revision);
        let mut waiting =
            Waiting { campaigns, pending, line, changes, own_key, seen, told: None, stale_until: None, deadline };
        if !waiting.is_candidate()? {
            return Err(waiting.gone(None));
        }
        Ok(waiting)
    }

    /// Whether the candidate that was entered still is one.
    fn is_candidate(&self) -> Result<bool, Status> {
        let candidacy = self.pending.request();
        let row = candidacy.seen()?.row;
        Ok(row.is_some_and(|row| row.joined == candidacy.joined && candidacy.is_own(&row)))
    }

    /// The next answer.
    async fn next(&mut self) -> Result<CampaignResponse, Status> {
        loop {
            if let Some(answer) = self.report()? {
                return Ok(answer);
            }
            let stopping = self.campaigns.stopping.clone();
            let change = tokio::select! {
                change = self.changes.next() => change,
                () = at(self.stale_until) => continue,
                () = at(self.deadline) => return self.time_out().await,
                () = stopping.cancelled() => return Err(text::STOPPED.into()),
            };
            self.take(change)?;
            while let Some(change) = self.changes.ready().await.transpose() {
                self.take(change)?;
            }
        }
    }

    /// What is new about the position. A win is the caller's from here on.
    fn report(&mut self) -> Result<Option<CampaignResponse>, Status> {
        let candidate = self.pending.request().candidate();
        let lead = self.line.lead(self.seen).map_err(fault)?;
        if lead.leader.as_deref() == Some(candidate) {
            return self.won();
        }
        let line = self.line.line(self.seen).map_err(fault)?;
        self.stale_until = (line.revision < self.seen).then_some(line.until);
        let before = line.before(candidate).filter(|before| self.told != Some(*before));
        Ok(before.map(|before| {
            self.told = Some(before);
            let header = Some(self.campaigns.state.header(line.revision));
            CampaignResponse { header, now: Some(Now::Before(before)) }
        }))
    }

    fn won(&mut self) -> Result<Option<CampaignResponse>, Status> {
        let candidacy = self.pending.request();
        let joined = candidacy.joined;
        let seen = candidacy.seen()?;
        let leads = seen.election.filter(|state| state.term.leader.as_deref() == Some(candidacy.candidate()));
        let (Some(state), true) = (leads, seen.row.is_some_and(|row| row.joined == joined)) else {
            // Over already; the next change tells how.
            return Ok(None);
        };
        let token = token::leadership(candidacy.election(), state.term.id);
        let header = Some(self.campaigns.state.header(seen.revision));
        let won = v1::ElectionResponse {
            header,
            term: Some(standing::present(state)),
            changed: candidacy.changed,
            standing: convert::standing(Standing::Leads {}).into(),
            token: Some(wire_token(token)),
        };
        self.pending.keep(joined);
        Ok(Some(CampaignResponse { header, now: Some(Now::Won(won)) }))
    }

    /// Takes in a change of the election; an error if the candidate is gone with it.
    fn take(&mut self, change: Result<Arc<Batch>, Ended>) -> Result<(), Status> {
        let batch = match change {
            Ok(batch) => Some(batch),
            // So far behind that history is gone: only the present matters.
            Err(Ended::Compacted(_)) => None,
            Err(ended) => return Err(ended.into()),
        };
        match &batch {
            None => (self.changes, self.seen) = self.campaigns.follow(self.pending.request().election())?,
            Some(batch) => {
                self.seen = batch.revision;
                match batch.events.iter().find(|event| event.kv.key == self.own_key) {
                    None => return Ok(()),
                    Some(event) if event.kind == EventKind::Delete => return Err(self.gone(Some(batch))),
                    Some(_) => {}
                }
            }
        }
        if self.is_candidate()? { Ok(()) } else { Err(self.gone(batch.as_deref())) }
    }

    /// The time is over: the win if it has just come, else the end, after having left.
    async fn time_out(&mut self) -> Result<CampaignResponse, Status> {
        if let Some(won) = self.won()? {
            return Ok(won);
        }
        if let Some(left) = self.pending.end() {
            // It goes on if it takes longer.
            let _ = tokio::time::timeout(self.campaigns.leave_timeout, left).await;
        }
        Err(too_late())
    }

    /// Why the candidate is gone, judging by who has its id now.
    fn who_is_there(&self) -> String {
        match self.pending.request().seen().ok().and_then(|seen| seen.row) {
            Some(row) if !self.pending.request().is_own(&row) => Cause::TakenOver.word().replace('_', " "),
            _ => "gone".to_owned(),
        }
    }

    /// The candidate is gone without a win.
    #[cold]
    fn gone(&mut self, batch: Option<&Batch>) -> Status {
        let candidacy = self.pending.request();
        let (joined, term_key) = (candidacy.joined, term_key(candidacy.election()));
        let status = match self.campaigns.state.session_lives(candidacy.session()) {
            Ok(false) => text::LEASE_NOT_FOUND.into(),
            Err(error) => fault(error),
            Ok(true) => {
                let why = why_gone(batch, &term_key, candidacy.candidate()).unwrap_or_else(|| self.who_is_there());
                Status::not_found(format!("conclave: no longer a candidate ({why})"))
            }
        };
        self.pending.lost(joined);
        status
    }
}

/// Why a candidate is gone, as the term says it that was written in the same revision; `None` if no
/// term was.
fn why_gone(batch: Option<&Batch>, term_key: &[u8], candidate: &str) -> Option<String> {
    let event = batch?.events.iter().find(|event| event.kv.key == term_key)?;
    if event.kind == EventKind::Delete {
        return Some("the election was deleted".to_owned());
    }
    Some(match values::put::<TermValue>(event) {
        Some(TermValue { cause: Some(cause), subject, reason, .. }) if subject == candidate => {
            let colon = if reason.is_empty() { "" } else { ": " };
            format!("{}{colon}{reason}", cause.word().replace('_', " "))
        }
        _ => "gone".to_owned(),
    })
}
