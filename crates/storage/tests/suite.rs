//! openraft's own suite for storage, on RocksDB and on the disk in memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use common::{Sink, identity, options};
use conclave_storage::types::{C, Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership};
use conclave_storage::{Checkpoint, LogStore, MemoryDisk, Opened, StateStore, open, open_on};
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use std::io;
use std::sync::Arc;

/// The suite applies entries with gaps; the state refuses those. This puts blank entries into them.
struct Filled(StateStore);

impl RaftStateMachine<C> for Filled {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = <StateStore as RaftStateMachine<C>>::SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        let mut next = self.0.applied_state().await?.0.map_or(0, |id| id.index + 1);
        let mut filled: Vec<Result<EntryResponder<C>, io::Error>> = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let term = entry.log_id.leader_id.term;
            for index in next..entry.log_id.index {
                let blank = Entry { log_id: conclave_storage::types::log_id(term, index), payload: Payload::Blank };
                filled.push(Ok((blank, None)));
            }
            next = entry.log_id.index + 1;
            filled.push(Ok((entry, responder)));
        }
        self.0.apply(futures::stream::iter(filled)).await
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Checkpoint) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.0.get_current_snapshot().await
    }
}

struct OnRocks;
struct InMemory;

fn parts(opened: Opened, dir: tempfile::TempDir) -> (tempfile::TempDir, LogStore, Filled) {
    (dir, opened.log, Filled(opened.machine))
}

impl StoreBuilder<C, LogStore, Filled, tempfile::TempDir> for OnRocks {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Filled), StorageError<C>> {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(options(dir.path()), identity(), 1, Arc::new(Sink::default())).unwrap();
        Ok(parts(opened, dir))
    }
}

impl StoreBuilder<C, LogStore, Filled, tempfile::TempDir> for InMemory {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Filled), StorageError<C>> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(MemoryDisk::new());
        let opened = open_on(disk, options(dir.path()), &identity(), 1, Arc::new(Sink::default())).unwrap();
        Ok(parts(opened, dir))
    }
}

#[tokio::test]
async fn openrafts_suite_on_rocksdb() {
    Suite::test_all(OnRocks).await.unwrap();
}

#[tokio::test]
async fn openrafts_suite_in_memory() {
    Suite::test_all(InMemory).await.unwrap();
}
