//! What passes between this member and each other one, for metrics: bytes of entries and snapshots
//! (what surrounds them is not counted), calls that failed, and how long heartbeats took there and
//! back.

use super::pb;
use super::transport::{AppendReplies, Link, PeerError};
use conclave_storage::DurationHistogram;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The figures of one other member.
#[derive(Debug, Default)]
pub struct Figures {
    pub round_trips: DurationHistogram,
    sent: AtomicU64,
    received: AtomicU64,
    failures: AtomicU64,
    /// Milliseconds since [`BEGIN`] when something came from it, and when a call to it failed; 0:
    /// never.
    heard: AtomicU64,
    failed: AtomicU64,
}

/// What is older tells nothing about the present.
const RECENT: Duration = Duration::from_secs(10);

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Figures {
    /// Something came from the member.
    pub(super) fn is_heard(&self) {
        self.heard.store(now(), Ordering::Relaxed);
    }

    /// Whether the member was reached when there was something between the two last; `None` if
    /// there was nothing of late, as between two followers.
    pub fn active(&self) -> Option<bool> {
        self.active_at(now())
    }

    fn active_at(&self, now: u64) -> Option<bool> {
        let (heard, failed) = (self.heard.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let last = heard.max(failed);
        let recent = last > 0 && u128::from(now.saturating_sub(last)) <= RECENT.as_millis();
        recent.then_some(heard >= failed)
    }

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
        self.is_heard();
        self.received.fetch_add(weight(request) as u64, Ordering::Relaxed);
    }

    fn result<T>(&self, result: Result<T, PeerError>) -> Result<T, PeerError> {
        match result {
            Ok(_) => self.is_heard(),
            Err(_) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.failed.store(now(), Ordering::Relaxed);
            }
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
    fn a_member_is_active_if_it_was_heard_after_the_last_failure() {
        let figures = Figures::default();
        assert_eq!(figures.active_at(5), None);
        figures.heard.store(5, Ordering::Relaxed);
        assert_eq!(figures.active_at(6), Some(true));
        figures.failed.store(7, Ordering::Relaxed);
        assert_eq!(figures.active_at(8), Some(false));
        figures.heard.store(9, Ordering::Relaxed);
        assert_eq!((figures.active_at(9), figures.active_at(20_000)), (Some(true), None));
        let _ = figures.result(Err::<(), _>(PeerError::Unknown));
        let _ = figures.result(Ok(()));
        assert_eq!(figures.active(), Some(true));
    }

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
