//! A candidate of this process: stands, leads, hands over, and with `--again` stands once more.
//!
//! 1. One session is the candidate's from its entry to its end; closing it leaves the election,
//!    whatever happened before.
//! 2. With `--again` a leader that is deposed stays in line, under the same session and instance,
//!    and its command is started anew when it leads again. One that was taken out ends
//!    ([`comes_back`]). A place is taken over only when the process first enters: two processes of
//!    one name do not depose each other for ever.

use super::{
    super::{
        Context,
        in_line::{self, News},
        names::CallerArgs,
        wire,
    },
    deposed::{comes_back, deposed, taken_out},
    enter_args::EnterArgs,
    line,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::{self, Ended, HandOver, Holding as _, Job, Schedule, Stopped, Tenure, signals::Signals},
    output::{self, election::Ordered},
};
use conclave_client::{
    Cause, Client, LostReason, Session,
    api::conclave::v1::{
        self, CampaignRequest, CampaignResponse, ElectionResponse, GetTermRequest, LeaveRequest, TransferRequest,
        WatchElectionRequest, campaign_response::Now, election_response::Standing, elections_client::ElectionsClient,
    },
};
use futures::FutureExt as _;
use std::{cell::Cell, ffi::OsString, time::Duration};
use tokio::time::sleep;

/// Between two attempts to hear of a transfer after a connection was lost.
const PAUSE: Duration = Duration::from_millis(300);

pub(super) struct Candidate<'a> {
    pub(super) args: &'a EnterArgs,
    pub(super) context: &'a Context,
    pub(super) client: &'a Client,
    pub(super) session: &'a Session,
    pub(super) id: &'a str,
    /// What it stands for, in words.
    pub(super) what: &'a str,
}

