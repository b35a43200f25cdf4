//! Standing for election.

use super::{
    Answer, Campaigning, QueueElection, QueueLeadership, Standing,
    entry::{Entry, enter},
};
use crate::{
    Error, ErrorKind, Session,
    api::conclave::v1 as pb,
    coord::{call, millis},
};
use bytes::Bytes;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// A candidate of a queue election: how it stands, and what it does. Made by
/// [`QueueElection::candidate`].
///
/// # Source
/// Atomix's election instance: `ID`, `Enter`, `Leave`, `Close`; and etcd's `Campaign`.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
/// use conclave_client::{QueueElection, Ran, run_as_leader};
/// use std::time::Duration;
///
/// let candidacy = QueueElection::new(&client, "scheduler")
///     .candidate(&session, "node-2")
///     .instance("process 4711")
///     .takeover() // from this node's process before
///     .priority(5)
///     .preempt()
///     .label("zone", "b")
///     .value("10.0.0.2:9000")
///     .lock_delay(Duration::from_secs(5))
///     .max_hold(Duration::from_secs(24 * 3600));
/// println!("{} stands for {}", candidacy.id(), candidacy.election().name());
/// let ran = run_as_leader(candidacy.campaign().await?, async |leading| {
///     println!("term {}", leading.fence());
/// });
/// assert!(matches!(ran.await, Ran::Finished(())));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it enters or campaigns"]
pub struct Candidacy {
    pub(super) election: QueueElection,
    pub(super) session: Session,
    pub(super) request: pb::EnterRequest,
    /// It has been in the election, so it takes over no more. Shared by clones.
    pub(super) entered: Arc<AtomicBool>,
}

/// How to stand, as in the [example](Candidacy#examples).
impl Candidacy {
    pub(super) fn new(election: &QueueElection, session: &Session, id: String) -> Self {
        let request = pb::EnterRequest {
            election: election.name.wire(),
            candidate: id,
            instance: format!("{:x}", session.lease()),
            ..Default::default()
        };
        Self { election: election.clone(), session: session.clone(), request, entered: Arc::default() }
    }

