//! The transfer of a snapshot to a peer: the files of a checkpoint in chunks, one after another.
//!
//! The duration depends on the size, so there is a deadline for progress at both ends and none for
//! the whole. The storage checks checksums. Nothing is installed unless every byte of every file
//! arrived and the result is the announced state.

use super::transport::{Link, PeerError};
use super::validate::Refusal;
use super::{convert, pb};
use conclave_storage::failpoint::failpoint;
use conclave_storage::types::{Snapshot, SnapshotMeta, StoredMembership, Vote};
use conclave_storage::{CheckpointFile, CheckpointReceiver, StateHandle};
use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 512 << 10;
/// Timeout of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// Timeout of the head: the sender first reads every file for its checksum.
const HEAD: Duration = Duration::from_secs(120);
/// Timeout from the last chunk until the peer has installed the snapshot.
const INSTALL: Duration = Duration::from_secs(120);

type Parts = mpsc::Sender<pb::SnapshotPart>;

/// Sends the snapshot and returns once the peer has installed it.
/// `version` is the cluster's, at or after the snapshot.
pub(super) async fn send(
    link: &dyn Link,
    vote: Vote,
    snapshot: Snapshot,
    version: u32,
) -> Result<pb::SnapshotReply, PeerError> {
    let (parts, far) = mpsc::channel(1);
    // The disk is read only once the transport is connected and polls for the first part.
    let (connected, begin) = oneshot::channel();
    let far =
        stream::once(async move { connected.send(()).unwrap_or_default() }).filter_map(|()| async { None }).chain(far);
    let feed = async move {
        // The channel closed, so the call has ended and has the error.
        if begin.await.is_err() {
            std::future::pending::<()>().await;
        }
        feed(parts, vote, snapshot, version).await
    };
    let call = link.snapshot(far.boxed());
    tokio::pin!(call);
    tokio::select! {
        // A reply before everything was sent is a refusal.
        reply = &mut call => reply,
        fed = feed => {
            fed?;
            timeout(INSTALL, call).await.unwrap_or(Err(PeerError::Unknown))
        }
    }
}

fn head(vote: &Vote, meta: &SnapshotMeta, files: &[CheckpointFile], version: u32) -> pb::SnapshotPart {
    let file = |f: &CheckpointFile| pb::snapshot_part::File { name: f.name.clone(), size: f.size, crc32c: f.crc32c };
    let head = pb::snapshot_part::Head {
        vote: Some(convert::vote(vote)),
        last: meta.last_log_id.as_ref().map(convert::log_id),
        membership_at: meta.last_membership.log_id().as_ref().map(convert::log_id),
        membership: Some(convert::membership(meta.last_membership.membership())),
        files: files.iter().map(file).collect(),
        version,
    };
    pb::SnapshotPart { part: Some(pb::snapshot_part::Part::Head(head)) }
}

async fn feed(mut parts: Parts, vote: Vote, snapshot: Snapshot, version: u32) -> Result<(), PeerError> {
    let checkpoint = Arc::new(snapshot.snapshot);
    let listed = checkpoint.clone();
    let files = blocking(move || listed.files()).await?;
    tracing::info!(files = files.len(), bytes = files.iter().map(|f| f.size).sum::<u64>(), "sending a snapshot");
    failpoint!("snapshot-before-send");
    put(&mut parts, head(&vote, &snapshot.meta, &files, version)).await?;
    for (position, file) in (0u32..).zip(files) {
        let mut offset = 0;
        while offset < file.size {
            let (from, name) = (checkpoint.clone(), file.name.clone());
            let data = blocking(move || from.read_chunk(&name, offset, CHUNK)).await?;
            if data.is_empty() {
                return Err(PeerError::Refused(format!("the snapshot's file {} is cut short", file.name)));
            }
            failpoint!("snapshot-between-parts");
            let length = data.len() as u64;
            let chunk = pb::snapshot_part::Chunk { file: position, offset, data };
            put(&mut parts, pb::SnapshotPart { part: Some(pb::snapshot_part::Part::Chunk(chunk)) }).await?;
            offset += length;
        }
    }
    Ok(())
}

async fn put(parts: &mut Parts, part: pb::SnapshotPart) -> Result<(), PeerError> {
    match timeout(PROGRESS, parts.send(part)).await {
        Ok(Ok(())) => Ok(()),
        // The call has ended and has the error.
        Ok(Err(_)) => std::future::pending().await,
        Err(_) => Err(PeerError::Unknown),
    }
}

