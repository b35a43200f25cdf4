//! Leading a queue election.
//!
//! 1. A deposed leader (anointed over, demoted, handed over) is still in line. Its guard is lost,
//!    and owes leaving the line as before it owed leaving office: dropping it does so, unless it
//!    goes on to wait again.
//! 2. The election is followed from the revision of the win on, so no change of leader is missed.

use super::{
    Answer, Campaigning, Candidacy, Term,
    entry::{Entry, Leave, leave_in_background},
    watch::ElectionSource,
};
use crate::{
    Cause, Client, Error, ErrorKind, GuardedTxn, Header, Held, LostReason, Session, Token, Validity,
    api::conclave::v1::{self as pb, election_event::Type},
    coord::{Expect, call, caller, follow},
    held::{Tenure, by_session},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// How long a guard waits before it follows its election: many lead only for a moment.
const WATCH_AFTER: Duration = Duration::from_millis(200);

/// Leading a queue election. See [`Held`] for what all guards can do.
///
/// It is lost with the session, or as soon as the cluster says that another leads:
/// [`LostReason::TakenAway`] says why. Dropping it leaves the election in the background, also the
/// line in which a deposed leader stands.
///
/// # Examples
/// ```no_run
/// # async fn example(mut leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Put};
///
/// println!("{} leads in term {} since {}", leadership.candidacy().id(), leadership.term().seq, leadership.header().revision);
/// leadership.txn().then([Put::new("scheduler/state", "running")]).commit().await?;
/// tokio::select! {
///     reason = leadership.lost() => println!("deposed: {reason}"),
///     to = leadership.asked_to_transfer() => drop(leadership.transfer(Some(&to)).await?),
/// }
/// let leadership = leadership.again().await?; // or drop it, which leaves the line
/// # Ok(())
/// # }
/// ```
pub struct QueueLeadership {
    tenure: Tenure,
    office: Box<Office>,
    leave: Arc<Leave>,
    left: bool,
    transfer_to: watch::Receiver<Option<String>>,
}

/// How it came to lead.
struct Office {
    candidacy: Candidacy,
    entered: pb::EnterRequest,
    term: Term,
    header: Header,
}

/// Leading; all of it as in the [example](QueueLeadership#examples).
impl QueueLeadership {
    pub(super) fn new(candidacy: &Candidacy, entry: Entry, answer: Answer) -> Self {
        let (session, (entered, leave)) = (&candidacy.session, entry.into_leave());
        let Answer { header, term, token, .. } = answer;
        let way_out = Arc::clone(&leave);
        let release = move || -> BoxFuture<'static, Result<(), Error>> {
            let way_out = Arc::clone(&way_out);
            Box::pin(async move { way_out.leave().await })
        };
        let token = token.unwrap_or_else(|| Token::new(term.id, Vec::new()));
        let (asked, transfer_to) = watch::channel(term.transfer_to.clone());
        let deposed = deposed(candidacy.clone(), term.id, term.revision.max(term.id) + 1, asked);
        let tenure = Tenure::new(session, token, ErrorKind::NotLeader, Arc::new(release)).watched_by(deposed);
        let office = Box::new(Office { candidacy: candidacy.clone(), entered, term, header });
        Self { tenure, office, leave, left: false, transfer_to }
    }

    /// The election as it was when this leadership began. Its id is the fence.
    #[must_use]
    pub fn term(&self) -> &Term {
        &self.office.term
    }

    /// Of the answer that told of the win.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.office.header
    }

    /// The candidacy that leads.
    pub fn candidacy(&self) -> &Candidacy {
        &self.office.candidacy
    }

    /// Replaces the value of the leader's key. etcd's `Proclaim`.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotLeader`], nothing was written. Outcome unknown: no member confirmed
    /// it in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
    /// leadership.proclaim("10.0.0.2:9001").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<Answer, Error> {
        self.tenure.check()?;
        let request = pb::ProclaimRequest {
            caller: caller(Some(self.tenure.session()), &Expect::default()),
            election: self.office.candidacy.election.name().wire(),
            term_id: self.office.term.id,
            value: value.into(),
        };
        let proclaimed = self.client().repeatable(request, call!(elections.proclaim)).await;
        Ok(proclaimed.map_err(|error| self.deposed_by(error))?.into())
    }

    /// Ends when somebody asks for a transfer
    /// ([`QueueElection::request_transfer`](super::QueueElection::request_transfer)); with the
    /// candidate that is to follow. Time to come to an end and
    /// [hand over](QueueLeadership::transfer).
    ///
    /// # Cancel safety
    /// Can be dropped and asked for again at any time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
    /// let to = leadership.asked_to_transfer().await;
    /// println!("finishing for {to}");
    /// leadership.transfer(None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn asked_to_transfer(&self) -> BoxFuture<'static, String> {
        let mut asked = self.transfer_to.clone();
        Box::pin(async move {
            loop {
                let now = asked.wait_for(Option::is_some).await.ok().and_then(|to| to.clone());
                match now {
                    Some(to) => return to,
                    // Lost: nobody asks any more.
                    None => std::future::pending().await,
                }
            }
        })
    }

    /// Hands over to a candidate that waits, or (`None`) to whom the pending request names: in one
    /// revision, without an instant with two leaders or none. Afterwards this leadership is lost,
    /// and its candidate first in line: [`QueueLeadership::again`] waits there, dropping the guard
    /// leaves.
    ///
    /// # Errors
    /// Final: [`ErrorKind::NotLeader`]; [`ErrorKind::Refused`], that is no candidate, or nobody was
    /// named. Outcome unknown: no member confirmed it in time; [`Held::lost`] tells if it happened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
    /// let answer = leadership.transfer(Some("node-3")).await?;
    /// println!("{:?} leads now", answer.term.leader);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer(&mut self, to: Option<&str>) -> Result<Answer, Error> {
        self.give_to(to, false).await
    }

    async fn give_to(&mut self, to: Option<&str>, leave: bool) -> Result<Answer, Error> {
        self.tenure.check()?;
        let request = pb::TransferRequest {
            caller: caller(Some(self.tenure.session()), &Expect::default()),
            election: self.office.candidacy.election.name().wire(),
            term_id: self.office.term.id,
            to: to.unwrap_or_default().to_owned(),
            leave,
        };
        let handed = self.client().repeatable(request, call!(elections.transfer)).await;
        let answer = Answer::from(handed.map_err(|error| self.deposed_by(error))?);
        if answer.term.id != self.office.term.id {
            self.tenure.lose(LostReason::TakenAway(Cause::Transferred));
            if leave {
                self.left = true;
                self.leave.done();
            }
        }
        Ok(answer)
    }

    /// Leaves the election, in the same revision in which the candidate named by the pending
    /// request leads. Without such a request, or if its candidate is gone, the first in line leads,
    /// as after [`QueueLeadership::resign`].
    async fn leave_to_next(&mut self) -> Result<(), Error> {
        let asked = self.transfer_to.borrow().is_some() && self.tenure.why_lost().is_none();
        if asked {
            let session = self.tenure.session().clone();
            match session.during(self.give_to(None, true)).await {
                Ok(_) => {}
                Err(error) if error.is_final() => tracing::debug!(%error, "the request to hand over is void"),
                Err(error) => return Err(error),
            }
        }
        self.resign().await
    }

    /// Waits to lead again, from the place in line that a deposed leader has. If it has none any
    /// more (evicted, for example), it enters anew. A leadership that is not lost is given on at
    /// once.
    ///
    /// # Errors
    /// As [`Candidacy::campaign`].
    ///
    /// # Cancel safety
    /// As [`Candidacy::campaign`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Held;
    ///
    /// leadership.lost().await;
    /// let leadership = leadership.again().await?;
    /// println!("leading again, in term {}", leadership.fence());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn again(mut self) -> Result<Self, Error> {
        if self.tenure.why_lost().is_none() {
            return Ok(self);
        }
        if std::mem::replace(&mut self.left, true) {
            return self.office.candidacy.campaign().await;
        }
        // Another request than that of the first win: its remembered answer would speak of that.
        let session = self.tenure.session();
        let request = pb::EnterRequest {
            caller: caller(Some(session), &Expect::default()),
            takeover: false,
            ..self.office.entered.clone()
        };
        let entry = Entry::again(session, request, Arc::clone(&self.leave));
        Campaigning::resumed(self.office.candidacy.clone(), entry).won().await
    }

    /// Leaves the election. When this returns without error, the next in line leads. If the session
    /// was lost before, there is nothing to leave; the cluster takes the candidate out when it ends
    /// the session.
    ///
    /// # Errors
    /// No member confirmed it in time. The guard keeps its state: the call can be repeated, and
    /// dropping the guard goes on trying in the background.
    ///
    /// # Cancel safety
    /// A dropped future leaves the guard as after an error.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mut leadership: conclave_client::QueueLeadership) -> Result<(), conclave_client::Error> {
    /// leadership.resign().await?;
    /// // The next in line leads.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resign(&mut self) -> Result<(), Error> {
        if self.owes() {
            match self.tenure.session().during(self.leave.leave()).await {
                // With the session's end it has left, whatever became of the request.
                Err(error) if error.kind() == ErrorKind::SessionLost => {}
                result => result?,
            }
        }
        self.left = true;
        self.tenure.lose(LostReason::Released);
        self.tenure.release().await
    }

    /// Whether it leads, or stands in a line that it has not left.
    fn owes(&self) -> bool {
        !self.left && !self.tenure.session().is_lost()
    }

    fn client(&self) -> &Client {
        self.tenure.session().client()
    }

    fn deposed_by(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::NotLeader {
            self.tenure.lose(LostReason::KeyGone);
        }
        error
    }
}