impl Candidate<'_> {
    /// Leads, once or again and again; how the last command ended.
    ///
    /// # Errors
    /// It does not come to lead again, or what it leads without a command is lost.
    pub(super) async fn rounds(&self, mut won: ElectionResponse, signals: &mut Signals) -> Result<Exit> {
        loop {
            let (asked, lost) = (Cell::new(false), Cell::new(None));
            let led = self.lead(&won, signals, (&asked, &lost)).await;
            let over = !self.args.again
                || self.session.is_lost()
                || lost.get().is_some_and(|reason| !comes_back(reason))
                || match &led {
                    Ok(ended) => ended.signalled || !matches!(ended.stopped, Some(Stopped::HandOver | Stopped::Lost)),
                    Err(failure) => failure.exit != Exit::Lost,
                };
            if asked.get() {
                self.hand_over(&won, over).await;
            }
            if over {
                return led.map(|ended| ended.exit);
            }
            let exit = if self.args.command.is_empty() { Exit::Lost } else { Exit::CommandLost };
            let failed = |failure: Failure| match failure.exit {
                Exit::Interrupted(_) => failure,
                _ => failure.about(format!("cannot stand for {:?} again", self.args.name.name)).exit(exit),
            };
            let put_out = lost.get() == Some(LostReason::TakenAway(Cause::HoldEnded));
            self.may_stand(&won, put_out, signals).await.map_err(failed)?;
            output::note(&format!("standing for {:?} again", self.args.name.name));
            won = self.win(signals, false).await.map_err(failed)?;
        }
    }

    /// Waits until it leads.
    pub(super) async fn win(&self, signals: &mut Signals, first: bool) -> Result<ElectionResponse> {
        let in_line = Cell::new(false);
        let late = |waits| match waits {
            true => self.args.taken().about("not in time"),
            false => Failure::new(Exit::NoConnection, "no member answered in time"),
        };
        let answer = self.context.link.settings().command_timeout;
        let campaign = in_line::within((self.args.wait, answer), &in_line, self.campaign(first, &in_line), late);
        let bounded = self.context.link.while_led(self.args.patience(), campaign);
        tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            reason = self.session.lost() => Err(hold::session_lost(reason)),
            won = bounded => won,
        }
    }

    /// Stands until it leads; again with another member if a connection is lost, at the same place.
    /// `in_line`: whether a member says, at this moment, that others are before.
    async fn campaign(&self, first: bool, in_line: &Cell<bool>) -> Result<ElectionResponse> {
        let (context, name) = (self.context, &self.args.name.name);
        let enter = self.args.request(self.id, self.session.lease(), first);
        if self.args.try_only {
            let response = context.link.repeat(|channel| wire::enter(channel, enter.clone())).await?;
            return if response.standing() == Standing::Leads { Ok(response) } else { Err(self.args.taken()) };
        }
        let request = CampaignRequest { enter: Some(enter), timeout_ms: 0, stay: true };
        let ask = async |channel| ElectionsClient::new(channel).campaign(request.clone()).await;
        let failed = |status| Failure::of(&status, Effect::Reads);
        let news = |message: CampaignResponse| match message.now {
            Some(Now::Won(won)) => News::Won(won),
            Some(Now::Before(before)) => News::Before(before),
            _ => News::Other,
        };
        in_line::wait(context, name, in_line, ask, failed, news).await
    }

    /// Leads until the command ends, or it is to end. `asked`: whether somebody asked for a
    /// hand-over; `lost`: why it leads no longer, if it was not this process that ended it.
    async fn lead(
        &self,
        won: &ElectionResponse,
        signals: &mut Signals,
        (asked, lost): (&Cell<bool>, &Cell<Option<LostReason>>),
    ) -> Result<Ended> {
        let token = won.token.clone().ok_or_else(|| Failure::odd_answer("token"))?;
        let hand_over: HandOver<'_> = self.asked_to_hand_over(token.fence, asked).boxed_local();
        let mut environment = vec![
            ("CONCLAVE_NAME".to_owned(), self.args.name.name.clone().into()),
            ("CONCLAVE_CANDIDATE".to_owned(), self.id.into()),
        ];
        if let Some(guard) = token.guards.first() {
            environment.push(("CONCLAVE_KEY".to_owned(), String::from_utf8_lossy(&guard.key).into_owned().into()));
        }
        let told = deposed(self.client.clone(), self.args.name.name(), self.id.to_owned(), won.term.clone());
        let tenure = Tenure::new(self.client, self.session, token, told, None);
        let led = self.hold(won, &tenure, environment, signals, hand_over).await;
        lost.set(tenure.lost().now_or_never());
        led
    }

    async fn hold(
        &self,
        won: &ElectionResponse,
        tenure: &Tenure,
        environment: Vec<(String, OsString)>,
        signals: &mut Signals,
        hand_over: HandOver<'_>,
    ) -> Result<Ended> {
        if self.args.command.is_empty() {
            self.context.out.show(&Ordered { response: won, subject: self.id })?;
            return hold::until_asked(tenure, self.what, signals, hand_over).await;
        }
        // The cluster may have raised the time to live.
        let ttl = self.session.ttl().max(self.args.ttl);
        let schedule = Schedule::new(ttl, self.args.grace).map_err(Failure::usage)?;
        let job = Job { command: self.args.command.clone(), environment, schedule };
        hold::run(tenure, self.what, &job, signals, hand_over).await
    }

    /// Whether it may stand again: looks until a member answers, or its session is over. `put_out`: it
    /// was in the line no longer when its command was stopped.
    ///
    /// # Errors
    /// It was taken out, or the election was deleted; or a signal came.
    async fn may_stand(&self, won: &ElectionResponse, put_out: bool, signals: &mut Signals) -> Result<()> {
        let looking = async {
            loop {
                match if put_out { self.is_there().await } else { self.in_line(won).await } {
                    Err(failure) if matches!(failure.exit, Exit::NoConnection | Exit::Unknown) => {
                        output::note(&format!("{}; still in line for {:?}", failure.message(), self.args.name.name));
                        self.context.link.forget();
                        sleep(PAUSE).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            reason = self.session.lost() => Err(hold::session_lost(reason)),
            outcome = looking => outcome,
        }
    }

    /// Makes sure that the election was not deleted: entering would make it anew.
    async fn is_there(&self) -> Result<()> {
        let request = GetTermRequest { election: self.args.name.name(), limit: 1, ..GetTermRequest::default() };
        let found = self.context.link.read(|channel| wire::get_term(channel, request.clone())).await?;
        match found.term.is_some_and(|term| term.revision != 0) {
            true => Ok(()),
            false => Err(Failure::new(Exit::Lost, "the election was deleted meanwhile")),
        }
    }

    /// Makes sure that nobody took it out while its command was being stopped: entering would undo
    /// that.
    ///
    /// # Errors
    /// It was taken out, or no member answers.
    async fn in_line(&self, won: &ElectionResponse) -> Result<()> {
        let own = |one: &v1::Candidate| one.id == self.id && one.session == self.session.lease();
        let line = line::read(self.context, (self.args.name.name(), false), own).await?;
        match line.find(own) {
            Some(_) => Ok(()),
            // It may be before a page when that is asked for, and behind it afterwards.
            None if line.moved => Err(Failure::new(Exit::NoConnection, "the line changes too fast to be read")),
            None => {
                let why = taken_out(self.client, self.args.name.name(), self.id, won.term.as_ref()).await;
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                Err(Failure::new(Exit::Lost, format!("it was taken out meanwhile{why}")))
            }
        }
    }

    /// Ends when an operator has asked for a transfer in this term; notes that it was.
    async fn asked_to_hand_over(&self, term: i64, asked: &Cell<bool>) -> String {
        loop {
            if let Ok(to) = self.transfer_in(term).await {
                asked.set(true);
                return to;
            }
            self.context.link.forget();
            sleep(PAUSE).await;
        }
    }

    async fn transfer_in(&self, term: i64) -> Result<String> {
        let channel = self.context.link.node().await?.channel;
        let request = WatchElectionRequest { election: self.args.name.name(), ..WatchElectionRequest::default() };
        let failed = |status| Failure::of(&status, Effect::Reads);
        let mut stream = ElectionsClient::new(channel).watch(request).await.map_err(failed)?.into_inner();
        while let Some(event) = stream.message().await.map_err(failed)? {
            if let Some(now) = event.term.filter(|now| now.id == term && !now.transfer_to.is_empty()) {
                return Ok(now.transfer_to);
            }
        }
        Err(Failure::new(Exit::NoConnection, "the member ended the stream"))
    }

    /// To whom the request names; and out, unless it is to be first in line. If that fails, leaving
    /// gives it to the first in line.
    async fn hand_over(&self, won: &ElectionResponse, leave: bool) {
        let request = TransferRequest {
            caller: CallerArgs::default().caller_of(self.session.lease()),
            election: self.args.name.name(),
            term_id: won.term.as_ref().map_or(0, |term| term.id),
            to: String::new(),
            leave,
        };
        if let Err(failure) = self.context.link.repeat(|channel| wire::transfer(channel, request.clone())).await {
            output::note(&format!("could not hand over: {}", failure.message()));
        }
    }

    /// Leaves the election: this instance, not one that has taken the place over.
    pub(super) async fn leave(&self) -> Result<()> {
        let session = self.session.lease();
        let request = LeaveRequest {
            caller: CallerArgs::default().caller_of(session),
            election: self.args.name.name(),
            candidate: self.id.to_owned(),
            instance: Some(self.args.instance(session)),
        };
        self.context.link.repeat(|channel| wire::leave(channel, request.clone())).await.map(drop)
    }
}
