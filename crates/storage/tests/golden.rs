//! The bytes of every kind of record and of every command, as they were first written. A change
//! here is a change of format: data directories and running clusters hold these bytes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod common;

use bytes::Bytes;
use conclave_state::auth::{AuthChange, Caller, Login, Permission, PermissionKind};
use conclave_state::coord::{Coord, CoordBody, CoordTimer, Enter};
use conclave_state::placement::{Labels, PlacementPolicy, PlacementRule, Preference, Whom};
use conclave_state::{
    Alarm, AlarmChange, AlarmKind, Cancel, Command, Compare, DeleteRange, Dequeue, DequeueBy, Enqueue, Expire, Join,
    KeyRange, LeaseGrant, Member, Name, Op, Order, PlaceId, PlacementChange, Proclaim, PromoteWhenReady, Put,
    QueueKind, RangeQuery, Relation, SortBy, Supports, Target, Txn, Version, VersionChange,
};
use conclave_storage::types::{Entry, MemberNode, Membership, Payload, SnapshotMeta, StoredMembership, log_id, vote};
use conclave_storage::{Pack, codec, read_identity, write_identity};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

fn bytes(s: &'static str) -> Bytes {
    Bytes::from_static(s.as_bytes())
}

fn put() -> Put {
    Put { key: bytes("k"), value: bytes("v"), lease: -2, prev_kv: true, ignore_value: false, ignore_lease: true }
}

fn range() -> KeyRange {
    KeyRange { key: bytes("a"), end: bytes("b") }
}

fn query() -> RangeQuery {
    RangeQuery {
        range: range(),
        limit: 3,
        revision: -1,
        order: Order::Descend,
        sort_by: SortBy::ModRevision,
        keys_only: true,
        count_only: false,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 300,
    }
}

fn txn() -> Txn {
    let compare = |relation, target| Compare { range: range(), relation, target };
    Txn {
        compares: vec![
            compare(Relation::Equal, Target::Version(1)),
            compare(Relation::Greater, Target::CreateRevision(2)),
            compare(Relation::Less, Target::ModRevision(3)),
            compare(Relation::NotEqual, Target::Value(bytes("x"))),
            compare(Relation::Equal, Target::Lease(-9)),
        ],
        success: vec![Op::Range(query()), Op::Put(put())],
        failure: vec![Op::DeleteRange(DeleteRange { range: range(), prev_kv: true }), Op::Txn(Txn::default())],
    }
}

/// One of each. The match makes a new variant ask for its line.
fn commands() -> Vec<(&'static str, Command)> {
    let cancel = |place| Command::Cancel(Cancel { session: -7, attempt: u64::MAX - 1, place });
    let mut all = vec![
        Command::Put(put()),
        Command::DeleteRange(DeleteRange { range: range(), prev_kv: true }),
        Command::Txn(txn()),
        Command::Compact { revision: 77 },
        Command::LeaseGrant(LeaseGrant { id: 5, ttl_ms: 60_000 }),
        Command::LeaseRevoke { id: i64::MIN },
        Command::Expire(Expire { leases: vec![1, -1, 1 << 40], term: 9, observed: 300 }),
        Command::Enqueue(Enqueue {
            kind: QueueKind::Election,
            name: bytes("n"),
            lease: 7,
            grant_ttl_ms: 30_000,
            value: bytes("me"),
            attempt: u64::MAX - 1,
        }),
        Command::Dequeue(Dequeue { key: bytes("n/7"), by: DequeueBy::CreateRevision(12) }),
        Command::Proclaim(Proclaim { key: bytes("n/7"), create_revision: 12, value: bytes("new") }),
        Command::Announce(Member { id: u64::MAX, name: "a".into(), client_urls: vec!["http://h:1".into()] }),
        Command::Alarm(AlarmChange { raise: true, alarm: Alarm { member: 3, kind: AlarmKind::Corrupt } }),
        Command::Coord(Box::new(Coord {
            session: 7,
            dedupe: Some([9; 16]),
            expect: None,
            body: CoordBody::Enter(Enter { candidate: "a".into(), priority: 2, ..Enter::default() }),
        })),
        Command::CoordTimer(CoordTimer { ids: vec![1, 300], term: 9 }),
        cancel(PlaceId::Key(bytes("n/7"))),
        cancel(PlaceId::Candidate {
            election: Name { namespace: "n".into(), name: "e".into() },
            candidate: "a".into(),
        }),
        cancel(PlaceId::Request { fence: 12, dedupe: Some([9; 16]) }),
        Command::Join(Join { member: 7, incarnation: 300 }),
    ];
    all.extend(version_changes());
    all.push(Command::PromoteWhenReady(PromoteWhenReady { member: 7, wanted: true }));
    all.extend(placement_changes());
    all.extend(auth_changes());
    all.extend([
        Command::LeaseRevoke { id: 7 }.by(Caller::Server),
        Command::LeaseRevoke { id: 7 }.by(Caller::User(Arc::new(Login { user: "u".into(), revision: 300 }))),
    ]);
    all.into_iter().map(|c| (name_of(&c), c)).collect()
}

