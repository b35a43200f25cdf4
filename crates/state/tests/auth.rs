//! Rights against a naive model that asks key by key: random users, roles, ranges and transactions.

use bytes::Bytes;
use conclave_state::auth::{Login, Permission, PermissionKind};
use conclave_state::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every key that a range of the test can tell apart: up to two letters, each followed by nothing,
/// `\0` or something.
fn keys() -> Vec<Bytes> {
    let mut keys = BTreeSet::new();
    for first in [&b""[..], b"\0", b"a", b"b", b"c", b"d"] {
        for second in [&b""[..], b"\0", b"a", b"b", b"c", b"d"] {
            for third in [&b""[..], b"\0", b"a"] {
                keys.insert(Bytes::from([first, second, third].concat()));
            }
        }
    }
    keys.into_iter().collect()
}

fn within(range: &KeyRange, key: &[u8]) -> bool {
    match &range.end[..] {
        b"" => key == range.key,
        b"\0" => *key >= range.key[..],
        end => *key >= range.key[..] && key < end,
    }
}

/// A range that is not empty, as conversion and grants let pass.
fn range() -> impl Strategy<Value = KeyRange> {
    let key = || "[a-c]{1,2}";
    (key(), prop_oneof![Just(String::new()), Just("\0".to_owned()), key().prop_map(String::from)])
        .prop_filter("an interval", |(key, end)| end.is_empty() || end == "\0" || key < end)
        .prop_map(|(key, end)| KeyRange { key: key.into(), end: end.into() })
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        range().prop_map(|range| Op::Range(RangeQuery { range, ..RangeQuery::default() })),
        ("[a-c]{1,2}", any::<bool>(), 0..3i64)
            .prop_map(|(key, prev_kv, lease)| { Op::Put(Put { key: key.into(), prev_kv, lease, ..Put::default() }) }),
        (range(), any::<bool>()).prop_map(|(range, prev_kv)| Op::DeleteRange(DeleteRange { range, prev_kv })),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| txn_of(inner.boxed()).prop_map(Op::Txn))
}

fn txn_of(op: BoxedStrategy<Op>) -> impl Strategy<Value = Txn> {
    let compare = range().prop_map(|range| Compare { range, relation: Relation::Equal, target: Target::Version(0) });
    let ops = || prop::collection::vec(op.clone(), 0..2);
    (prop::collection::vec(compare, 0..2), ops(), ops()).prop_map(|(compares, success, failure)| Txn {
        compares,
        success,
        failure,
    })
}

fn kind() -> impl Strategy<Value = PermissionKind> {
    prop_oneof![Just(PermissionKind::Read), Just(PermissionKind::Write), Just(PermissionKind::ReadWrite)]
}

/// Of the user: what its roles say about each key.
struct Naive<'a> {
    granted: Vec<&'a (KeyRange, PermissionKind)>,
    /// The keys of each lease.
    leases: &'a BTreeMap<i64, Vec<Bytes>>,
}

impl Naive<'_> {
    fn has(&self, key: &[u8], wanted: PermissionKind) -> bool {
        self.granted
            .iter()
            .any(|(range, kind)| within(range, key) && (*kind == wanted || *kind == PermissionKind::ReadWrite))
    }

    fn all(&self, range: &KeyRange, wanted: PermissionKind) -> bool {
        keys().iter().filter(|key| within(range, key)).all(|key| self.has(key, wanted))
    }

    fn txn(&self, txn: &Txn) -> bool {
        let (read, write) = (PermissionKind::Read, PermissionKind::Write);
        txn.compares.iter().all(|compare| self.all(&compare.range, read))
            && txn.success.iter().chain(&txn.failure).all(|op| match op {
                Op::Range(query) => self.all(&query.range, read),
                Op::Put(put) => {
                    self.has(&put.key, write)
                        && (!put.prev_kv || self.has(&put.key, read))
                        && self.leases.get(&put.lease).into_iter().flatten().all(|key| self.has(key, write))
                }
                Op::DeleteRange(delete) => {
                    self.all(&delete.range, write) && (!delete.prev_kv || self.all(&delete.range, read))
                }
                Op::Txn(nested) => self.txn(nested),
            })
    }
}

struct Store(MemoryView, Machine, u64);

impl Store {
    fn apply(&mut self, command: &Command) -> Result<Response, Rejection> {
        self.2 += 1;
        let mut batch = self.1.begin(&self.0);
        let outcome = batch.apply(Position { index: self.2, term: 1 }, command, true).expect("memory can be read");
        let writes = batch.finish().writes;
        self.0.write(&writes);
        outcome.result
    }

    fn change(&mut self, change: AuthChange) {
        self.apply(&Command::Auth(Box::new(change)).by(root())).expect("root may");
    }
}

fn root() -> Caller {
    Caller::User(Arc::new(Login { user: "root".into(), revision: u64::MAX }))
}

fn user() -> Caller {
    Caller::User(Arc::new(Login { user: "al".into(), revision: u64::MAX }))
}

type Grants = Vec<(usize, KeyRange, PermissionKind)>;

