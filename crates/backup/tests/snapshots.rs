//! Snapshots of random histories say what the state says, however far a sweep has come; damaged
//! ones are refused.

mod common;

use common::{Store, all, commands, coordinated, facts, make, put};
use conclave_backup::{Hash, Maker, Snapshot, Step};
use conclave_bolt::Reader;
use conclave_state::{read, sweep};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn bucket(bytes: &[u8], name: &str) -> Pairs {
    let reader = Reader::open(bytes).expect("a file");
    let buckets = reader.buckets().expect("its buckets");
    let bucket = buckets.iter().find(|bucket| bucket.name == name.as_bytes()).expect("the bucket is there");
    let mut pairs = Pairs::new();
    reader
        .pairs(bucket, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok::<_, conclave_bolt::ReadError>(())
        })
        .expect("it can be read");
    pairs
}

/// `mvccpb.KeyValue`, decoded by hand: key, and all that a client sees of the version.
fn fields(mut bytes: &[u8]) -> (Vec<u8>, [i64; 4], Vec<u8>) {
    let (mut key, mut numbers, mut value) = (vec![], [0; 4], vec![]);
    while !bytes.is_empty() {
        let tag = prost::encoding::decode_varint(&mut bytes).expect("a tag");
        let number = prost::encoding::decode_varint(&mut bytes).expect("a number or a length");
        match (tag >> 3, tag & 7) {
            (field @ (1 | 5), 2) => {
                let (part, rest) = bytes.split_at(number as usize);
                bytes = rest;
                if field == 1 { key = part.to_vec() } else { value = part.to_vec() }
            }
            (field @ (2..=4), 0) => numbers[field as usize - 2] = number.cast_signed(),
            (6, 0) => numbers[3] = number.cast_signed(),
            other => panic!("an unknown field {other:?}"),
        }
    }
    (key, numbers, value)
}

/// All that can be read at one revision, from the bucket `key` of a file.
fn at_revision(history: &Pairs, revision: i64) -> BTreeMap<Vec<u8>, ([i64; 4], Vec<u8>)> {
    let mut living = BTreeMap::new();
    for (row, value) in history {
        if i64::from_be_bytes(*row.first_chunk().expect("a revision")) > revision {
            break;
        }
        let (key, numbers, value) = fields(value);
        if row.len() == 18 {
            living.remove(&key)
        } else {
            living.insert(key, (numbers, value))
        };
    }
    living
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_is_the_state_at_each_revision_that_can_be_read(
        commands in commands(),
        swept in 0..80_usize,
    ) {
        let mut store = Store::new();
        for command in &commands {
            store.apply(command);
        }
        let bounds = read::meta(&store.view).expect("memory").bounds();
        let (obsolete, _) = sweep::sweep(&store.view, 0, bounds.compacted, usize::MAX).expect("memory");
        // The rows of a change are removed together.
        if swept > 0 {
            store.view.remove(&sweep::sweep(&store.view, 0, bounds.compacted, swept).expect("memory").0);
        }
        let bytes = make(&store.view);
        let history = bucket(&bytes, "key");
        for revision in bounds.compacted.max(1)..=bounds.current {
            prop_assert_eq!(at_revision(&history, revision), all(&store.view, revision), "revision {}", revision);
        }
        let snapshot = Snapshot::new(&bytes[..]);
        prop_assert_eq!(snapshot.check_hash().expect("sound"), Hash::Sound);
        let counts = snapshot.verify().expect("sound");
        let status = snapshot.status().expect("sound");
        let living = all(&store.view, 0).len();
        prop_assert_eq!((counts.revision, counts.compacted, counts.living_keys), (bounds.current, bounds.compacted, living));
        prop_assert_eq!((status.total_key, status.total_size), (living, bytes.len() as u64 - 32));
        prop_assert_eq!(counts.leases, read::leases(&store.view).expect("memory").len());
        // It depends on the state alone, and not on how far the sweep has come.
        let all = {
            store.view.remove(&obsolete);
            make(&store.view)
        };
        prop_assert_eq!(all, bytes);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_found(at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut store = Store::new();
        for key in 0..200 {
            store.apply(&put(key, 100, 0));
        }
        let mut bytes = make(&store.view);
        let at = at.index(bytes.len());
        let cut = Snapshot::new(&bytes[..at]);
        prop_assert!(!matches!(cut.check_hash(), Ok(Hash::Sound)));
        bytes[at] ^= 1_u8 << bit;
        let damaged = Snapshot::new(&bytes[..]);
        prop_assert!(damaged.check_hash().is_err());
        // Without the hash there may be other contents, or an error.
        let _ = (damaged.status(), damaged.verify());
    }
}

#[test]
fn what_etcd_does_not_know_has_a_bucket_of_its_own() {
    let store = coordinated();
    let bytes = make(&store.view);
    let counts = Snapshot::new(&bytes[..]).verify().expect("sound");
    assert!(counts.conclave && counts.coordination > 10, "{counts:?}");
    assert_eq!(counts.leases, 3);
    let own = bucket(&bytes, "conclave");
    let with = |prefix: &str| own.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes())).count();
    assert_eq!((with("format"), with("lease/"), with("lock/"), with("store")), (1, 3, 2, 1));
    assert_eq!(with("coord/") + 7, own.len());
    assert_eq!(with("coord/"), store.view.rows(conclave_state::Table::Coord));
    assert_eq!(bucket(&bytes, "alarm"), [(vec![8, 7, 16, 1], vec![])]);
    let ids: Vec<i64> =
        bucket(&bytes, "lease").iter().map(|(key, _)| i64::from_be_bytes(key[..].try_into().expect("an id"))).collect();
    assert_eq!(ids, [1, 2, -3], "unsigned order");
    let members = bucket(&bytes, "members");
    assert_eq!(members[0].0, b"1");
    let text = String::from_utf8(members[1].1.clone()).expect("JSON");
    let expected =
        r#"{"id":255,"peerURLs":["http://127.0.0.1:2380"],"name":"m255","clientURLs":["http://127.0.0.1:2379"]}"#;
    assert_eq!(text, expected);
    let meta: BTreeMap<Vec<u8>, Vec<u8>> = bucket(&bytes, "meta").into_iter().collect();
    assert_eq!(meta[&b"confState"[..]], br#"{"voters":[255],"learners":[1],"auto_leave":false}"#);
    assert_eq!(meta[&b"consistent_index"[..]], 77_u64.to_be_bytes());
    assert_eq!(meta[&b"storageVersion"[..]], b"3.6.0");
    let auth: Pairs =
        vec![(b"authEnabled".to_vec(), vec![0]), (b"authRevision".to_vec(), vec![0, 0, 0, 0, 0, 0, 0, 1])];
    assert_eq!(bucket(&bytes, "auth"), auth);
    for empty in ["authRoles", "authUsers", "cluster", "members_removed"] {
        assert!(bucket(&bytes, empty).is_empty());
    }
}

#[test]
fn large_values_come_in_pieces() {
    let mut store = Store::new();
    for key in 0..40 {
        store.apply(&put(key, 200_000, 0));
    }
    let mut maker = Maker::new(facts(), tempfile::tempfile().expect("a file"));
    let mut largest = 0;
    loop {
        match maker.step(&store.view).expect("it is made") {
            Step::Working => {}
            Step::Bytes(bytes) => largest = largest.max(bytes.len()),
            Step::Hash(_) => break,
        }
    }
    assert!(largest < 1 << 20, "{largest}");
}
