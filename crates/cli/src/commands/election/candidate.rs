//! A candidate of this process: stands, leads, hands over, and with `--again` stands once more.
//!
//! 1. One session is the candidate's from its entry to its end; closing it leaves the election, whatever happened before.
//! 2. With `--again` a leader that is deposed stays in line, under the same session and instance, and its command is started anew when it
//!    leads again. A place is taken over only when the process first enters: two processes of one name do not depose each other for ever.

use super::{
    super::{
        Context,
        in_line::{self, News},
        names::CallerArgs,
        wire,
    },
    enter_args::EnterArgs,
};
use crate::{
    exit::Exit,
    failure::{Effect, Failure, Result},
    hold::{self, Ended, HandOver, Job, Schedule, Stopped, Tenure, signals::Signals},
    output::{self, election::Ordered},
};
use conclave_client::{
    Client, Session,
    api::conclave::v1::{
        CampaignRequest, CampaignResponse, ElectionResponse, LeaveRequest, TransferRequest, WatchElectionRequest,
        campaign_response::Now, election_response::Standing, elections_client::ElectionsClient,
    },
};
use futures::FutureExt as _;
use std::{cell::Cell, time::Duration};
use tokio::time::{sleep, timeout};

/// Between attempts to stand again after a connection was lost.
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
            let asked = Cell::new(false);
            let led = self.lead(&won, signals, &asked).await;
            let over = !self.args.again
                || self.session.is_lost()
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
            output::note(&format!("standing for {:?} again", self.args.name.name));
            let lost = if self.args.command.is_empty() { Exit::Lost } else { Exit::CommandLost };
            won = self.win(signals, false).await.map_err(|failure| match failure.exit {
                Exit::Interrupted(_) => failure,
                _ => failure.about(format!("cannot stand for {:?} again", self.args.name.name)).exit(lost),
            })?;
        }
    }

    /// Waits until it leads.
    pub(super) async fn win(&self, signals: &mut Signals, first: bool) -> Result<ElectionResponse> {
        let in_line = Cell::new(false);
        let late = || match in_line.get() {
            true => self.args.taken().about("not in time"),
            false => Failure::new(Exit::NoConnection, "no member answered in time"),
        };
        let bounded = async {
            let campaign = self.campaign(first, &in_line);
            match self.args.wait {
                None => campaign.await,
                Some(bound) => timeout(bound, campaign).await.unwrap_or_else(|_| Err(late())),
            }
        };
        tokio::select! {
            biased;
            interrupted = signals.interrupt() => Err(interrupted),
            reason = self.session.lost() => Err(hold::session_lost(reason)),
            won = bounded => won,
        }
    }

    /// Stands until it leads; again with another member if a connection is lost, at the same place. `in_line`: whether a member says, at
    /// this moment, that others are before.
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

    /// Leads until the command ends, or it is to end. `asked`: whether somebody asked for a hand-over.
    async fn lead(&self, won: &ElectionResponse, signals: &mut Signals, asked: &Cell<bool>) -> Result<Ended> {
        let token = won.token.clone().ok_or_else(|| Failure::odd_answer("token"))?;
        let hand_over: HandOver<'_> = self.asked_to_hand_over(token.fence, asked).boxed_local();
        let mut environment = vec![
            ("CONCLAVE_NAME".to_owned(), self.args.name.name.clone().into()),
            ("CONCLAVE_CANDIDATE".to_owned(), self.id.into()),
        ];
        if let Some(guard) = token.guards.first() {
            environment.push(("CONCLAVE_KEY".to_owned(), String::from_utf8_lossy(&guard.key).into_owned().into()));
        }
        let tenure = Tenure::new(self.client, self.session, token, None);
        if self.args.command.is_empty() {
            self.context.out.show(&Ordered { response: won, subject: self.id })?;
            return hold::until_asked(&tenure, self.what, signals, hand_over).await;
        }
        // The cluster may have raised the time to live.
        let ttl = self.session.ttl().max(self.args.ttl);
        let schedule = Schedule::new(ttl, self.args.grace).map_err(Failure::usage)?;
        let job = Job { command: self.args.command.clone(), environment, schedule };
        hold::run(&tenure, self.what, &job, signals, hand_over).await
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

    /// To whom the request names; and out, unless it is to be first in line. If that fails, leaving gives it to the first in line.
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
