//! What a snapshot is restored to: the same reads at each revision, and nothing that a token of
//! before could prove.

mod common;

use common::{Store, all, commands, coordinated, make, put};
use conclave_backup::{Raise, Snapshot};
use conclave_state::placement::{PlacementPolicy, PlacementRule, Preference, Whom};
use conclave_state::{
    Command, Coord, CoordBody, Enter, LeaseGrant, Machine, MemoryView, Name, PlacementChange, queue, read,
};
use proptest::prelude::*;

const AS_IT_IS: Raise = Raise { revisions: 0, mark_compacted: false };

fn restore(bytes: &[u8], raise: Raise) -> (MemoryView, conclave_backup::Report) {
    let mut view = MemoryView::new();
    let snapshot = Snapshot::new(bytes);
    let origin = snapshot.origin(raise).expect("readable");
    let report = snapshot.restore(&mut view, raise, origin).expect("sound");
    (view, report)
}

fn store(view: MemoryView) -> Store {
    let machine = Machine::load(&view).expect("memory");
    Store { view, machine, index: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_read_of_a_restored_history_is_the_same(before in commands(), after in commands(), swept in 0..80_usize) {
        let mut original = Store::new();
        for command in &before {
            original.apply(command);
        }
        let bounds = read::meta(&original.view).expect("memory").bounds();
        if swept > 0 {
            let (rows, _) = conclave_state::sweep::sweep(&original.view, 0, bounds.compacted, swept).expect("memory");
            original.view.remove(&rows);
        }
        let bytes = make(&original.view);
        let (view, report) = restore(&bytes, AS_IT_IS);
        prop_assert_eq!(&restore(&bytes, AS_IT_IS).0, &view, "the same on every member");
        prop_assert_eq!((report.raised_to, report.compacted), (bounds.current, bounds.compacted));
        prop_assert_eq!(read::meta(&view).expect("memory").bounds(), bounds);
        for revision in bounds.compacted.max(1)..=bounds.current {
            prop_assert_eq!(all(&view, revision), all(&original.view, revision), "revision {}", revision);
        }
        prop_assert_eq!(read::leases(&view).expect("memory"), read::leases(&original.view).expect("memory"));
        // What follows is decided alike, and leaves the same.
        let mut restored = store(view);
        for command in &after {
            prop_assert_eq!(restored.apply(command), original.apply(command), "{:?}", command);
        }
        prop_assert_eq!(all(&restored.view, 0), all(&original.view, 0));
        // A sweep removes what was restored as it removes what grew here.
        for store in [&mut restored, &mut original] {
            let compacted = read::meta(&store.view).expect("memory").compacted;
            store.view.remove(&conclave_state::sweep::sweep(&store.view, 0, compacted, usize::MAX).expect("memory").0);
        }
        let rows = |view: &MemoryView| {
            [conclave_state::Table::Kv, conclave_state::Table::Live, conclave_state::Table::Lease].map(|t| view.rows(t))
        };
        prop_assert_eq!(rows(&restored.view), rows(&original.view));
    }

    #[test]
    fn a_raised_history_is_compacted(before in commands()) {
        let mut original = Store::new();
        for command in &before {
            original.apply(command);
        }
        let revision = read::meta(&original.view).expect("memory").revision;
        let (view, report) = restore(&make(&original.view), Raise::default());
        prop_assert_eq!(report.raised_to, revision + 1_000_000_000);
        let bounds = read::meta(&view).expect("memory").bounds();
        prop_assert_eq!((bounds.compacted, bounds.current), (report.raised_to, report.raised_to));
        prop_assert_eq!(all(&view, 0), all(&original.view, 0));
    }
}

/// Keys that prove a tenure, with the revision that made them: what tokens compare.
fn proofs(view: &MemoryView) -> Vec<(Vec<u8>, i64)> {
    let proves = |key: &[u8]| {
        let key = String::from_utf8_lossy(key).into_owned();
        ["/leader/", "/holder/", "/tenure/", "q/"].iter().any(|part| key.contains(part)) && !key.contains("/q/")
    };
    all(view, 0).into_iter().filter(|(key, _)| proves(key)).map(|(key, (numbers, _))| (key, numbers[0])).collect()
}

#[test]
fn every_earlier_token_fails_and_every_later_fence_is_larger() {
    let original = coordinated();
    let before = proofs(&original.view);
    assert_eq!(before.len(), 5, "a leader, a holder, a tenure, two places: {before:?}");
    let (view, report) = restore(&make(&original.view), Raise::default());
    let renewed = report.renewed;
    assert_eq!((renewed.elections, renewed.locks, renewed.claims, renewed.places), (1, 2, 1, 2));
    let after = proofs(&view);
    for proof in &before {
        assert!(!after.contains(proof), "{proof:?} still holds");
    }
    assert!(after.iter().all(|(_, fence)| *fence > report.raised_to), "{after:?}");
    // The candidate that waited leads.
    assert!(after.iter().any(|(key, _)| key.starts_with(b"/_conclave/e/n/e/leader/")), "{after:?}");
    // The queue has its order.
    let first = |view: &MemoryView| queue::first(view, b"q", 0).expect("memory").map(|(_, key)| key);
    assert_eq!(first(&view), first(&original.view));
    assert!(first(&view).is_some());
    assert_eq!(read::leases(&view).expect("memory"), read::leases(&original.view).expect("memory"));
    // It is a state like any other: it can be saved, and it goes on.
    Snapshot::new(&make(&view)[..]).verify().expect("sound");
    let mut restored = store(view);
    let election = Name { namespace: "n".into(), name: "e".into() };
    let enter = Enter { election, candidate: "c1".into(), instance: "i".into(), ..Enter::default() };
    let body = CoordBody::Enter(enter);
    assert!(restored.apply(&Command::Coord(Box::new(Coord { session: 1, body, dedupe: None, expect: None }))));
    for id in [1, 2, -3] {
        assert!(restored.apply(&Command::LeaseRevoke { id }));
    }
    assert_eq!(proofs(&restored.view), []);
}

#[test]
fn a_restored_lease_has_its_whole_ttl_and_ends_its_keys() {
    let mut original = Store::new();
    assert!(original.apply(&Command::LeaseGrant(LeaseGrant { id: 9, ttl_ms: 5_001 })));
    assert!(original.apply(&put(1, 3, 9)));
    let (view, report) = restore(&make(&original.view), AS_IT_IS);
    assert_eq!((report.renewed.leaseless, report.renewed.foreign), (0, 0));
    assert_eq!(read::leases(&view).expect("memory"), [(9, 5_001)]);
    let mut restored = store(view);
    assert_eq!(all(&restored.view, 0).len(), 1);
    assert!(restored.apply(&Command::LeaseRevoke { id: 9 }));
    assert!(all(&restored.view, 0).is_empty());
}

#[test]
fn a_revision_that_cannot_be_raised_is_refused() {
    let mut original = Store::new();
    original.apply(&put(1, 1, 0));
    let bytes = make(&original.view);
    for revisions in [u64::MAX, i64::MAX.cast_unsigned(), 1 << 62] {
        let raise = Raise { revisions, mark_compacted: true };
        let refused = Snapshot::new(&bytes[..]).restore(&mut MemoryView::new(), raise, 0);
        assert!(refused.is_err(), "{revisions}");
    }
}

#[test]
fn the_policy_of_placement_is_restored_and_what_belongs_to_an_id_is_not() {
    let mut original = Store::new();
    let placement = |change| Command::Placement(Box::new(change));
    assert!(original.apply(&placement(PlacementChange::Maintenance { member: 7, on: true })));
    let without = make(&original.view);
    assert_eq!(read::placement(&restore(&without, AS_IT_IS).0).expect("memory"), PlacementPolicy::default());
    let rules = vec![PlacementRule { whom: Whom::Member("a".into()), preference: Preference::Never }];
    let policy = PlacementPolicy { rules, calm_ms: 5_000 };
    assert!(original.apply(&placement(PlacementChange::Policy(policy.clone()))));
    let (view, _) = restore(&make(&original.view), AS_IT_IS);
    assert_eq!(read::placement(&view).expect("memory"), policy);
    assert_eq!(read::in_maintenance(&view).expect("memory"), Vec::<u64>::new());
}
