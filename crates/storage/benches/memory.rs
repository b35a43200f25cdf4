//! What a number of keys takes: resident memory while they are written, space on the disk, and the
//! time of the next start.
//!
//! `cargo bench -p conclave-storage --bench memory -- [keys] [flush MiB]`, 300,000 keys with values
//! of 256 bytes unless told. Log and state alone: a member has its connections, its watchers and
//! consensus beside them. Nothing is synced, so that the disk's speed is no part of it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement stops at the first surprise")]

use bytes::Bytes;
use conclave_state::{Command, Put};
use conclave_storage::types::{C, Entry, Payload, log_id};
use conclave_storage::{AppliedBatch, ApplySink, Identity, Opened, Options, Pack, SegmentWriter, open};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const BATCH: u64 = 64;

struct Sink;

impl ApplySink for Sink {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}

fn open_at(dir: &Path, flush: Option<usize>) -> Opened {
    let identity = Identity { cluster_id: 1, member_id: 1, name: "a".to_owned(), incarnation: 1 };
    let mut options = Options::new(dir);
    options.sync = false;
    if let Some(bytes) = flush {
        (options.state.write_buffer_bytes, options.state.flush_bytes) = (bytes, bytes as u64);
    }
    open(options, identity, 1, Arc::new(Sink)).unwrap()
}

fn entry(index: u64) -> Entry {
    let mut segment = SegmentWriter::new();
    for n in index * BATCH..(index + 1) * BATCH {
        // In no order, each once: an odd factor makes a permutation of the numbers of 40 bits.
        let key = n.wrapping_mul(0x9e37_79b9_7f4b) & 0xff_ffff_ffff;
        let value = Bytes::from(key.to_be_bytes().repeat(32));
        segment.push(&Command::Put(Put { key: format!("key/{key:012x}").into(), value, ..Put::default() }));
    }
    Entry { log_id: log_id(1, index), payload: Payload::Normal(Pack::join(vec![segment.finish(1, index)])) }
}

async fn commit(opened: &mut Opened, entry: Entry) {
    let (tx, rx) = <C as openraft::type_config::TypeConfigExt>::oneshot();
    opened.log.append([entry.clone()], IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
    opened.machine.apply(futures::stream::iter([Ok((entry, None))])).await.unwrap();
}

/// A field of `/proc/self/status` in MiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10
}

/// User and system time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}

fn main() {
    // `cargo test --all-targets` starts this too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let keys = numbers.next().unwrap_or(300_000);
    let flush = numbers.next().map(|mib| (mib as usize) << 20);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut opened = open_at(dir.path(), flush);
    println!("empty: {} MiB resident", memory("VmRSS:"));
    let begin = cpu();
    for index in 0..keys.div_ceil(BATCH) {
        runtime.block_on(commit(&mut opened, entry(index)));
    }
    println!(
        "{keys} keys: {} MiB resident, {} MiB at most, {:.2} µs of CPU a key, {} MiB on the disk",
        memory("VmRSS:"),
        memory("VmHWM:"),
        (cpu() - begin) * 1e6 / keys as f64,
        size(dir.path()) >> 20
    );
    opened.state.flush().unwrap();
    drop(opened);
    let begin = Instant::now();
    let opened = open_at(dir.path(), flush);
    println!("opened again in {} ms, {} MiB resident", begin.elapsed().as_millis(), memory("VmRSS:"));
    assert_eq!(opened.state.revision(), (keys.div_ceil(BATCH) * BATCH + 1).cast_signed());
}
