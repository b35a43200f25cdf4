//! Fuzz targets of what a snapshot holds.

use crate::schema::{self, Revision};
use crate::{Facts, Maker, Raise, Snapshot, Step};
use conclave_state::{Command, LeaseGrant, Machine, MemoryView, Position, Put};

fn snapshot() -> Vec<u8> {
    let mut view = MemoryView::new();
    let mut machine = Machine::load(&view).expect("memory");
    let mut batch = machine.begin(&view);
    let put = |lease| Put { key: "k".into(), value: "v".into(), lease, ..Put::default() };
    let commands =
        [Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 1_500 }), Command::Put(put(0)), Command::Put(put(7))];
    for command in &commands {
        batch.apply(Position { index: 1, term: 1 }, command, false).expect("memory");
    }
    let writes = batch.finish().writes;
    view.write(&writes);
    let mut maker = Maker::new(Facts::default(), tempfile::tempfile().expect("a file"));
    let mut bytes = Vec::new();
    loop {
        match maker.step(&view).expect("it is made") {
            Step::Working => {}
            Step::Bytes(more) => bytes.extend(more),
            Step::Hash(hash) => return [&bytes[..], &hash].concat(),
        }
    }
}

/// Whole files. Most of a file is padding, which mutations seldom leave; `contents_of_a_snapshot`
/// goes further.
#[test]
fn fuzz_snapshot_file() {
    conclave_fuzz::target!("snapshot_file").brief(300).seed(snapshot()).run(|bytes| {
        let snapshot = Snapshot::new(bytes);
        let restored = snapshot.restore(&mut MemoryView::new(), Raise::default(), 0);
        format!("{:?} {:?} {:?} {restored:?}", snapshot.check_hash().is_ok(), snapshot.status(), snapshot.verify())
    });
}

/// Pairs in a sound file: bucket, key and value, each with its length before it.
#[test]
fn fuzz_contents_of_a_snapshot() {
    let pair = |bucket: &[u8], key: &[u8], value: &[u8]| {
        [bucket, key, value].map(|part| [&[part.len() as u8][..], part].concat()).concat()
    };
    let revision = |main| Revision { main, sub: 0, deleted: false }.encode();
    let seeds = [
        pair(schema::KEY, &revision(2), &[10, 1, b'k', 16, 2, 24, 2, 32, 1, 42, 1, b'v']),
        pair(schema::LEASE, &7_i64.to_be_bytes(), &[8, 7, 16, 60]),
        pair(schema::META, schema::FINISHED_COMPACTION, &revision(5)),
        [
            pair(schema::AUTH, schema::AUTH_ENABLED, &[1]),
            pair(schema::AUTH_ROLES, b"r", b"\x0a\x01r\x12\x08\x08\x02\x12\x01k\x1a\x01l"),
            pair(schema::AUTH_USERS, b"root", b"\x0a\x04root\x1a\x04root\x1a\x01r"),
        ]
        .concat(),
        [pair(schema::CONCLAVE, schema::FORMAT, b"1"), pair(schema::CONCLAVE, b"coord/x", &[1, 5])].concat(),
    ];
    conclave_fuzz::target!("contents_of_a_snapshot").seeds(seeds).run(|mut bytes| {
        let mut take = || {
            let (size, rest) = bytes.split_first()?;
            let (part, rest) = rest.split_at_checked(usize::from(*size))?;
            bytes = rest;
            Some(part.to_vec())
        };
        let mut buckets: std::collections::BTreeMap<Vec<u8>, std::collections::BTreeMap<Vec<u8>, Vec<u8>>> =
            std::collections::BTreeMap::new();
        while let (Some(bucket), Some(key), Some(value)) = (take(), take(), take()) {
            if !bucket.is_empty() && !key.is_empty() {
                buckets.entry(bucket).or_default().insert(key, value);
            }
        }
        fn fill<W: std::io::Write>(
            mut writer: conclave_bolt::Writer<W>,
            buckets: &std::collections::BTreeMap<Vec<u8>, std::collections::BTreeMap<Vec<u8>, Vec<u8>>>,
        ) -> (conclave_bolt::Plan, W) {
            for (name, pairs) in buckets {
                writer.bucket(name).expect("a name");
                for (key, value) in pairs {
                    writer.pair(key, value).expect("a pair");
                }
            }
            writer.finish().expect("it is written")
        }
        let (plan, _) = fill(conclave_bolt::Writer::measure(1024), &buckets);
        let (_, file) = fill(conclave_bolt::Writer::new(Vec::new(), plan).expect("it is begun"), &buckets);
        let snapshot = Snapshot::new(&file[..]);
        let restored = snapshot.restore(&mut MemoryView::new(), Raise { revisions: 5, mark_compacted: false }, 0);
        format!("{:?} {:?} {restored:?}", snapshot.status(), snapshot.verify())
    });
}
