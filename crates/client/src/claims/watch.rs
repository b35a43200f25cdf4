//! Following a claim.

use super::ClaimHolder;
use crate::Channel;
use crate::{
    Cause, Client, Error, Name,
    api::conclave::v1::{self as pb, claim_event::Type},
    coord::{
        self,
        follow::{Following, Source},
    },
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

/// What to follow of a claim. A name converts into it.
///
/// [`Claims::watch`](super::Claims::watch) has an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClaimWatch {
    name: Name,
    from: i64,
}

/// A change of a claim's holder, or how things stood when the watch began.
///
/// [`Claims::watch`](super::Claims::watch) has an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClaimEvent {
    /// Of which revision.
    pub revision: i64,
    /// What kind of change.
    pub kind: ClaimEventKind,
    /// Who holds it now.
    pub holder: Option<ClaimHolder>,
    /// How it came to be free, or was taken; where that is told.
    pub cause: Cause,
    /// Who held it before, if anybody did and history has it.
    pub previous_holder: Option<String>,
}

/// What kind of change.
///
/// [`Claims::watch`](super::Claims::watch) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimEventKind {
    /// How things stood when the watch began.
    Snapshot,
    /// A tenure began.
    Held,
    /// A tenure ended and nobody followed.
    Vacant,
}

/// What to follow, as in the example of [`Claims::watch`](super::Claims::watch).
impl ClaimWatch {
    /// From now on, beginning with how things stand.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), from: 0 }
    }

    /// From a revision on, for a client that has seen everything before it.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.from = revision;
        self
    }

    pub(super) async fn begin(self, client: &Client) -> Result<BoxStream<'static, Result<ClaimEvent, Error>>, Error> {
        let mut following = Following::new(client, ClaimSource(self.name), self.from);
        following.begin().await?;
        Ok(following.stream(|event| Some(event.into())))
    }
}

impl<N: Into<Name>> From<N> for ClaimWatch {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

#[derive(Clone)]
pub(super) struct ClaimSource(pub(super) Name);

impl Source for ClaimSource {
    type Event = pb::ClaimEvent;

    async fn open(
        &self,
        channel: Channel,
        from: i64,
        request: Request<()>,
    ) -> Result<Response<Streaming<Self::Event>>, Status> {
        let claim = self.0.wire();
        let request = request.map(|()| pb::WatchClaimRequest { claim, start_revision: from, no_snapshot: false });
        coord::claims(channel).watch(request).await
    }

    fn revision(event: &Self::Event) -> i64 {
        event.header.as_ref().map_or(0, |header| header.revision)
    }

    fn is_snapshot(event: &Self::Event) -> bool {
        event.r#type() == Type::Snapshot
    }
}

impl From<pb::ClaimEvent> for ClaimEvent {
    fn from(event: pb::ClaimEvent) -> Self {
        let kind = match event.r#type() {
            Type::Snapshot => ClaimEventKind::Snapshot,
            Type::Held => ClaimEventKind::Held,
            Type::Vacant => ClaimEventKind::Vacant,
        };
        let revision = ClaimSource::revision(&event);
        let pb::ClaimEvent { holder, instance, fence, previous_holder, cause, .. } = event;
        Self {
            revision,
            kind,
            holder: (fence != 0).then_some(ClaimHolder { holder, instance, fence }),
            cause: Cause::of(cause),
            previous_holder: Some(previous_holder).filter(|previous| !previous.is_empty()),
        }
    }
}