fn version_changes() -> Vec<Command> {
    let version = |minor| Version { major: 3, minor };
    let supports =
        Supports { oldest: version(1), newest: version(300), peer_protocol: 1, command_form: 2, disk_format: 3 };
    vec![
        Command::Version(VersionChange::Announce { member: 7, supports }),
        Command::Version(VersionChange::Raise { to: version(2) }),
        Command::Version(VersionChange::Downgrade { to: version(1) }),
        Command::Version(VersionChange::CancelDowngrade),
        Command::Version(VersionChange::EndDowngrade),
    ]
}

fn placement_changes() -> Vec<Command> {
    let placement = |change| Command::Placement(Box::new(change));
    let label = |value: &str| Labels::from([("zone".to_owned(), value.to_owned())]);
    let rules = vec![
        PlacementRule { whom: Whom::Member("n1".into()), preference: Preference::Never },
        PlacementRule {
            whom: Whom::Label { name: "zone".into(), value: "a".into() },
            preference: Preference::Weight(300),
        },
    ];
    vec![
        placement(PlacementChange::Labels { member: 7, labels: label("a") }),
        placement(PlacementChange::Maintenance { member: 7, on: true }),
        placement(PlacementChange::Policy(PlacementPolicy { rules, calm_ms: 5_000 })),
    ]
}

fn auth_changes() -> Vec<Command> {
    let auth = |change| Command::Auth(Box::new(change));
    vec![
        auth(AuthChange::Enable),
        auth(AuthChange::Disable),
        auth(AuthChange::UserAdd { name: "u".into(), hash: "h".into(), no_password: true }),
        auth(AuthChange::UserDelete { name: "u".into() }),
        auth(AuthChange::UserPassword { name: "u".into(), hash: "h".into() }),
        auth(AuthChange::UserGrant { user: "u".into(), role: "r".into() }),
        auth(AuthChange::UserRevoke { user: "u".into(), role: "r".into() }),
        auth(AuthChange::RoleAdd { name: "r".into() }),
        auth(AuthChange::RoleDelete { name: "r".into() }),
        auth(AuthChange::RoleGrant {
            role: "r".into(),
            permission: Permission { kind: PermissionKind::ReadWrite, range: range() },
        }),
        auth(AuthChange::RoleRevoke { role: "r".into(), range: range() }),
        auth(AuthChange::SignIn { user: "u".into(), revision: 300, token: [9; 32] }),
    ]
}

fn name_of(c: &Command) -> &'static str {
    match c {
        Command::Put(_) => "put",
        Command::DeleteRange(_) => "delete-range",
        Command::Txn(_) => "txn",
        Command::Compact { .. } => "compact",
        Command::LeaseGrant(_) => "lease-grant",
        Command::LeaseRevoke { .. } => "lease-revoke",
        Command::Expire(_) => "expire",
        Command::Enqueue(_) => "enqueue",
        Command::Dequeue(_) => "dequeue",
        Command::Proclaim(_) => "proclaim",
        Command::Announce(_) => "announce",
        Command::Alarm(_) => "alarm",
        Command::Coord(_) => "coord",
        Command::CoordTimer(_) => "coord-timer",
        Command::Join(_) => "join",
        Command::Version(_) => "version",
        Command::PromoteWhenReady(_) => "promote-when-ready",
        Command::Placement(change) => match **change {
            PlacementChange::Labels { .. } => "placement labels",
            PlacementChange::Maintenance { .. } => "placement maintenance",
            PlacementChange::Policy(_) => "placement policy",
        },
        Command::Cancel(cancel) => match cancel.place {
            PlaceId::Key(_) => "cancel key",
            PlaceId::Candidate { .. } => "cancel candidate",
            PlaceId::Request { .. } => "cancel request",
        },
        Command::Auth(change) => match **change {
            AuthChange::Enable => "auth enable",
            AuthChange::Disable => "auth disable",
            AuthChange::UserAdd { .. } => "auth user-add",
            AuthChange::UserDelete { .. } => "auth user-delete",
            AuthChange::UserPassword { .. } => "auth user-password",
            AuthChange::UserGrant { .. } => "auth user-grant",
            AuthChange::UserRevoke { .. } => "auth user-revoke",
            AuthChange::RoleAdd { .. } => "auth role-add",
            AuthChange::RoleDelete { .. } => "auth role-delete",
            AuthChange::RoleGrant { .. } => "auth role-grant",
            AuthChange::RoleRevoke { .. } => "auth role-revoke",
            AuthChange::SignIn { .. } => "auth sign-in",
        },
        Command::By(by) => match by.caller {
            Caller::Server => "by the server",
            Caller::User(_) => "by a user",
        },
    }
}

