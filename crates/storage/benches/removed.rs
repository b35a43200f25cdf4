//! What reads cost after keys were written and deleted many times: one key, and keys that are never
//! used again. It must not depend on the number of rounds.
//!
//! `cargo bench -p conclave-storage --bench removed -- [ROUNDS]`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark stops at the first surprise")]

use bytes::Bytes;
use conclave_state::{Command, DeleteRange, KeyRange, Put, RangeQuery, queue, read};
use conclave_storage::types::{Entry, Payload, log_id};
use conclave_storage::{AppliedBatch, ApplySink, Identity, Opened, Options, Pack, SegmentWriter, open};
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ORIGIN: u64 = 1;

/// Rounds in one entry of the log.
const ENTRY: u64 = 250;

/// Rounds between two compactions.
const COMPACT: u64 = 50_000;

struct Sink;

impl ApplySink for Sink {
    fn applied(&self, _: AppliedBatch) {}

    fn installed(&self) {}
}

fn main() {
    let rounds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity { cluster_id: 1, member_id: 1, name: "a".to_owned(), incarnation: 1 };
    let opened = open(Options::new(dir.path()), identity, ORIGIN, Arc::new(Sink)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = World { opened, runtime, index: 0 };
    let live: Vec<_> = (0..1_000).map(|n| put(format!("live/{n:04}").into(), 0)).collect();
    world.apply(&live);
    println!(
        "rounds     put+delete   get       get one of  range     range     count     first of  (us: median, worst)"
    );
    let mut done = 0;
    for until in [0, 1_000, 10_000, 100_000, 250_000, 500_000, 1_000_000].into_iter().filter(|n| *n <= rounds) {
        let (begun, from) = (Instant::now(), done);
        while done < until {
            let commands: Vec<_> = (done..done + ENTRY).flat_map(round).collect();
            world.apply(&commands);
            done += ENTRY;
            if done % COMPACT == 0 {
                let revision = world.opened.state.revision();
                world.apply(&[Command::Compact { revision }]);
            }
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / (done - from).max(1) as f64;
        print!("{done:<10} {each:<12.1}");
        for what in ["one", "many/5", "one/", "many/", "", "queue"] {
            let (median, worst) = world.read(what);
            print!(" {median:.1} {worst:.1}  ");
        }
        println!();
    }
}

struct World {
    opened: Opened,
    runtime: tokio::runtime::Runtime,
    index: u64,
}

impl World {
    fn apply(&mut self, commands: &[Command]) {
        let mut segment = SegmentWriter::new();
        for command in commands {
            segment.push(command);
        }
        let pack = Pack::join(vec![segment.finish(ORIGIN, self.index)]);
        let entry = Entry { log_id: log_id(1, self.index), payload: Payload::Normal(pack) };
        self.index += 1;
        let Opened { log, machine, .. } = &mut self.opened;
        self.runtime.block_on(async {
            log.append([entry.clone()], IOFlushed::noop()).await.unwrap();
            machine.apply(futures::stream::iter([Ok((entry, None))])).await.unwrap();
        });
    }

    /// The median and the worst of a hundred reads, in microseconds, each through a view of its
    /// own.
    fn read(&self, what: &str) -> (f64, f64) {
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let view = self.opened.state.view();
                let begun = Instant::now();
                if what == "queue" {
                    queue::first(&view, b"many", 0).unwrap();
                } else {
                    let range = |key: &str, end: Bytes| KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end };
                    let range = match what {
                        "" => range("\0", "\0".into()),
                        prefix if prefix.ends_with('/') => {
                            range(prefix, format!("{}0", &prefix[..prefix.len() - 1]).into())
                        }
                        key => range(key, Bytes::new()),
                    };
                    let query = RangeQuery { range, count_only: what.is_empty(), ..RangeQuery::default() };
                    read::range(&view, &query, view.bounds(), None).unwrap().unwrap();
                }
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        (micros(times[50]), micros(times[99]))
    }
}

/// One key, and a key of its own, each written and deleted.
fn round(n: u64) -> Vec<Command> {
    let other = Bytes::from(format!("many/{n}"));
    vec![put("one/key".into(), n), delete("one/key".into()), put(other.clone(), n), delete(other)]
}

fn put(key: Bytes, n: u64) -> Command {
    Command::Put(Put { key, value: n.to_be_bytes().to_vec().into(), ..Put::default() })
}

fn delete(key: Bytes) -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange { key, end: Bytes::new() }, prev_kv: false })
}
