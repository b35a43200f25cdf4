//! Records on their way to the thread that writes them.
//!
//! 1. Who hands one over never waits. The queue has a bound in records and in bytes; what is beyond
//!    is dropped, counted and logged.
//! 2. Lines that cannot be written (a full disk) are dropped and counted likewise. The next attempt
//!    is the next record.
//! 3. The first line that is written after something was dropped says how many records are missing
//!    before it.

use super::record::{Record, Subject};
use super::rotating::Rotating;
use crate::metrics::AuditMetrics;
use conclave_net::throttle::Throttle;
use conclave_node::config::AuditOutput;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;
use tokio::sync::oneshot;

/// Records that wait.
const MOST: usize = 1 << 14;
/// Their bytes in memory, about.
const MOST_BYTES: usize = 16 << 20;
/// Lines are written together up to this size.
const BATCH: usize = 64 << 10;

pub(super) trait Sink: Send + 'static {
    /// Writes whole lines, or nothing of them.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

impl Sink for Rotating {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        Rotating::write(self, lines)
    }
}

enum Standard {
    Out,
    Error,
}

impl Sink for Standard {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Standard::Out => io::stdout().write_all(lines).and_then(|()| io::stdout().flush()),
            Standard::Error => io::stderr().write_all(lines),
        }
    }
}

/// Opens an output.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn sink(output: &AuditOutput) -> io::Result<Box<dyn Sink>> {
    Ok(match output {
        AuditOutput::Stdout => Box::new(Standard::Out),
        AuditOutput::Stderr => Box::new(Standard::Error),
        AuditOutput::File { path, max_bytes, files } => Box::new(Rotating::open(path, *max_bytes, *files)?),
    })
}

enum Message {
    Record(Box<Record>),
    /// Answered once all that came before is written.
    Flush(oneshot::Sender<()>),
}

/// What both ends know.
struct Shared {
    member: Arc<str>,
    bytes: AtomicUsize,
    /// Records that no line has told of yet.
    missing: AtomicU64,
    metrics: AuditMetrics,
    complaints: Throttle,
}

impl Shared {
    #[cold]
    fn dropped(&self, records: u64, why: &str) {
        self.missing.fetch_add(records, Ordering::AcqRel);
        self.metrics.dropped.inc_by(records);
        if let Some(suppressed) = self.complaints.admit() {
            tracing::error!(records, suppressed, why, "records of the audit log are missing");
        }
    }
}

pub(super) struct Queue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Queue {
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(sink: Box<dyn Sink>, member: &Arc<str>, metrics: AuditMetrics) -> io::Result<Queue> {
        let shared = Shared {
            member: member.clone(),
            bytes: AtomicUsize::new(0),
            missing: AtomicU64::new(0),
            metrics,
            complaints: Throttle::default(),
        };
        let (sender, receiver) = sync_channel(MOST);
        let shared = Arc::new(shared);
        let writer = Writer { sink, shared: shared.clone() };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Queue { sender, shared })
    }

    pub(super) fn push(&self, record: Record) {
        let (weight, shared) = (record.weight(), &self.shared);
        let before = shared.bytes.fetch_add(weight, Ordering::AcqRel);
        if before + weight <= MOST_BYTES && self.sender.try_send(Message::Record(Box::new(record))).is_ok() {
            return;
        }
        shared.bytes.fetch_sub(weight, Ordering::AcqRel);
        shared.dropped(1, "they come faster than they are written");
    }

    /// Comes true once all that was pushed before is written or dropped; at once if nothing can be
    /// asked for.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = flushed.await;
        }
    }
}