fn membership() -> Membership {
    let node = |name: &str| MemberNode { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] };
    let nodes = BTreeMap::from([(1, node("one")), (2, node("two")), (300, node("three"))]);
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 300])], nodes).unwrap()
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut record = Vec::new();
    codec::encode_entry(entry, &mut record);
    record
}

fn records() -> Vec<(String, Vec<u8>)> {
    let stored = StoredMembership::new(Some(log_id(2, 5)), membership());
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, command) in commands() {
        let mut out = Vec::new();
        codec::encode_command(&command, &mut out);
        all.push((format!("command {name}"), out));
    }
    let payload = |payload| encoded(&Entry { log_id: log_id(3, 1000), payload });
    let segment = common::segment(
        0x0102,
        3,
        &[Command::Compact { revision: 1 }, Command::Dequeue(Dequeue { key: bytes("k"), by: DequeueBy::Lock })],
    );
    let dir = tempfile::tempdir().unwrap();
    write_identity(dir.path(), &common::identity()).unwrap();
    assert_eq!(read_identity(dir.path()).unwrap(), Some(common::identity()));
    all.extend([
        ("segment".to_owned(), segment.to_vec()),
        ("entry blank".to_owned(), payload(Payload::Blank)),
        ("entry commands".to_owned(), payload(Payload::Normal(Pack::join(vec![segment.clone(), segment])))),
        ("entry membership".to_owned(), payload(Payload::Membership(membership()))),
        ("log id".to_owned(), codec::encode_log_id(&log_id(7, 300))),
        ("vote".to_owned(), codec::encode_vote(&vote(7, u64::MAX, true))),
        ("membership".to_owned(), codec::encode_membership(&stored)),
        ("membership none".to_owned(), codec::encode_membership(&StoredMembership::default())),
        (
            "snapshot metadata".to_owned(),
            codec::encode_snapshot_meta(&SnapshotMeta { last_log_id: Some(log_id(2, 9)), last_membership: stored }),
        ),
        ("identity".to_owned(), std::fs::read(dir.path().join("IDENTITY")).unwrap()),
    ]);
    all
}

#[test]
fn every_record_is_written_as_it_always_was() {
    let line = |(name, record): &(String, Vec<u8>)| {
        let mut line = format!("{name}:");
        record.iter().for_each(|b| write!(line, " {b:02x}").unwrap());
        line
    };
    let now: Vec<String> = records().iter().map(line).collect();
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
        return std::fs::write(path, now.join("\n") + "\n").unwrap();
    }
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(now, golden, "the format has changed; UPDATE_GOLDEN=1 records it anew");
}

#[test]
fn every_record_comes_back() {
    for (name, command) in commands() {
        let mut out = Vec::new();
        let size = codec::encode_command(&command, &mut out);
        assert_eq!(codec::decode_command(&out).unwrap(), (command, size), "{name}");
    }
    let m = StoredMembership::new(Some(log_id(2, 5)), membership());
    assert_eq!(codec::decode_membership(&codec::encode_membership(&m)).unwrap(), m);
    let none = StoredMembership::default();
    assert_eq!(codec::decode_membership(&codec::encode_membership(&none)).unwrap(), none);
    let meta = SnapshotMeta { last_log_id: Some(log_id(2, 9)), last_membership: m };
    assert_eq!(codec::decode_snapshot_meta(&codec::encode_snapshot_meta(&meta)).unwrap(), meta);
    let v = vote(3, 4, true);
    assert_eq!(codec::decode_vote(&codec::encode_vote(&v)).unwrap(), v);
}

#[test]
fn one_kind_is_not_taken_for_another() {
    assert!(codec::decode_vote(&codec::encode_log_id(&log_id(1, 1))).is_err());
    assert!(codec::decode_entry(&codec::encode_log_id(&log_id(1, 1)).into()).is_err());
}

/// A transaction in a transaction in a transaction, as bytes: no value of that depth is made on the
/// way.
fn nested(depth: usize) -> Vec<u8> {
    let mut record = vec![0, 2];
    for _ in 0..depth {
        record.extend([0, 1, 3]);
    }
    record.extend(std::iter::repeat_n(0, 3 + depth));
    record
}

/// Decoding goes down one call a level, and so does all that is done with a transaction: a peer
/// must not choose how deep that is.
#[test]
fn transactions_nested_without_end_are_refused() {
    let mut depth = 0;
    let mut command = codec::decode_command(&nested(40)).map(|(command, _)| command).unwrap();
    while let Command::Txn(Txn { mut success, .. }) = command {
        let Some(Op::Txn(inner)) = success.pop() else { break };
        command = Command::Txn(inner);
        depth += 1;
    }
    assert_eq!(depth, 40);
    let refused = codec::decode_command(&nested(1_000_000)).unwrap_err();
    assert!(refused.to_string().contains("nested"), "{refused}");
    // The next one is counted from the start again.
    assert!(codec::decode_command(&nested(40)).is_ok());
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    (any_bytes(), any_bytes()).prop_map(|(key, end)| KeyRange { key, end })
}

