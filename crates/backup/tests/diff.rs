//! What differs between two snapshots, against what was done between them.

mod common;

use common::{Store, all, commands, coordinated, make, put};
use conclave_backup::{Inventory, Kind, Snapshot};
use conclave_state::{Command, DeleteRange, KeyRange, LeaseGrant};
use proptest::prelude::*;

fn inventory(store: &Store) -> Inventory {
    Snapshot::new(&make(&store.view)[..]).inventory().expect("it can be read")
}

fn rows(before: &Inventory, after: &Inventory) -> Vec<String> {
    before.differences(after).iter().map(|difference| difference.row().join(" ")).collect()
}

#[test]
fn keys_and_leases_are_named_with_what_changed() {
    let mut store = Store::new();
    assert!(store.apply(&Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 1_500 })));
    for key in [1, 2, 3] {
        assert!(store.apply(&put(key, 3, 0)));
    }
    let before = inventory(&store);
    assert_eq!(rows(&before, &before), Vec::<String>::new());
    assert!(store.apply(&put(1, 3, 7)));
    assert!(store.apply(&put(2, 3, 0)));
    let gone = KeyRange { key: vec![b'a', 3].into(), end: vec![].into() };
    assert!(store.apply(&Command::DeleteRange(DeleteRange { range: gone, ..DeleteRange::default() })));
    assert!(store.apply(&put(4, 3, 0)));
    assert!(store.apply(&Command::LeaseGrant(LeaseGrant { id: -1, ttl_ms: 60_000 })));
    let after = inventory(&store);
    let expected = [
        r"changed key a\x01 lease, revision 2 5",
        r"changed key a\x02 revision 3 6",
        r"removed key a\x03 - 4 -",
        r"added key a\x04 - - 8",
        "added lease ffffffffffffffff - - 60000 ms",
    ];
    assert_eq!(rows(&before, &after), expected);
    // And back: what was added is removed.
    let back: Vec<&str> = before.differences(&after).iter().map(|difference| difference.change()).collect();
    assert_eq!(back, ["changed", "changed", "removed", "added", "added"]);
}

#[test]
fn coordination_is_told_by_election_lock_and_claim() {
    let before = inventory(&Store::new());
    let found = rows(&before, &inventory(&coordinated()));
    for expected in ["added election n/e", "added lock n/l", "added claim n/c", "added lease 1"] {
        assert!(found.iter().any(|row| row.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert!(!found.iter().any(|row| row.contains("/_conclave/")), "{found:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_differences_are_those_of_what_can_be_read(first in commands(), second in commands()) {
        let mut store = Store::new();
        let living = |store: &Store| all(&store.view, 0);
        for command in &first {
            store.apply(command);
        }
        let (before, then) = (inventory(&store), living(&store));
        for command in &second {
            store.apply(command);
        }
        let (after, now) = (inventory(&store), living(&store));
        let mut expected: Vec<Vec<u8>> = then.iter().filter(|(key, kv)| now.get(*key) != Some(kv)).map(|(key, _)| key.clone()).collect();
        expected.extend(now.keys().filter(|key| !then.contains_key(*key)).cloned());
        expected.sort();
        let found: Vec<Vec<u8>> = before
            .differences(&after)
            .into_iter()
            .filter(|difference| difference.kind == Kind::Key)
            .map(|difference| difference.name)
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(before.differences(&before).len(), 0);
    }
}
