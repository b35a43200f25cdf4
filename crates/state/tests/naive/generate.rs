//! Commands and queries at random, out of few keys, leases and revisions, so that they meet.

use bytes::Bytes;
use conclave_state::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Terms 1 and 2 occur; entries are applied in term 1.
pub(crate) const TERM: u64 = 1;

pub(crate) const QUEUES: [&str; 3] = ["q", "q/a", ""];

fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&[u8]; 12] =
        [b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"q/1", b"q/2", b"q/-1", b"q/a/1", b"q/x", b"/1", b"\xff\xff"];
    select(keys.map(Bytes::from_static).to_vec())
}

fn value() -> impl Strategy<Value = Bytes> {
    select(["", "x", "y"].map(Bytes::from).to_vec())
}

fn lease() -> impl Strategy<Value = LeaseId> {
    select(vec![1, 2, -1, 3])
}

fn revision() -> impl Strategy<Value = i64> {
    -2..40_i64
}

pub(crate) fn range() -> impl Strategy<Value = KeyRange> {
    let end = prop_oneof![3 => Just(Bytes::new()), 2 => Just(Bytes::from("\0")), 4 => key()];
    let start = prop_oneof![5 => key(), 1 => Just(Bytes::from("\0"))];
    (start, end).prop_map(|(key, end)| KeyRange { key, end })
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0), 1 => 1..20_i64]
}

pub(crate) fn query() -> impl Strategy<Value = RangeQuery> {
    let order = select(vec![Order::None, Order::None, Order::Ascend, Order::Descend]);
    let sort_by = select(vec![
        SortBy::Key,
        SortBy::Key,
        SortBy::Version,
        SortBy::CreateRevision,
        SortBy::ModRevision,
        SortBy::Value,
    ]);
    let revision = prop_oneof![2 => Just(0), 1 => revision()];
    let bounds = (bound(), bound(), bound(), bound());
    (range(), -1..4_i64, revision, order, sort_by, 0..6_u8, bounds).prop_map(
        |(range, limit, revision, order, sort_by, only, bounds)| RangeQuery {
            range,
            limit,
            revision,
            order,
            sort_by,
            keys_only: only == 1,
            count_only: only == 2,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}

fn put() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![3 => Just(0), 2 => lease()];
    (key(), value(), lease, any::<bool>(), 0..12_u8).prop_map(|(key, value, lease, prev_kv, ignore)| Put {
        key,
        prev_kv,
        ignore_value: ignore <= 1,
        ignore_lease: ignore == 1 || ignore == 2,
        // Conversion refuses a value or a lease beside the flag that ignores it.
        value: if ignore <= 1 { Bytes::new() } else { value },
        lease: if ignore == 1 || ignore == 2 { 0 } else { lease },
    })
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRange { range, prev_kv })
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = select(vec![Relation::Equal, Relation::Greater, Relation::Less, Relation::NotEqual]);
    let target = prop_oneof![
        (0..3_i64).prop_map(Target::Version),
        (0..20_i64).prop_map(Target::CreateRevision),
        (0..20_i64).prop_map(Target::ModRevision),
        value().prop_map(Target::Value),
        prop_oneof![Just(0), lease()].prop_map(Target::Lease),
    ];
    (range(), relation, target).prop_map(|(range, relation, target)| Compare { range, relation, target })
}