/// The transfer that is being received. There is one at a time, because each takes the disk space
/// of a whole state.
///
/// A leader that lost its connection begins again, and so does a new leader, while the old transfer
/// may still wait for its next part. So a later transfer ends an earlier one, unless the later one
/// is from an older leader.
#[derive(Default)]
pub(super) struct Receiving(Arc<Mutex<Option<Transfer>>>);

struct Transfer {
    /// The leader's term.
    term: u64,
    over: CancellationToken,
}

/// The right to receive, released on drop.
struct Turn {
    receiving: Arc<Mutex<Option<Transfer>>>,
    over: CancellationToken,
}

impl Receiving {
    fn begin(&self, term: u64) -> Result<Turn, Refusal> {
        let mut current = self.0.lock();
        if let Some(before) = &*current {
            if term < before.term {
                return Err(Refusal("a later leader sends a snapshot, too"));
            }
            before.over.cancel();
        }
        let over = CancellationToken::new();
        *current = Some(Transfer { term, over: over.clone() });
        Ok(Turn { receiving: self.0.clone(), over })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut current = self.receiving.lock();
        // If cancelled, another transfer has taken over.
        if !self.over.is_cancelled() {
            *current = None;
        }
    }
}

type Incoming = BoxStream<'static, Result<pb::SnapshotPart, PeerError>>;

/// Receives and verifies a whole snapshot before its installation, because an error during
/// installation ends the node.
///
/// `check` validates the head before anything is written and again at the end, because the log may
/// have advanced meanwhile.
pub(super) async fn receive(
    state: &StateHandle,
    receiving: &Receiving,
    check: impl Fn(&pb::snapshot_part::Head) -> Result<(), PeerError>,
    mut parts: Incoming,
) -> Result<(Vote, Snapshot), PeerError> {
    let Some(pb::snapshot_part::Part::Head(head)) = next(&mut parts, HEAD).await?.and_then(|p| p.part) else {
        return Err(PeerError::Refused("a snapshot that does not begin with its head".into()));
    };
    check(&head)?;
    let vote = convert::from_vote(head.vote)?;
    let turn = receiving.begin(vote.leader_id.term)?;
    let snapshot = tokio::select! {
        snapshot = receive_files(state, head.clone(), parts) => snapshot?,
        () = turn.over.cancelled() => return Err(PeerError::Refused("another snapshot is being sent".into())),
    };
    check(&head)?;
    Ok((vote, snapshot))
}

async fn receive_files(
    state: &StateHandle,
    head: pb::snapshot_part::Head,
    mut parts: Incoming,
) -> Result<Snapshot, PeerError> {
    let membership = convert::from_membership(head.membership.unwrap_or_default())?;
    let meta = SnapshotMeta {
        last_log_id: head.last.map(convert::from_log_id),
        last_membership: StoredMembership::new(head.membership_at.map(convert::from_log_id), membership),
    };
    let file = |f: pb::snapshot_part::File| CheckpointFile { name: f.name, size: f.size, crc32c: f.crc32c };
    let files: Vec<CheckpointFile> = head.files.into_iter().map(file).collect();
    let (count, bytes) = (files.len(), files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size)));
    tracing::info!(files = count, bytes, "receiving a snapshot");

    let dir = state.snapshot_dir();
    let mut receiver = writing(state, move || CheckpointReceiver::begin(&dir, files)).await?;
    while let Some(part) = next(&mut parts, PROGRESS).await? {
        let Some(pb::snapshot_part::Part::Chunk(chunk)) = part.part else {
            return Err(PeerError::Refused("a snapshot with two heads".into()));
        };
        let write = move || receiver.write(chunk.file as usize, chunk.offset, &chunk.data).map(|()| receiver);
        receiver = writing(state, write).await?;
    }
    failpoint!("snapshot-before-finish");
    let finish = move || {
        let checkpoint = receiver.finish()?;
        checkpoint.require(&meta)?;
        Ok(Snapshot { meta, snapshot: checkpoint })
    };
    writing(state, finish).await
}

async fn next(
    parts: &mut BoxStream<'static, Result<pb::SnapshotPart, PeerError>>,
    within: Duration,
) -> Result<Option<pb::SnapshotPart>, PeerError> {
    timeout(within, parts.next()).await.map_err(|_| PeerError::Unknown)?.transpose()
}

/// Runs a step of receiving. A failure ends the transfer, and the node if the disk is the cause.
async fn writing<T: Send + 'static>(
    state: &StateHandle,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, PeerError> {
    let state = state.clone();
    let refused = |error: &io::Error| tracing::warn!(%error, "a snapshot was not received");
    blocking(move || work().map_err(|e| state.receiving_failed(e)).inspect_err(refused)).await
}

