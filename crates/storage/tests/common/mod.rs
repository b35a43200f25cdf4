//! What the tests share: an identity, a sink that remembers, and shorthand for entries.
#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test file uses a part, and a failed test shows what it printed"
)]

use bytes::Bytes;
use conclave_state::{Command, Put};
use conclave_storage::log::disk::{LogOp, Slot};
use conclave_storage::types::{C, Entry, Payload, log_id};
use conclave_storage::{
    Answer, AppliedBatch, ApplySink, Identity, LogDisk, MemoryDisk, OpenError, Opened, Options, Pack, SegmentWriter,
    StateStore, open,
};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub(crate) const ORIGIN: u64 = 0xc0ffee;

pub(crate) fn identity() -> Identity {
    Identity { cluster_id: 0xc1, member_id: 0xa, name: "a".to_owned(), incarnation: 77 }
}

#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) answers: Mutex<Vec<Answer>>,
    pub(crate) revisions: Mutex<Vec<i64>>,
    pub(crate) installed: AtomicUsize,
}

impl ApplySink for Sink {
    fn applied(&self, batch: AppliedBatch) {
        self.revisions.lock().unwrap().extend(batch.changes.events.iter().map(|e| e.kv.mod_revision));
        self.answers.lock().unwrap().extend(batch.answers);
    }

    fn installed(&self) {
        self.installed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Options under which a failing disk fails the test.
pub(crate) fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    options.on_fatal = Arc::new(|reason| eprintln!("fatal: {reason}"));
    options
}

pub(crate) fn open_at(dir: &Path) -> Opened {
    open_with(dir, Arc::new(Sink::default())).unwrap()
}

pub(crate) fn open_with(dir: &Path, sink: Arc<Sink>) -> Result<Opened, OpenError> {
    open(options(dir), identity(), ORIGIN, sink)
}

pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Command {
    Command::Put(Put {
        key: bytes::Bytes::copy_from_slice(key.as_ref()),
        value: bytes::Bytes::copy_from_slice(value.as_ref()),
        ..Put::default()
    })
}

pub(crate) fn segment(origin: u64, seq: u64, commands: &[Command]) -> bytes::Bytes {
    let mut writer = SegmentWriter::new();
    for command in commands {
        writer.push(command);
    }
    writer.finish(origin, seq)
}

/// An entry with one segment of this process.
pub(crate) fn entry(term: u64, index: u64, commands: &[Command]) -> Entry {
    let pack = Pack::join(vec![segment(ORIGIN, index, commands)]);
    Entry { log_id: log_id(term, index), payload: Payload::Normal(pack) }
}

pub(crate) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: Payload::Blank }
}

/// Entry `index` puts `key<index % keys>` = `<index>`.
pub(crate) fn numbered(term: u64, index: u64, keys: u64) -> Entry {
    entry(term, index, &[put(format!("key{}", index % keys), format!("{index}"))])
}

/// Appends and waits until it is durable.
pub(crate) async fn append(log: &mut impl RaftLogStorage<C>, entries: Vec<Entry>) -> std::io::Result<()> {
    let (tx, rx) = <C as openraft::type_config::TypeConfigExt>::oneshot();
    log.append(entries, IOFlushed::signal(tx)).await?;
    rx.await.expect("the callback is called")
}

pub(crate) async fn apply(machine: &mut StateStore, entries: Vec<Entry>) -> std::io::Result<()> {
    machine.apply(futures::stream::iter(entries.into_iter().map(|e| Ok((e, None))))).await
}

/// Appends and applies.
pub(crate) async fn commit(opened: &mut Opened, entries: Vec<Entry>) {
    append(&mut opened.log, entries.clone()).await.unwrap();
    apply(&mut opened.machine, entries).await.unwrap();
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Sends a checkpoint as the peer transport does: in chunks, to a new directory.
pub(crate) fn transfer(
    from: &conclave_storage::Checkpoint,
    to: &Path,
) -> std::io::Result<conclave_storage::Checkpoint> {
    let files = from.files()?;
    let mut receiver = conclave_storage::CheckpointReceiver::begin(to, files.clone())?;
    for (position, file) in files.iter().enumerate() {
        let mut offset = 0;
        while offset < file.size {
            let chunk = from.read_chunk(&file.name, offset, 1000)?;
            receiver.write(position, offset, &chunk)?;
            offset += chunk.len() as u64;
        }
    }
    receiver.finish()
}

/// A disk in memory whose writes can be held: each waits for a permit.
pub(crate) struct HeldDisk {
    pub(crate) disk: MemoryDisk,
    permits: Mutex<u64>,
    more: Condvar,
}

impl HeldDisk {
    /// Holds nothing yet.
    pub(crate) fn new() -> Arc<HeldDisk> {
        Arc::new(HeldDisk { disk: MemoryDisk::new(), permits: Mutex::new(u64::MAX), more: Condvar::new() })
    }

    /// Holds the next write, until what is returned goes.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.permit(0);
        Hold(self)
    }

    fn permit(&self, writes: u64) {
        *self.permits.lock().unwrap() = writes;
        self.more.notify_all();
    }
}

/// To be declared behind the log: a log that is dropped waits for its writer.
pub(crate) struct Hold<'a>(&'a HeldDisk);

impl Hold<'_> {
    /// Lets so many more writes through.
    pub(crate) fn permit(&self, writes: u64) {
        self.0.permit(writes);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.permit(u64::MAX);
    }
}

impl LogDisk for HeldDisk {
    fn write(&self, ops: Vec<LogOp>) -> io::Result<()> {
        let mut permits = self.permits.lock().unwrap();
        while *permits == 0 {
            permits = self.more.wait(permits).unwrap();
        }
        if *permits < u64::MAX {
            *permits -= 1;
        }
        drop(permits);
        self.disk.write(ops)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.disk.read(from, to, max_bytes)
    }

    fn ends(&self, from: u64) -> io::Result<Option<(u64, u64)>> {
        self.disk.ends(from)
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<u64> {
        self.disk.bytes(from, to)
    }

    fn slot(&self, slot: Slot) -> io::Result<Option<Bytes>> {
        self.disk.slot(slot)
    }

    fn registered(&self) -> io::Result<Vec<(u64, Bytes)>> {
        self.disk.registered()
    }
}