/// Also transactions that change a key twice, which conversion would refuse.
pub(crate) fn unchecked_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        4 => put().prop_map(Op::Put),
        2 => query().prop_map(Op::Range),
        2 => delete().prop_map(Op::DeleteRange),
    ];
    let op = leaf.prop_recursive(2, 12, 3, |inner| txn_of(inner).prop_map(Op::Txn));
    txn_of(op)
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    (vec(compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..4)).prop_map(|(compares, success, failure)| Txn {
        compares,
        success,
        failure,
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    unchecked_txn().prop_map(|mut txn| {
        Footprint::default().keep(&mut txn);
        txn
    })
}

/// What the operations of a branch change: etcd's rule against changing a key twice drops what
/// would.
#[derive(Clone, Default)]
struct Footprint {
    puts: Vec<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Footprint {
    fn keep(&mut self, txn: &mut Txn) {
        let mut branches = [self.clone(), self.clone()];
        branches[0].keep_ops(&mut txn.success);
        branches[1].keep_ops(&mut txn.failure);
        for branch in branches {
            self.puts.extend(branch.puts);
            self.deletes.extend(branch.deletes);
        }
    }

    fn keep_ops(&mut self, ops: &mut Vec<Op>) {
        ops.retain_mut(|op| match op {
            Op::Range(_) => true,
            Op::Put(put) => {
                let free = !self.puts.contains(&put.key) && !self.deletes.iter().any(|range| within(range, &put.key));
                self.puts.push(put.key.clone());
                free
            }
            Op::DeleteRange(delete) => {
                let free = !self.puts.iter().any(|key| within(&delete.range, key));
                if free {
                    self.deletes.push(delete.range.clone());
                }
                free
            }
            Op::Txn(txn) => {
                self.keep(txn);
                true
            }
        });
    }
}

fn within(range: &KeyRange, key: &Bytes) -> bool {
    super::query::contains(range, key)
}

fn dequeue_by() -> impl Strategy<Value = DequeueBy> {
    prop_oneof![
        2 => (0..30_i64).prop_map(DequeueBy::CreateRevision),
        3 => Just(DequeueBy::Lock),
    ]
}

fn enqueue() -> impl Strategy<Value = Enqueue> {
    let kind = select(vec![QueueKind::Lock, QueueKind::Election]);
    let ttl = prop_oneof![4 => Just(0), 1 => Just(30)];
    (kind, select(vec!["q", "q/a", ""]), lease(), ttl, value(), attempt()).prop_map(
        |(kind, name, lease, grant_ttl_ms, value, attempt)| {
            let value = if kind == QueueKind::Lock { Bytes::new() } else { value };
            Enqueue { kind, name: name.into(), lease, grant_ttl_ms, value, attempt }
        },
    )
}

fn attempt() -> impl Strategy<Value = u64> {
    // Once cancelled, an attempt of a lease takes no place: with few of them little would be left.
    0..9_u64
}

fn alarm() -> impl Strategy<Value = AlarmChange> {
    (0..4_u8, 1..3_u64, select(vec![AlarmKind::NoSpace, AlarmKind::NoSpace, AlarmKind::Corrupt]))
        .prop_map(|(raise, member, kind)| AlarmChange { raise: raise == 0, alarm: Alarm { member, kind } })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let observed = prop_oneof![Just(u64::MAX), 0..30_u64];
    let expire =
        (vec(lease(), 0..4), 1..3_u64, observed).prop_map(|(leases, term, observed)| Expire { leases, term, observed });
    let announce =
        (1..3_u64, "[a-b]", vec("h:[0-9]", 0..2)).prop_map(|(id, name, client_urls)| Member { id, name, client_urls });
    prop_oneof![
        20 => put().prop_map(Command::Put),
        6 => delete().prop_map(Command::DeleteRange),
        10 => txn().prop_map(Command::Txn),
        3 => revision().prop_map(|revision| Command::Compact { revision }),
        8 => (lease(), 2..90_u64).prop_map(|(id, ttl_ms)| Command::LeaseGrant(LeaseGrant { id, ttl_ms })),
        2 => lease().prop_map(|id| Command::LeaseRevoke { id }),
        2 => expire.prop_map(Command::Expire),
        13 => enqueue().prop_map(Command::Enqueue),
        5 => (key(), dequeue_by()).prop_map(|(key, by)| Command::Dequeue(Dequeue { key, by })),
        8 => (key(), lease(), attempt()).prop_map(|(key, session, attempt)| {
            Command::Cancel(Cancel { session, attempt, place: PlaceId::Key(key) })
        }),
        2 => (key(), 0..30_i64, value()).prop_map(|(key, create_revision, value)| {
            Command::Proclaim(Proclaim { key, create_revision, value })
        }),
        1 => announce.prop_map(Command::Announce),
        1 => alarm().prop_map(Command::Alarm),
    ]
}

/// The index of the entry in which a command stands, by how many there were before it: some stand
/// in one.
pub(crate) fn index_of(number: usize) -> u64 {
    number as u64 / 2
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    vec(command(), 1..50)
}