async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, PeerError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| PeerError::Unknown)?;
    done.map_err(|e| PeerError::Refused(format!("a snapshot's files: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::validate::{Known, Rules};
    use crate::sink::Nobody;
    use conclave_storage::types::{Entry, MemberNode, Membership, Payload, log_id, vote};
    use conclave_storage::{Identity, Opened, Options};
    use openraft::RaftSnapshotBuilder;
    use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn open(dir: &Path) -> Opened {
        let identity = Identity { cluster_id: 1, member_id: 2, name: "a".into(), incarnation: 3 };
        conclave_storage::open(Options::new(dir), identity, 4, Arc::new(Nobody)).unwrap()
    }

    /// A snapshot of a membership and a few blank entries.
    async fn snapshot(dir: &Path) -> Snapshot {
        let mut opened = open(dir);
        let mut entries: Vec<_> = (0..5).map(|i| Entry { log_id: log_id(3, i), payload: Payload::Blank }).collect();
        entries[0].payload = Payload::Membership(membership([1, 2]));
        opened.log.append(entries.clone(), IOFlushed::noop()).await.unwrap();
        opened.machine.apply(stream::iter(entries.into_iter().map(|e| Ok((e, None))))).await.unwrap();
        opened.machine.get_snapshot_builder().await.build_snapshot().await.unwrap()
    }

    fn membership<const N: usize>(ids: [u64; N]) -> Membership {
        let node = |id| (id, MemberNode { name: String::new(), peer_urls: vec![format!("http://m{id}:1")] });
        Membership::new(vec![ids.into()], BTreeMap::from(ids.map(node))).unwrap()
    }

    /// The result of sending it to another member.
    async fn sent(term: u64, change: impl FnOnce(&mut Snapshot)) -> Result<SnapshotMeta, PeerError> {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut snapshot = snapshot(a.path()).await;
        change(&mut snapshot);
        let opened = open(b.path());
        let (parts, far) = mpsc::channel(1);
        let feed = tokio::spawn(feed(parts, vote(term, 1, true), snapshot, 0));
        let rules = Rules::new(2);
        let check = |head: &pb::snapshot_part::Head| Ok(rules.snapshot(1, head, Known::default())?);
        let received = receive(&opened.state, &Receiving::default(), check, far.map(Ok).boxed()).await;
        feed.abort();
        received.map(|(_, snapshot)| snapshot.meta)
    }

    fn refused(received: Result<SnapshotMeta, PeerError>, word: &str) {
        assert!(matches!(&received, Err(PeerError::Refused(why)) if why.contains(word)), "{word}: {received:?}");
    }

    #[tokio::test]
    async fn a_snapshot_that_is_not_what_it_says_is_refused_before_anything_is_replaced() {
        assert_eq!(sent(3, |_| {}).await.unwrap().last_log_id, Some(log_id(3, 4)));
        refused(sent(3, |s| s.meta.last_log_id = Some(log_id(3, 5))).await, "announced");
        refused(sent(3, |s| s.meta.last_membership = StoredMembership::default()).await, "membership");
        refused(sent(2, |_| {}).await, "term");
    }

    #[test]
    fn a_later_transfer_ends_an_earlier_one_but_no_older_leader_does() {
        let receiving = Receiving::default();
        let first = receiving.begin(3).unwrap();
        assert!(receiving.begin(2).is_err());
        let again = receiving.begin(3).unwrap();
        assert!(first.over.is_cancelled() && !again.over.is_cancelled());
        drop(first);
        assert!(receiving.begin(2).is_err(), "the place is the second one's");
        drop(again);
        assert!(receiving.begin(2).is_ok());
    }

    /// Parts that never end and carry nothing.
    #[tokio::test]
    async fn a_chunk_without_bytes_ends_the_transfer() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let file = pb::snapshot_part::File { name: "a".into(), size: 1, crc32c: 0 };
        let head = pb::snapshot_part::Head {
            vote: Some(convert::vote(&vote(3, 1, true))),
            last: Some(pb::LogId { term: 3, index: 4 }),
            membership: Some(convert::membership(&membership([1]))),
            files: vec![file],
            ..Default::default()
        };
        let part = |part| Ok(pb::SnapshotPart { part: Some(part) });
        let nothing = move || part(pb::snapshot_part::Part::Chunk(pb::snapshot_part::Chunk::default()));
        let parts = stream::iter([part(pb::snapshot_part::Part::Head(head))]).chain(stream::repeat_with(nothing));
        let received = receive(&opened.state, &Receiving::default(), |_| Ok(()), parts.boxed()).await;
        assert!(matches!(received, Err(PeerError::Refused(why)) if why.contains("without bytes")));
    }
}