by_session!(QueueLeadership);

impl Held for QueueLeadership {
    fn fence(&self) -> i64 {
        self.office.term.id
    }

    fn token(&self) -> Token {
        self.tenure.token().clone()
    }

    fn session(&self) -> Option<&Session> {
        Some(self.tenure.session())
    }

    fn validity(&self) -> Validity {
        self.tenure.session().into()
    }

    fn why_lost(&self) -> Option<LostReason> {
        self.tenure.why_lost()
    }

    fn lost(&self) -> BoxFuture<'static, LostReason> {
        self.tenure.lost()
    }

    fn txn(&self) -> GuardedTxn {
        self.tenure.txn()
    }

    fn release(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.resign())
    }

    fn asked_to_transfer(&self) -> BoxFuture<'static, String> {
        QueueLeadership::asked_to_transfer(self)
    }

    fn hand_over(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.leave_to_next())
    }
}

impl Drop for QueueLeadership {
    fn drop(&mut self) {
        if self.owes() {
            self.tenure.lose(LostReason::Released);
            leave_in_background(self.tenure.session(), &self.leave);
        }
    }
}

impl fmt::Debug for QueueLeadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueLeadership")
            .field("term", &self.office.term)
            .field("tenure", &self.tenure)
            .finish_non_exhaustive()
    }
}

/// Ends when another leads, or nobody; tells on the way whom a transfer is asked for.
async fn deposed(candidacy: Candidacy, term: i64, from: i64, asked: watch::Sender<Option<String>>) -> LostReason {
    sleep(WATCH_AFTER).await;
    let client = candidacy.session.client().clone();
    let source = ElectionSource { name: candidacy.election.name().clone(), leaders_only: true, candidates: false };
    // What this task holds of it would keep the session open.
    let id = candidacy.id().to_owned();
    drop(candidacy);
    let over = |event: &pb::ElectionEvent| {
        if event.r#type() == Type::Deleted {
            return Some(LostReason::Deleted);
        }
        let now = event.term.clone().unwrap_or_default();
        if now.id != term || now.leader != id {
            return Some(match Cause::of(event.cause) {
                // Nobody takes it away so but the candidate itself.
                Cause::Left => LostReason::Released,
                cause => LostReason::TakenAway(cause),
            });
        }
        let to = Some(now.transfer_to).filter(|to| !to.is_empty());
        asked.send_if_modified(|known| std::mem::replace(known, to.clone()) != to);
        None
    };
    follow::until(&client, source, from, over).await
}
