//! Waiting to lead.
//!
//! 1. The candidacy is entered first, by a request with an id of its own. A member is then asked
//!    for the place and the win under the same id, so another member that is asked after a failure
//!    finds what was entered, and a candidate that was taken out meanwhile is told so instead of
//!    being entered anew.
//! 2. Members are told to keep the candidacy when their caller is gone: a broken connection costs
//!    no place. It is this process that leaves, and the session if this process is gone.

use super::{
    Answer, Candidacy, QueueLeadership, Standing,
    entry::{Entry, enter},
};
use crate::{
    Error, ErrorKind,
    api::conclave::v1::{self as pb, campaign_response::Now},
    call::{Opened, Pauses},
    coord::call,
};
use std::fmt;
use tokio::time::sleep;
use tonic::{Request, Streaming};

/// How a campaign goes on.
///
/// [`Candidacy::campaigning`] has an example.
#[derive(Debug)]
pub enum Progress {
    /// Others are before.
    Waiting {
        /// How many, the leader included.
        before: u64,
    },
    /// The candidate leads.
    Won(QueueLeadership),
}

/// A campaign under way; made by [`Candidacy::campaigning`]. Dropping it leaves the election in the
/// background.
///
/// The [example](Candidacy::campaigning) of the method shows it.
#[must_use = "nothing happens before `next`"]
pub struct Campaigning {
    candidacy: Candidacy,
    entry: Option<Entry>,
    open: Option<Opened<Streaming<pb::CampaignResponse>>>,
    pauses: Pauses,
    done: bool,
}

/// Waiting, as in the example of [`Candidacy::campaigning`].
impl Campaigning {
    pub(super) fn new(candidacy: &Candidacy) -> Self {
        let pauses = Pauses::new(candidacy.session.client().endpoints_ref());
        Self { candidacy: candidacy.clone(), entry: None, open: None, pauses, done: false }
    }

    /// One that is in line already.
    pub(super) fn resumed(candidacy: Candidacy, entry: Entry) -> Self {
        Self { entry: Some(entry), ..Self::new(&candidacy) }
    }

    /// What happens next: the number of those before whenever it changes, then the win. After that,
    /// or an error, it is over.
    ///
    /// # Errors
    /// As [`Candidacy::campaign`].
    ///
    /// # Cancel safety
    /// A dropped future loses nothing, except while the candidacy is being entered: then it leaves,
    /// and the next call enters anew.
    pub async fn next(&mut self) -> Result<Progress, Error> {
        if self.done {
            return Err(Error::new(ErrorKind::Refused, "this campaign is over"));
        }
        let session = self.candidacy.session.clone();
        let result = session.during(self.progress()).await;
        self.done = !matches!(result, Ok(Progress::Waiting { .. }));
        if result.is_err() {
            self.entry = None;
        }
        result
    }

    pub(super) async fn won(mut self) -> Result<QueueLeadership, Error> {
        loop {
            if let Progress::Won(leadership) = self.next().await? {
                return Ok(leadership);
            }
        }
    }

    async fn progress(&mut self) -> Result<Progress, Error> {
        if self.entry.is_none() {
            let (entry, answer) = enter(&self.candidacy, false).await?;
            if answer.standing == Standing::Leads {
                return Ok(Progress::Won(QueueLeadership::new(&self.candidacy, entry, answer)));
            }
            self.entry = Some(entry);
        }
        loop {
            let Some(open) = &mut self.open else {
                self.reopen().await?;
                continue;
            };
            let client = self.candidacy.session.client();
            let error = match open.answers.message().await {
                Ok(Some(news)) => {
                    client.praise(&open.choice);
                    match news.now {
                        Some(Now::Before(before)) => return Ok(Progress::Waiting { before }),
                        Some(Now::Won(answer)) => return Ok(Progress::Won(self.lead(answer)?)),
                        None => continue,
                    }
                }
                Ok(None) => Error::unsent("the stream ended before the win"),
                Err(status) => Error::from(status),
            };
            let error = client.blame(&open.choice, error);
            self.failed(error).await?;
        }
    }

    fn lead(&mut self, answer: pb::ElectionResponse) -> Result<QueueLeadership, Error> {
        let entry = self.entry.take().ok_or_else(|| Error::new(ErrorKind::Refused, "a win without a candidacy"))?;
        Ok(QueueLeadership::new(&self.candidacy, entry, Answer::from(answer)))
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        // It has entered, and took over if it was to.
        let enter = self.entry.as_ref().map(|entry| pb::EnterRequest { takeover: false, ..entry.request.clone() });
        let request = pb::CampaignRequest { enter, timeout_ms: 0, stay: true };
        let client = self.candidacy.session.client().clone();
        match client.open(client.attempt_timeout(), Request::new(request), call!(elections.campaign)).await {
            Ok(open) => {
                self.open = Some(open);
                self.pauses = Pauses::new(client.endpoints_ref());
                Ok(())
            }
            Err(error) => self.failed(error).await,
        }
    }

    async fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.open = None;
        if error.kind() == ErrorKind::LeaseNotFound {
            self.candidacy.session.lease_gone();
        }
        if error.is_final() {
            return Err(error);
        }
        tracing::debug!(%error, "a campaign goes on elsewhere");
        sleep(self.pauses.next()).await;
        Ok(())
    }
}

impl fmt::Debug for Campaigning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaigning").field("candidate", &self.candidacy.id()).finish_non_exhaustive()
    }
}