    /// The candidate's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.request.candidate
    }

    /// The election.
    #[must_use]
    pub fn election(&self) -> &QueueElection {
        &self.election
    }

    /// Which process in the session this is; the session in hexadecimal unless set. The same
    /// session and instance again finds its place. Any other is refused
    /// ([`ErrorKind::AlreadyExists`]) as long as the candidate stands, unless
    /// [`Candidacy::takeover`] is set: also the same process under a new session, until its old
    /// session has ended.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.request.instance = instance.into();
        self
    }

    /// Higher stands further ahead among those who wait; 0 unless set. It never takes the
    /// leadership from who has it, unless [`Candidacy::preempt`] is set.
    pub fn priority(mut self, priority: i64) -> Self {
        self.request.priority = priority;
        self
    }

    /// A label, shown to those who look.
    pub fn label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(label.into(), value.into());
        self
    }

    /// What the leader's key holds when this candidate leads, for all to read: an address, for
    /// example.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.request.value = value.into();
        self
    }

    /// Replaces a candidate of the same id that another session or instance entered, at its place.
    /// If that one leads, this one does, in a new term: the other is fenced out, and its guard is
    /// lost ([`Cause::TakenOver`](crate::Cause::TakenOver)). This is for a process that was started
    /// again before the session of its last run has expired.
    ///
    /// A candidacy takes over only when it first enters, in all its clones. If the place is taken
    /// from it later, entering again is
    /// [`ErrorKind::AlreadyExists`]: two processes that were given the same id by mistake do not depose each other for ever.
    pub fn takeover(mut self) -> Self {
        self.request.takeover = true;
        self
    }

    /// Leads at once if the priority is above the leader's. After a hand-over, a campaign that
    /// enters anew takes the leadership back; [`QueueLeadership::again`] waits for its turn.
    pub fn preempt(mut self) -> Self {
        self.request.preempt = true;
        self
    }

    /// For so long nobody leads after this candidate was lost as the leader (expired, evicted, held
    /// too long); not after it left, handed over, or closed its session. Whole milliseconds; off
    /// unless set.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.request.lock_delay_ms = millis(delay);
        self
    }

    /// It is taken out after leading for so long in one term, however well its session is kept.
    /// Whole milliseconds; no limit unless set.
    pub fn max_hold(mut self, hold: Duration) -> Self {
        self.request.max_hold_ms = millis(hold);
        self
    }

    /// Stands for election and waits until elected, through failures of members; a candidacy that
    /// was entered before is found again.
    ///
    /// When this returns, the candidate leads and no other does. A place that this call took is
    /// left when the call is dropped or fails; one that was there before is kept.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotLeader`] as soon as the candidate is taken out (the message says
    /// why); [`ErrorKind::SessionLost`], [`ErrorKind::LeaseNotFound`];
    /// [`ErrorKind::AlreadyExists`], another session or instance stands under that id;
    /// [`ErrorKind::Refused`], evicted and not to come back yet; [`ErrorKind::Invalid`]. Failures
    /// of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future leaves the election in the background; nothing is left behind.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Held;
    ///
    /// let leadership = candidacy.campaign().await?;
    /// println!("leading in term {}", leadership.fence());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn campaign(&self) -> Result<QueueLeadership, Error> {
        self.campaigning().won().await
    }

    /// Waits no longer than `patience`.
    ///
    /// # Errors
    /// As [`Candidacy::campaign`]; also final: [`ErrorKind::Deadline`], and the candidate leaves in
    /// the background.
    ///
    /// # Cancel safety
    /// As [`Candidacy::campaign`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// use conclave_client::ErrorKind;
    /// use std::time::Duration;
    ///
    /// match candidacy.campaign_within(Duration::from_secs(30)).await {
    ///     Err(error) if error.kind() == ErrorKind::Deadline => println!("not elected in time, and left"),
    ///     leadership => leadership?.resign().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn campaign_within(&self, patience: Duration) -> Result<QueueLeadership, Error> {
        let late = || Err(Error::new(ErrorKind::Deadline, "not elected in time"));
        tokio::time::timeout(patience, self.campaign()).await.unwrap_or_else(|_| late())
    }

    /// Campaigns as [`Candidacy::campaign`] does, and tells on the way how many are before.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// use conclave_client::queue::Progress;
    ///
    /// let mut campaigning = candidacy.campaigning();
    /// let leadership = loop {
    ///     match campaigning.next().await? {
    ///         Progress::Waiting { before } => println!("{before} before us"),
    ///         Progress::Won(leadership) => break leadership,
    ///     }
    /// };
    /// # Ok(())
    /// # }
    /// ```
    pub fn campaigning(&self) -> Campaigning {
        Campaigning::new(self)
    }

    /// Leads if nobody else does; `None` if somebody leads. Then nothing is left behind.
    ///
    /// # Errors
    /// As [`Candidacy::campaign`].
    ///
    /// # Cancel safety
    /// As [`Candidacy::campaign`].
    ///
    /// # Source
    /// What users of Atomix asked for as `tryRun`.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// if let Some(mut leadership) = candidacy.try_lead().await? {
    ///     leadership.resign().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_lead(&self) -> Result<Option<QueueLeadership>, Error> {
        let (entry, answer) = enter(self, true).await?;
        if answer.standing == Standing::Leads {
            return Ok(Some(QueueLeadership::new(self, entry, answer)));
        }
        Ok(None)
    }

    /// Becomes a candidate, or finds its candidacy again, and goes on without waiting. The
    /// candidacy lasts until [`Candidacy::leave`], an order that takes it out, or the end of the
    /// session. [`Candidacy::campaign`] waits for the win later. Atomix's `Enter`.
    ///
    /// # Errors
    /// As [`Candidacy::campaign`]. Failures of members are waited out.
    ///
    /// # Cancel safety
    /// A dropped future leaves the election in the background, if it was this call that entered.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// let answer = candidacy.enter().await?;
    /// println!("{:?}, led by {:?}", answer.standing, answer.term.leader);
    /// // … later …
    /// let leadership = candidacy.campaign().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enter(&self) -> Result<Answer, Error> {
        let (mut entry, answer) = enter(self, false).await?;
        entry.keep();
        Ok(answer)
    }

    /// Is no candidate any more; a leader hands over to the first in line. Not to be one is no
    /// error (`changed` is false). Atomix's `Leave`.
    ///
    /// # Errors
    /// Outcome unknown: no member confirmed it in time. Final: [`ErrorKind::LeaseNotFound`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// candidacy.enter().await?;
    /// let was_candidate = candidacy.leave().await?.changed;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn leave(&self) -> Result<Answer, Error> {
        let request = Entry::leave_request(self, &self.election.acting.expect);
        Ok(self.election.client().repeatable(request, call!(elections.leave)).await?.into())
    }

    /// Leaves, then closes the session, which ends everything else that it holds. Atomix's `Close`.
    ///
    /// # Errors
    /// Outcome unknown or retryable: no member confirmed it; the session is over here, and in the
    /// cluster after its TTL.
    ///
    /// # Cancel safety
    /// As [`Session::close`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(candidacy: conclave_client::queue::Candidacy) -> Result<(), conclave_client::Error> {
    /// candidacy.enter().await?;
    /// candidacy.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) -> Result<(), Error> {
        // Closing the session is leaving, in one revision.
        self.session.close().await
    }
}
