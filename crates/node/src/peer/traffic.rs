//! What passes between this member and each other one, for metrics: bytes of entries and snapshots (what surrounds them is not
//! counted), calls that failed, and how long heartbeats took there and back.

use super::pb;
use super::transport::{AppendReplies, Link, PeerError};
use conclave_storage::DurationHistogram;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The figures of one other member.
#[derive(Debug, Default)]
pub struct Figures {
    pub round_trips: DurationHistogram,
    sent: AtomicU64,
    received: AtomicU64,
    failures: AtomicU64,
}

impl Figures {
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Calls without an answer.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn sends(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn receives(&self, request: &pb::AppendRequest) {
        self.received.fetch_add(weight(request) as u64, Ordering::Relaxed);
    }

    fn result<T>(&self, result: Result<T, PeerError>) -> Result<T, PeerError> {
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

fn weight(request: &pb::AppendRequest) -> usize {
    let bytes = |entry: &pb::Entry| match &entry.payload {
        Some(pb::entry::Payload::Pack(pack)) => pack.len(),
        _ => 0,
    };
    request.entries.iter().map(bytes).sum()
}

/// The figures of all members that there were, by id.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<RwLock<BTreeMap<u64, Arc<Figures>>>>);

impl Traffic {
    /// The figures of this member, from zero if there were none.
    #[must_use]
    pub fn of(&self, id: u64) -> Arc<Figures> {
        if let Some(figures) = self.0.read().get(&id) {
            return figures.clone();
        }
        self.0.write().entry(id).or_default().clone()
    }
}

/// A link that counts.
pub(super) struct Counted {
    link: Arc<dyn Link>,
    figures: Arc<Figures>,
}

impl Counted {
    pub(super) fn new(link: Arc<dyn Link>, figures: Arc<Figures>) -> Counted {
        Counted { link, figures }
    }
}

#[async_trait::async_trait]
impl Link for Counted {
    async fn append(&self, requests: BoxStream<'static, pb::AppendRequest>) -> Result<AppendReplies, PeerError> {
        let figures = self.figures.clone();
        let requests = requests.inspect(move |request| figures.sends(weight(request)));
        let replies = self.figures.result(self.link.append(requests.boxed()).await)?;
        let figures = self.figures.clone();
        Ok(replies.map(move |reply| figures.result(reply)).boxed())
    }

    async fn heartbeat(&self, request: pb::AppendRequest) -> Result<pb::AppendReply, PeerError> {
        let begun = Instant::now();
        let reply = self.figures.result(self.link.heartbeat(request).await)?;
        self.figures.round_trips.count(begun.elapsed());
        Ok(reply)
    }

    async fn vote(&self, request: pb::VoteRequest) -> Result<pb::VoteReply, PeerError> {
        self.figures.result(self.link.vote(request).await)
    }

    async fn transfer_leader(&self, request: pb::TransferRequest) -> Result<pb::TransferReply, PeerError> {
        self.figures.result(self.link.transfer_leader(request).await)
    }

    async fn snapshot(&self, parts: BoxStream<'static, pb::SnapshotPart>) -> Result<pb::SnapshotReply, PeerError> {
        let figures = self.figures.clone();
        let parts = parts.inspect(move |part| figures.sends(prost::Message::encoded_len(part)));
        self.figures.result(self.link.snapshot(parts.boxed()).await)
    }

    async fn forward(&self, request: pb::ForwardRequest) -> Result<pb::ForwardReply, PeerError> {
        self.figures.sends(request.segments.iter().map(|segment| segment.len()).sum());
        self.figures.result(self.link.forward(request).await)
    }

    async fn read_index(&self, request: pb::ReadIndexRequest) -> Result<pb::ReadIndexReply, PeerError> {
        self.figures.result(self.link.read_index(request).await)
    }

    async fn keep_alive(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveReply, PeerError> {
        self.figures.result(self.link.keep_alive(request).await)
    }

    async fn remaining(&self, request: pb::RemainingRequest) -> Result<pb::RemainingReply, PeerError> {
        self.figures.result(self.link.remaining(request).await)
    }

    async fn register(&self, request: pb::RegisterRequest) -> Result<pb::RegisterReply, PeerError> {
        self.figures.result(self.link.register(request).await)
    }

    async fn members(&self, request: pb::MembersRequest) -> Result<pb::MembersReply, PeerError> {
        self.figures.result(self.link.members(request).await)
    }

    async fn join(&self, request: pb::JoinRequest) -> Result<pb::JoinReply, PeerError> {
        self.figures.result(self.link.join(request).await)
    }

    async fn change(&self, request: pb::ChangeRequest) -> Result<pb::ChangeReply, PeerError> {
        self.figures.result(self.link.change(request).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_figures() {
        let traffic = Traffic::default();
        let entry = |bytes: usize| pb::Entry {
            payload: Some(pb::entry::Payload::Pack(vec![0_u8; bytes].into())),
            ..Default::default()
        };
        traffic.of(1).receives(&pb::AppendRequest {
            entries: vec![entry(3), pb::Entry::default(), entry(4)],
            ..Default::default()
        });
        traffic.of(1).sends(5);
        assert_eq!(traffic.of(1).result(Err::<(), _>(PeerError::Unreachable)), Err(PeerError::Unreachable));
        assert_eq!(traffic.of(1).result(Ok(2)), Ok(2));
        let figures = traffic.of(1);
        assert_eq!((figures.received_bytes(), figures.sent_bytes(), figures.failures()), (7, 5, 1));
        assert_eq!((traffic.of(2).received_bytes(), traffic.of(2).sent_bytes(), traffic.of(2).failures()), (0, 0, 0));
    }
}
