//! Following an election.

use super::Term;
use crate::Channel;
use crate::{
    Cause, Client, Error, Name,
    api::conclave::v1::{self as pb, election_event::Type},
    coord::{
        self,
        follow::{Following, Source},
    },
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// What to follow of an election.
///
/// # Examples
/// ```no_run
/// # async fn example(election: conclave_client::QueueElection) -> Result<(), conclave_client::Error> {
/// use conclave_client::queue::{ElectionEventKind, ElectionWatch};
/// use futures::TryStreamExt;
///
/// // Everything since revision 42, with all who stand in line.
/// let mut changes = election.watch(ElectionWatch::new().from_revision(42).with_candidates()).await?;
/// while let Some(event) = changes.try_next().await? {
///     match event.kind {
///         ElectionEventKind::Deleted => break,
///         _ => println!("{}: {:?} ({})", event.cause, event.subject, event.term.candidates.len()),
///     }
/// }
/// // Only who leads from now on.
/// let leaders = election.watch(ElectionWatch::new().leaders_only().no_snapshot()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ElectionWatch {
    from: i64,
    no_snapshot: bool,
    leaders_only: bool,
    candidates: bool,
}

/// A change of an election, or how it stood when the watch began.
///
/// The [example](ElectionWatch#examples) of [`ElectionWatch`] shows it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ElectionEvent {
    /// Of which revision. To resume after it, watch from the next one.
    pub revision: i64,
    /// What kind of change.
    pub kind: ElectionEventKind,
    /// After the change.
    pub term: Term,
    /// Why.
    pub cause: Cause,
    /// Whom the cause is about.
    pub subject: Option<String>,
    /// Who led before, if the leader changed.
    pub previous_leader: Option<String>,
    /// What was said about it, of an eviction.
    pub reason: String,
}

/// What kind of change.
///
/// The [example](ElectionWatch#examples) of [`ElectionWatch`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElectionEventKind {
    /// How things stood when the watch began.
    Snapshot,
    /// The leader, the line, or what is planned.
    Changed,
    /// Changed, and nobody leads now.
    Vacant,
    /// The election was deleted.
    Deleted,
}

/// What to follow, as in the [example](ElectionWatch#examples).
impl ElectionWatch {
    /// Everything from now on, beginning with how things stand.
    pub fn new() -> Self {
        Self::default()
    }

    /// From a revision on, without a snapshot, for a client that has seen everything before it.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.from = revision;
        self
    }

    /// Without the snapshot, as Atomix's first versions.
    pub fn no_snapshot(mut self) -> Self {
        self.no_snapshot = true;
        self
    }

    /// Without changes of the line alone.
    pub fn leaders_only(mut self) -> Self {
        self.leaders_only = true;
        self
    }

    /// With all candidates in every event. Of their values only the leader's is given.
    pub fn with_candidates(mut self) -> Self {
        self.candidates = true;
        self
    }

    pub(super) async fn begin(
        self,
        client: &Client,
        name: &Name,
    ) -> Result<BoxStream<'static, Result<ElectionEvent, Error>>, Error> {
        let hidden = self.no_snapshot;
        let source =
            ElectionSource { name: name.clone(), leaders_only: self.leaders_only, candidates: self.candidates };
        let mut following = Following::new(client, source, self.from);
        following.begin().await?;
        // A snapshot is always asked for: it says from which revision on another member would have
        // to go on.
        let shown = move |event: &pb::ElectionEvent| !(hidden && ElectionSource::is_snapshot(event));
        Ok(following.stream(move |event| shown(&event).then(|| event.into())))
    }
}

#[derive(Clone)]
pub(super) struct ElectionSource {
    pub(super) name: Name,
    pub(super) leaders_only: bool,
    pub(super) candidates: bool,
}

impl Source for ElectionSource {
    type Event = pb::ElectionEvent;

    async fn open(
        &self,
        channel: Channel,
        from: i64,
        request: Request<()>,
    ) -> Result<Response<Streaming<Self::Event>>, Status> {
        let watch = pb::WatchElectionRequest {
            election: self.name.wire(),
            start_revision: from,
            no_snapshot: false,
            leaders_only: self.leaders_only,
            candidates: self.candidates,
        };
        coord::elections(channel).watch(request.map(|()| watch)).await
    }

    fn revision(event: &Self::Event) -> i64 {
        event.header.as_ref().map_or(0, |header| header.revision)
    }

    fn is_snapshot(event: &Self::Event) -> bool {
        event.r#type() == Type::Snapshot
    }
}

impl From<pb::ElectionEvent> for ElectionEvent {
    fn from(event: pb::ElectionEvent) -> Self {
        let kind = match event.r#type() {
            Type::Snapshot => ElectionEventKind::Snapshot,
            Type::Changed => ElectionEventKind::Changed,
            Type::Vacant => ElectionEventKind::Vacant,
            Type::Deleted => ElectionEventKind::Deleted,
        };
        let named = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            revision: ElectionSource::revision(&event),
            kind,
            cause: Cause::of(event.cause),
            term: event.term.unwrap_or_default().into(),
            subject: named(event.subject),
            previous_leader: named(event.previous_leader),
            reason: event.reason,
        }
    }
}