fn any_put() -> impl Strategy<Value = Put> {
    (any_bytes(), any_bytes(), any::<i64>(), any::<[bool; 3]>()).prop_map(|(key, value, lease, b)| Put {
        key,
        value,
        lease,
        prev_kv: b[0],
        ignore_value: b[1],
        ignore_lease: b[2],
    })
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<i64>().prop_map(Target::Version),
        any::<i64>().prop_map(Target::ModRevision),
        any_bytes().prop_map(Target::Value),
    ];
    (any_range(), target).prop_map(|(range, target)| Compare { range, relation: Relation::NotEqual, target })
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        any_put().prop_map(Op::Put),
        any_range().prop_map(|range| Op::DeleteRange(DeleteRange { range, prev_kv: false })),
        (any_range(), any::<i64>()).prop_map(|(range, limit)| Op::Range(RangeQuery {
            range,
            limit,
            ..RangeQuery::default()
        })),
    ];
    let txn_of = |op: BoxedStrategy<Op>| {
        let ops = || prop::collection::vec(op.clone(), 0..4);
        (prop::collection::vec(any_compare(), 0..3), ops(), ops()).prop_map(|(compares, success, failure)| Txn {
            compares,
            success,
            failure,
        })
    };
    let op = leaf.prop_recursive(3, 16, 4, move |inner| txn_of(inner).prop_map(Op::Txn)).boxed();
    txn_of(op)
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_put().prop_map(Command::Put),
        any_range().prop_map(|range| Command::DeleteRange(DeleteRange { range, prev_kv: true })),
        any_txn().prop_map(Command::Txn),
        any::<i64>().prop_map(|revision| Command::Compact { revision }),
        (prop::collection::vec(any::<i64>(), 0..20), any::<u64>(), any::<u64>())
            .prop_map(|(leases, term, observed)| Command::Expire(Expire { leases, term, observed })),
        (any::<u64>(), ".{0,20}", prop::collection::vec(".{0,20}", 0..3))
            .prop_map(|(id, name, client_urls)| Command::Announce(Member { id, name, client_urls })),
        (any_put(), ".{0,9}", any::<u64>()).prop_map(|(put, user, revision)| {
            Command::Put(put).by(Caller::User(Arc::new(Login { user, revision })))
        }),
    ]
}

proptest! {
    #[test]
    fn packs_come_back(segments in prop::collection::vec(
        (any::<u64>(), any::<u64>(), prop::collection::vec(any_command(), 0..5)), 0..5)
    ) {
        let parts = segments.iter().map(|(origin, seq, commands)| common::segment(*origin, *seq, commands)).collect::<Vec<_>>();
        for part in &parts {
            prop_assert!(conclave_storage::proposal::check_segment(part).is_ok());
        }
        let entry = Entry { log_id: log_id(1, 2), payload: Payload::Normal(Pack::join(parts)) };
        let back = codec::decode_entry(&Bytes::from(encoded(&entry))).unwrap();
        prop_assert_eq!(&back, &entry);
        let Payload::Normal(pack) = back.payload else { unreachable!() };
        let found: Vec<_> = pack.segments().map(|s| s.unwrap()).map(|s| (s.origin, s.seq, s.commands)).collect();
        prop_assert_eq!(found, segments);
    }

    #[test]
    fn a_changed_record_is_refused(
        command in any_command(), at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<prop::sample::Index>()
    ) {
        let whole = encoded(&common::entry(1, 2, &[command]));
        let mut changed = whole.clone();
        changed[at.index(whole.len())] ^= flip;
        prop_assert!(codec::decode_entry(&Bytes::from(changed)).is_err());
        prop_assert!(codec::decode_entry(&Bytes::copy_from_slice(&whole[..cut.index(whole.len())])).is_err());
    }

    #[test]
    fn changed_packs_and_noise_do_not_panic(
        command in any_command(), at in any::<prop::sample::Index>(), flip in any::<u8>(), noise in any_bytes()
    ) {
        let mut changed = common::segment(1, 2, &[command]).to_vec();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        let _ = Pack(changed.into()).segments().count();
        let _ = Pack(noise.clone()).segments().count();
        let _ = codec::decode_command(&noise);
        let _ = (codec::decode_vote(&noise), codec::decode_log_id(&noise), codec::decode_entry(&noise));
        let _ = (codec::decode_membership(&noise), codec::decode_snapshot_meta(&noise));
    }
}