/// `al` has the roles 0 and 1; role 2 is another's.
fn store(grants: &Grants, leases: &BTreeMap<i64, Vec<Bytes>>) -> Store {
    let view = MemoryView::new();
    let machine = Machine::load(&view).expect("an empty view");
    let mut store = Store(view, machine, 0);
    for name in ["root", "al", "bo"] {
        store.change(AuthChange::UserAdd { name: name.into(), hash: "h".into(), no_password: false });
    }
    store.change(AuthChange::UserGrant { user: "root".into(), role: "root".into() });
    for (role, user) in [("0", "al"), ("1", "al"), ("2", "bo")] {
        store.change(AuthChange::RoleAdd { name: role.into() });
        store.change(AuthChange::UserGrant { user: user.into(), role: role.into() });
    }
    store.change(AuthChange::Enable);
    for (role, range, kind) in grants {
        let permission = Permission { kind: *kind, range: range.clone() };
        store.change(AuthChange::RoleGrant { role: role.to_string(), permission });
    }
    for (lease, keys) in leases {
        let grant = LeaseGrant { id: *lease, ttl_ms: 1_000 };
        store.apply(&Command::LeaseGrant(grant).by(root())).expect("root may");
        for key in keys {
            let put = Put { key: key.clone(), lease: *lease, ..Put::default() };
            store.apply(&Command::Put(put).by(root())).expect("root may");
        }
    }
    store
}

fn leases() -> impl Strategy<Value = BTreeMap<i64, Vec<Bytes>>> {
    // Each key stands once, so that a later lease does not take it away.
    prop::collection::btree_map("[a-c]{1,2}", 1..3i64, 0..4).prop_map(|keys| {
        let mut leases = BTreeMap::from([(1, vec![]), (2, vec![])]);
        keys.into_iter().for_each(|(key, lease)| leases.entry(lease).or_insert_with(Vec::new).push(key.into()));
        leases
    })
}

const DENIED: Rejection = Rejection::Auth(AuthRefusal::PermissionDenied);

proptest! {
    #[test]
    fn a_transaction_passes_exactly_if_each_of_its_keys_does(
        grants in prop::collection::vec((0..3usize, range(), kind()), 0..6),
        leases in leases(),
        txn in txn_of(op().boxed()),
    ) {
        let mut store = store(&grants, &leases);
        // A second grant of a range in the same role replaces the first.
        let mut standing = BTreeMap::new();
        for (role, range, kind) in &grants {
            standing.insert((*role, range.key.clone(), range.end.clone()), (range.clone(), *kind));
        }
        let granted = standing.iter().filter(|((role, ..), _)| *role < 2).map(|(_, own)| own).collect();
        let naive = Naive { granted, leases: &leases };
        let allowed = naive.txn(&txn);
        if txn.only_reads() {
            let auth = conclave_state::auth::load(&store.0).expect("memory can be read");
            prop_assert_eq!(auth.check_reads(Some(&user()), &txn).is_ok(), allowed);
        }
        for (lease, keys) in &leases {
            let auth = store.1.auth().clone();
            let write = keys.iter().all(|key| naive.has(key, PermissionKind::Write));
            let read = keys.iter().all(|key| naive.has(key, PermissionKind::Read));
            let may = |found: Result<Result<(), AuthRefusal>, Fault>| found.expect("memory can be read").is_ok();
            prop_assert_eq!(may(auth.check_lease_write(Some(&user()), &store.0, *lease)), write);
            prop_assert_eq!(may(auth.check_lease_read(Some(&user()), &store.0, *lease)), read);
        }
        let before = store.0.clone();
        let result = store.apply(&Command::Txn(txn.clone()).by(user()));
        prop_assert_eq!(result == Err(DENIED), !allowed, "{:?}", result);
        if !allowed {
            prop_assert!(store.0 == before, "what is refused changes nothing");
        }
        // The same without a login, and from a restarted member.
        prop_assert_eq!(store.apply(&Command::Txn(txn.clone())), Err(Rejection::Auth(AuthRefusal::UserEmpty)));
        store.1 = Machine::load(&store.0).expect("memory can be read");
        let again = store.apply(&Command::Txn(txn).by(user()));
        prop_assert_eq!(again == Err(DENIED), !allowed);
    }
}

#[test]
fn users_and_roles_are_in_the_digest() {
    let view = MemoryView::new();
    let mut store = Store(view.clone(), Machine::load(&view).expect("an empty view"), 0);
    let mut digests = BTreeSet::from([store.1.digest()]);
    let name = || "al".to_owned();
    let changes = [
        AuthChange::UserAdd { name: name(), hash: "h".into(), no_password: false },
        AuthChange::UserPassword { name: name(), hash: "i".into() },
        AuthChange::RoleAdd { name: name() },
        AuthChange::UserGrant { user: name(), role: name() },
        AuthChange::UserRevoke { user: name(), role: name() },
        AuthChange::RoleDelete { name: name() },
        AuthChange::UserDelete { name: name() },
    ];
    let many = changes.len();
    for change in changes {
        store.change(change);
        digests.insert(store.1.digest());
    }
    assert_eq!(digests.len(), many + 1);
}