struct Writer {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Until the other end is gone.
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut lines = Vec::new();
        while let Ok(message) = receiver.recv() {
            let (mut records, mut flush, mut next) = (0, None, Some(message));
            while let Some(message) = next.take() {
                match message {
                    Message::Record(record) => {
                        self.shared.bytes.fetch_sub(record.weight(), Ordering::AcqRel);
                        line(&mut lines, &record);
                        records += 1;
                    }
                    Message::Flush(done) => {
                        flush = Some(done);
                        break;
                    }
                }
                if lines.len() < BATCH {
                    next = receiver.try_recv().ok();
                }
            }
            self.write(&lines, records);
            lines.clear();
            lines.shrink_to(BATCH * 2);
            if let Some(done) = flush {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, lines: &[u8], records: u64) {
        let missing = self.shared.missing.swap(0, Ordering::AcqRel);
        if lines.is_empty() && missing == 0 {
            return;
        }
        let mut head = Vec::new();
        if missing > 0 {
            line(&mut head, &gap(&self.shared.member, missing));
            head.extend_from_slice(lines);
        }
        let lines = if missing > 0 { &head } else { lines };
        match self.sink.write(lines) {
            Ok(()) => {
                self.shared.metrics.written.inc_by(records);
                self.shared.metrics.bytes.inc_by(lines.len() as u64);
            }
            Err(error) => {
                self.shared.missing.fetch_add(missing, Ordering::AcqRel);
                match records {
                    0 => {}
                    records => self.shared.dropped(records, &error.to_string()),
                }
            }
        }
    }
}

/// Nothing in a record can fail to be JSON; a line that could not would be left out.
fn line(into: &mut Vec<u8>, record: &Record) {
    let before = into.len();
    match serde_json::to_writer(&mut *into, record) {
        Ok(()) => into.push(b'\n'),
        Err(error) => {
            into.truncate(before);
            tracing::error!(%error, "a record of the audit log cannot be written as JSON");
        }
    }
}

fn gap(member: &Arc<str>, missing: u64) -> Record {
    Record {
        time: SystemTime::now(),
        member: member.clone(),
        user: None,
        certificate: None,
        from: None,
        kind: "audit.gap".to_owned(),
        subject: Subject::default(),
        code: "Unavailable".to_owned(),
        error: Some("records are missing before this one".to_owned()),
        denied: false,
        revision: None,
        missing: Some(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::plain;
    use super::*;
    use parking_lot::Mutex;
    use std::sync::mpsc;

    #[derive(Clone, Default)]
    struct Memory {
        lines: Arc<Mutex<Vec<u8>>>,
        failing: Arc<Mutex<bool>>,
    }

    impl Sink for Memory {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            if *self.failing.lock() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.lines.lock().extend_from_slice(lines);
            Ok(())
        }
    }

    impl Memory {
        /// Kind and number of missing records of each line.
        fn told(&self) -> Vec<(String, Option<u64>)> {
            let text = String::from_utf8(self.lines.lock().clone()).expect("text");
            let of = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                (line["kind"].as_str().expect("a kind").to_owned(), line["missing"].as_u64())
            };
            text.lines().map(of).collect()
        }
    }

    /// A sink whose writes wait.
    struct Held {
        release: mpsc::Receiver<()>,
        into: Memory,
    }

    impl Sink for Held {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let _ = self.release.recv();
            self.into.write(lines)
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_counted_and_told_of_later() {
        let (memory, metrics) = (Memory::default(), AuditMetrics::default());
        let queue = Queue::start(Box::new(memory.clone()), &"m".into(), metrics.clone()).expect("a thread");
        queue.push(plain("one"));
        queue.flush().await;
        *memory.failing.lock() = true;
        queue.push(plain("two"));
        queue.push(plain("three"));
        queue.flush().await;
        assert_eq!((metrics.written.get(), metrics.dropped.get()), (1, 2));
        *memory.failing.lock() = false;
        queue.push(plain("four"));
        queue.flush().await;
        let told = |kind: &str, missing| (kind.to_owned(), missing);
        assert_eq!(memory.told(), [told("one", None), told("audit.gap", Some(2)), told("four", None)]);
        assert_eq!((metrics.written.get(), metrics.dropped.get()), (2, 2));
        assert_eq!(metrics.bytes.get(), memory.lines.lock().len() as u64);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_disk_that_hangs() {
        let (release, held) = mpsc::channel();
        let (memory, metrics) = (Memory::default(), AuditMetrics::default());
        let sink = Held { release: held, into: memory.clone() };
        let queue = Queue::start(Box::new(sink), &"m".into(), metrics.clone()).expect("a thread");
        let sent = 2 * MOST as u64;
        for _ in 0..sent {
            queue.push(plain("one"));
        }
        let dropped = metrics.dropped.get();
        assert!(dropped > 0 && dropped < sent, "{dropped}");
        drop(release);
        // Until there is room for the request to flush.
        while metrics.written.get() < sent - dropped {
            queue.flush().await;
            tokio::task::yield_now().await;
        }
        let missing: u64 = memory.told().into_iter().filter_map(|(_, missing)| missing).sum();
        assert_eq!(missing, dropped);
        assert_eq!(queue.shared.bytes.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn large_records_are_bounded_by_their_bytes() {
        let (release, held) = mpsc::channel();
        let metrics = AuditMetrics::default();
        let sink = Held { release: held, into: Memory::default() };
        let queue = Queue::start(Box::new(sink), &"m".into(), metrics.clone()).expect("a thread");
        let mut large = plain("kv.txn");
        for _ in 0..256 {
            large.subject.op(super::super::record::Op::new("put", &[b'k'; 2_048], b""));
        }
        // The writer may have taken a batch out already.
        let most = (MOST_BYTES + BATCH) / large.weight() + 2;
        for _ in 0..most + 10 {
            queue.push(large.clone());
        }
        assert!(metrics.dropped.get() >= 10 && queue.shared.bytes.load(Ordering::Acquire) <= MOST_BYTES);
        drop(release);
    }
}
