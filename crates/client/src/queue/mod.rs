//! Queue elections: a line of candidates kept in the cluster's state machine; the first leads, and
//! the order can be changed by hand.
//!
//! Everything here needs a Conclave cluster (`conclave.v1`). For elections that etcd's own clients
//! take part in, see [`Election`](crate::Election).

mod campaign;
mod candidacy;
mod entry;
mod leadership;
mod orders;
mod term;
mod watch;

pub use campaign::{Campaigning, Progress};
pub use candidacy::Candidacy;
pub use leadership::QueueLeadership;
pub use orders::{Eviction, Promotion};
pub use term::{Answer, Candidate, Standing, Term};
pub use watch::{ElectionEvent, ElectionEventKind, ElectionWatch};

use crate::{
    Client, Error, Expect, Name, Session,
    api::conclave::v1 as pb,
    coord::{Acting, call, pages},
};
use futures::stream::BoxStream;

/// A queue election by name: a handle to take part in it, look at it, follow it, and change its
/// order.
///
/// Candidates stand in line under ids that are unique in the election; the first leads. A candidate
/// goes with its session. Term ids rise over all elections of the cluster, also over the election's
/// deletion: they are the leaders' fences.
///
/// # Guarantee
/// There is at most one leader, and after a hand-over there is no instant with none. Every
/// operation takes effect once, however often this client has to send it. Answers of
/// [`QueueElection::term`] are linearizable.
///
/// # Limits
/// Ids and instances have up to 256 bytes, values up to 1 MiB, labels up to 32 pairs, durations
/// whole milliseconds.
///
/// # Source
/// Atomix's election primitive: `GetTerm`, `Enter`, `Leave`, `Anoint`, `Promote`, `Demote`,
/// `Evict`, `Watch`, `Close` ([`Candidacy::close`]), `Delete`; its named instances are
/// [`QueueElection::new`], its `ID` is [`Candidacy::id`]. Beyond it: campaigns that wait and tell
/// the place in line, priorities, fences and guarded transactions, planned hand-over, causes of
/// every change.
///
/// # Examples
/// ```no_run
/// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
/// use conclave_client::{Held, Put, QueueElection, Session};
/// use std::time::Duration;
///
/// let session = Session::open(&client, Duration::from_millis(2500)).await?;
/// let election = QueueElection::new(&client, "scheduler");
/// let mut leadership = election.candidate(&session, "node-2").priority(5).value("10.0.0.2:9000").campaign().await?;
/// leadership.txn().then([Put::new("scheduler/epoch", leadership.fence().to_string())]).commit().await?;
/// leadership.resign().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct QueueElection {
    acting: Acting,
    name: Name,
}

/// Taking part and looking; what it is for is in the [example](QueueElection#examples).
impl QueueElection {
    /// The election of this name. Makes no call; the election begins with its first candidate.
    #[must_use]
    pub fn new(client: &Client, name: impl Into<Name>) -> Self {
        Self { acting: Acting::new(client), name: name.into() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The same election, whose operations take place only if things stand as expected.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// use conclave_client::Expect;
    ///
    /// election.expecting(Expect::new().holder("node-1")).anoint("node-2").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn expecting(&self, expect: Expect) -> Self {
        Self { acting: Acting { expect, ..self.acting.clone() }, name: self.name.clone() }
    }

    /// The same election, whose operations are those of a session instead of an operator's. Answers
    /// are remembered for each session, so retries of busy programs do not crowd out each other's;
    /// and operations of a session that is gone are refused.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// election.on_behalf_of(&session).anoint("node-2").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_behalf_of(&self, session: &Session) -> Self {
        Self { acting: Acting { session: Some(session.clone()), ..self.acting.clone() }, name: self.name.clone() }
    }

    /// A candidacy to configure and then enter or campaign with, under an id of one's choice. Makes
    /// no call.
    ///
    /// One id is one candidate: what is done by a second `Candidacy` of the same id and session
    /// waits for the end of the first one's campaign or leadership.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection, session: conclave_client::Session) -> Result<(), conclave_client::Error> {
    /// let mut leadership = election.candidate(&session, "node-2").priority(5).campaign().await?;
    /// leadership.resign().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn candidate(&self, session: &Session, id: impl Into<String>) -> Candidacy {
        Candidacy::new(self, session, id.into())
    }

    /// Who leads, in which term, and how many wait; linearizable. Atomix's `GetTerm`.
    ///
    /// The id is 0, and nobody leads, if there is no such election.
    ///
    /// # Errors
    /// Retryable: no member answered in time. Final:
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// let term = election.term().await?;
    /// println!("{:?} leads in term {}, {} wait; last: {:?}", term.leader, term.id, term.waiting, term.cause);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn term(&self) -> Result<Term, Error> {
        self.get(0, 0).await
    }

    /// The same with the candidates, the leader first, then who waits, in order: up to `limit` (at
    /// most 10,000) from number `skip` on. Fewer come if their values are large; ask again from
    /// there. Pages are of one line if they have the same [`Term::revision`]; if not, begin again.
    ///
    /// # Errors
    /// As [`QueueElection::term`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// for candidate in election.candidates(100, 0).await?.candidates {
    ///     println!("{} {:?}", candidate.id, candidate.labels);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn candidates(&self, limit: u32, skip: u32) -> Result<Term, Error> {
        self.get(limit, skip).await
    }

    /// The names of elections, in order; of one namespace or of all. The stream ends after an
    /// error.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// use conclave_client::QueueElection;
    /// use futures::TryStreamExt;
    ///
    /// let mut names = QueueElection::list(&client, None);
    /// while let Some(name) = names.try_next().await? {
    ///     println!("{name}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list(client: &Client, namespace: Option<&str>) -> BoxStream<'static, Result<Name, Error>> {
        let client = client.clone();
        pages(namespace, move |request| {
            let client = client.clone();
            async move {
                client
                    .read(request, call!(elections.list))
                    .await
                    .map(|page: pb::ListElectionsResponse| (page.names, page.more))
            }
        })
    }

    /// Follows the election: every change in order, none left out or told twice, over failures of
    /// members. Begins with how things stand. When this returns, the watch is in effect. Atomix's
    /// `Watch`.
    ///
    /// # Errors
    /// Retryable: no member took it within [`Builder::timeout`](crate::Builder::timeout). The
    /// stream ends after an error: [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if
    /// history that it needs is compacted, or a refusal.
    ///
    /// # Cancel safety
    /// A dropped `next` loses nothing.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
    /// use conclave_client::queue::ElectionWatch;
    /// use futures::TryStreamExt;
    ///
    /// let mut changes = election.watch(ElectionWatch::new().leaders_only()).await?;
    /// while let Some(event) = changes.try_next().await? {
    ///     println!("{}: {:?} leads, {}", event.revision, event.term.leader, event.cause);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, watch: ElectionWatch) -> Result<BoxStream<'static, Result<ElectionEvent, Error>>, Error> {
        watch.begin(&self.acting.client, &self.name).await
    }

    async fn get(&self, limit: u32, skip: u32) -> Result<Term, Error> {
        let request = pb::GetTermRequest { election: self.name.wire(), limit, skip, serializable: false };
        let answer = self.acting.client.read(request, call!(elections.get_term)).await?;
        Ok(Term::of_now(answer))
    }
}
