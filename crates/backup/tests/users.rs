//! Users and roles in snapshots: they come back as they were, with a larger auth revision; what
//! cannot be is refused.

mod common;

use common::{Store, coordinated, make};
use conclave_backup::{Raise, Snapshot, SnapshotError};
use conclave_bolt::{Plan, Reader, Writer};
use conclave_state::auth::{self, Permission, PermissionKind};
use conclave_state::{Auth, AuthChange, By, Caller, Command, KeyRange, MemoryView, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;

const HASH: &str = "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const AS_IT_IS: Raise = Raise { revisions: 0, mark_compacted: false };

fn change(store: &mut Store, change: AuthChange) -> bool {
    store.apply(&Command::By(Box::new(By { caller: Caller::Server, command: Command::Auth(Box::new(change)) })))
}

fn changes() -> impl Strategy<Value = Vec<AuthChange>> {
    let name = prop_oneof![Just("root"), Just("al"), Just("bo"), Just("\u{e9}"), Just("a/b")].prop_map(String::from);
    let key = || prop::sample::select(vec![&b""[..], b"\0", b"a", b"b", b"\xff\xff"]);
    let kind = prop_oneof![Just(PermissionKind::Read), Just(PermissionKind::Write), Just(PermissionKind::ReadWrite)];
    let permission = (kind, key(), key())
        .prop_map(|(kind, key, end)| Permission { kind, range: KeyRange { key: key.into(), end: end.into() } });
    let two = || (name.clone(), name.clone());
    let change = prop_oneof![
        1 => Just(AuthChange::Enable),
        1 => Just(AuthChange::Disable),
        4 => (name.clone(), any::<bool>()).prop_map(|(name, no_password)| {
            AuthChange::UserAdd { name, hash: HASH.into(), no_password }
        }),
        1 => name.clone().prop_map(|name| AuthChange::UserDelete { name }),
        1 => name.clone().prop_map(|name| AuthChange::UserPassword { name, hash: HASH.replace("$04", "$12") }),
        6 => two().prop_map(|(user, role)| AuthChange::UserGrant { user, role }),
        1 => two().prop_map(|(user, role)| AuthChange::UserRevoke { user, role }),
        4 => name.clone().prop_map(|name| AuthChange::RoleAdd { name }),
        1 => name.clone().prop_map(|name| AuthChange::RoleDelete { name }),
        6 => (name.clone(), permission).prop_map(|(role, permission)| AuthChange::RoleGrant { role, permission }),
    ];
    prop::collection::vec(change, 0..60)
}

fn restore(bytes: &[u8], raise: Raise) -> Result<(MemoryView, conclave_backup::Report), SnapshotError> {
    let mut view = MemoryView::new();
    let report = Snapshot::new(bytes).restore(&mut view, raise, 0)?;
    Ok((view, report))
}

fn load(view: &MemoryView) -> Auth {
    auth::load(view).expect("memory")
}

/// All but the revision.
fn content(auth: &Auth) -> String {
    let users: Vec<_> = auth.users().map(|(name, user)| (name, &user.hash, user)).collect();
    format!("{} {users:?} {:?}", auth.enabled(), auth.roles().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn users_and_roles_come_back(all in changes(), revisions in prop_oneof![Just(0), Just(1), Just(1_000_000_000_u64)]) {
        let mut original = Store::new();
        for one in all {
            change(&mut original, one);
        }
        let before = load(&original.view);
        let bytes = make(&original.view);
        let counts = Snapshot::new(&bytes[..]).verify().expect("sound");
        prop_assert_eq!((counts.users, counts.roles), (before.users().count() as u64, before.roles().count() as u64));
        prop_assert_eq!((counts.auth_enabled, counts.auth_revision), (before.enabled(), before.revision()));
        let (view, report) = restore(&bytes, Raise { revisions, mark_compacted: false }).expect("sound");
        let after = load(&view);
        prop_assert_eq!(content(&after), content(&before));
        prop_assert_eq!(after.revision(), before.revision() + revisions.max(1));
        prop_assert_eq!(after.revision(), report.auth_revision);
        prop_assert_eq!(&restore(&bytes, Raise { revisions, mark_compacted: false }).expect("sound").0, &view);
        // And once more, of what was restored.
        let (again, _) = restore(&make(&view), AS_IT_IS).expect("sound");
        prop_assert_eq!(content(&load(&again)), content(&before));
    }
}

/// Users root and al, checked.
fn enable(store: &mut Store) {
    let user = |name: &str| AuthChange::UserAdd { name: name.into(), hash: HASH.into(), no_password: false };
    let grant = |user: &str, role: &str| AuthChange::UserGrant { user: user.into(), role: role.into() };
    let permission = Permission { kind: PermissionKind::Read, range: KeyRange { key: "k".into(), end: "l".into() } };
    for one in [
        user("root"),
        grant("root", "root"),
        user("al"),
        AuthChange::RoleAdd { name: "r".into() },
        AuthChange::RoleGrant { role: "r".into(), permission },
        grant("al", "r"),
        AuthChange::Enable,
    ] {
        assert!(change(store, one.clone()), "{one:?}");
    }
}

/// What ends tenures must not be refused because users are checked.
#[test]
fn tenures_end_although_users_are_checked() {
    let (open, mut checked) = (coordinated(), coordinated());
    enable(&mut checked);
    let (without, expected) = restore(&make(&open.view), Raise::default()).expect("sound");
    let (with, report) = restore(&make(&checked.view), Raise::default()).expect("sound");
    assert!(load(&with).enabled());
    assert_eq!(report.renewed, expected.renewed);
    assert_eq!(common::all(&with, 0), common::all(&without, 0));
    assert_eq!(with.rows(Table::Coord), without.rows(Table::Coord));
}

/// More users than are written in one step.
#[test]
fn many_users_come_in_pieces() {
    let mut store = Store::new();
    for n in 0..2_500 {
        let name = format!("user{n}");
        assert!(change(&mut store, AuthChange::UserAdd { name, hash: HASH.into(), no_password: false }));
        assert!(change(&mut store, AuthChange::RoleAdd { name: format!("role{n}") }));
    }
    let (view, report) = restore(&make(&store.view), AS_IT_IS).expect("sound");
    assert_eq!((report.counts.users, report.counts.roles), (2_500, 2_500));
    assert_eq!(content(&load(&view)), content(&load(&store.view)));
}

type Buckets = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

fn buckets(bytes: &[u8]) -> Buckets {
    let mut all = Buckets::new();
    let reader = Reader::open(bytes).expect("a file");
    reader
        .everything(&mut |bucket, pair| {
            let bucket = all.entry(bucket.to_vec()).or_default();
            if let Some((key, value)) = pair {
                bucket.insert(key.to_vec(), value.to_vec());
            }
            Ok::<_, conclave_bolt::ReadError>(())
        })
        .expect("it can be read");
    all
}

fn fill<W: Write>(mut writer: Writer<W>, buckets: &Buckets) -> (Plan, W) {
    for (name, pairs) in buckets {
        writer.bucket(name).expect("a name");
        for (key, value) in pairs {
            writer.pair(key, value).expect("a pair");
        }
    }
    writer.finish().expect("it is written")
}

fn file(buckets: &Buckets) -> Vec<u8> {
    let (plan, _) = fill(Writer::measure(conclave_bolt::PAGE_SIZE), buckets);
    fill(Writer::new(Vec::new(), plan).expect("it is begun"), buckets).1
}

/// A file that was changed by hand: why it is refused, and that nothing was written.
#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let mut store = Store::new();
    enable(&mut store);
    let sound = buckets(&make(&store.view));
    assert!(restore(&file(&sound), AS_IT_IS).is_ok());
    let root = |value: &[u8]| ("authUsers", "root", Some(value.to_vec()));
    let plain = [&b"\x0a\x04root\x12\x06secret\x1a\x04root"[..]].concat();
    for ((bucket, key, value), text) in [
        (("authUsers", "root", None), "no user root with the role root"),
        (root(b"\x0a\x04root"), "no user root with the role root"),
        (root(&plain), "the password of user \"root\" is not a hash of bcrypt"),
        (root(b"\x0a\x02al"), "has another name inside"),
        (root(b"\xff"), "the user under \"root\" cannot be read"),
        (("authRoles", "r", None), "user \"al\" has the role \"r\", which there is not"),
        (("authRoles", "r", Some(b"\x0a\x01r\x12\x05\x08\x03\x12\x01k".to_vec())), "of the unknown type 3"),
        (("authRoles", "r", Some(b"\x0a\x01r\x12\x06\x12\x01k\x1a\x01a".to_vec())), "where no key is"),
        (("authRoles", "r", Some(b"\xff".to_vec())), "the role under \"r\" cannot be read"),
        (("auth", "authEnabled", Some(vec![2])), "authEnabled has the value"),
        (("auth", "authRevision", Some(vec![1])), "authRevision has the value"),
        (("auth", "authRevision", Some(vec![0xff; 8])), "cannot be raised"),
        (("auth", "other", Some(vec![])), "in the bucket auth is not known"),
    ] {
        let mut damaged = sound.clone();
        let pairs = damaged.get_mut(bucket.as_bytes()).expect("the bucket");
        match value {
            Some(value) => pairs.insert(key.into(), value),
            None => pairs.remove(key.as_bytes()),
        };
        let mut view = MemoryView::new();
        let refused = Snapshot::new(&file(&damaged)[..]).restore(&mut view, AS_IT_IS, 0).expect_err(text).to_string();
        assert!(refused.contains(text) && !refused.contains("secret"), "{text}: {refused}");
        assert_eq!(view, MemoryView::new(), "{text}");
    }
}

/// A file of etcd before users were ever used there has an empty bucket, or none.
#[test]
fn a_file_without_users_has_them_off() {
    let mut without = buckets(&make(&Store::new().view));
    without.insert(b"auth".to_vec(), BTreeMap::new());
    for missing in [false, true] {
        if missing {
            for bucket in ["auth", "authRoles", "authUsers"] {
                without.remove(bucket.as_bytes());
            }
        }
        let (view, report) = restore(&file(&without), AS_IT_IS).expect("sound");
        assert!(!load(&view).enabled() && load(&view).revision() >= 1);
        assert_eq!((report.counts.users, report.counts.roles, report.counts.auth_enabled), (0, 0, false));
    }
}
