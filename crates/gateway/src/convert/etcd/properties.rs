//! What holds for every message: no panic, and duplicate keys found exactly where the definition
//! sees them.

use super::*;
use conclave_api::etcdserverpb::compare::TargetUnion;
use conclave_api::etcdserverpb::request_op::Request;
use conclave_api::etcdserverpb::{self as pb, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use conclave_state::Op;
use proptest::prelude::*;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn key() -> impl Strategy<Value = Bytes> {
    // Few keys, so that they meet; the empty one and those around "\0" included.
    prop_oneof![
        2 => Just(Bytes::new()),
        8 => "[a-d]{1,2}".prop_map(Bytes::from),
        2 => Just(bytes("\0")),
        1 => Just(bytes("a\0")),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(Bytes::from),
    ]
}

fn valid_key() -> impl Strategy<Value = Bytes> {
    prop_oneof![9 => "[a-c]{1,2}".prop_map(Bytes::from), 1 => Just(bytes("\0"))]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -2..3i64, any::<i64>()]
}

prop_compose! {
    fn any_range()(key in key(), range_end in key(), limit in number(), revision in number(), sort_order in -1..4i32,
        sort_target in -1..6i32, serializable: bool, keys_only: bool, count_only: bool, bound in number()) -> RangeRequest {
        RangeRequest { key, range_end, limit, revision, sort_order, sort_target, serializable, keys_only, count_only,
            min_mod_revision: bound, max_mod_revision: bound, min_create_revision: bound, max_create_revision: bound }
    }
}

prop_compose! {
    fn any_put()(key in key(), value in key(), lease in number(), prev_kv: bool, ignore_value: bool, ignore_lease: bool)
        -> PutRequest {
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }
}

fn any_union() -> impl Strategy<Value = Option<TargetUnion>> {
    prop_oneof![
        Just(None),
        number().prop_map(|n| Some(TargetUnion::Version(n))),
        number().prop_map(|n| Some(TargetUnion::Lease(n))),
        key().prop_map(|value| Some(TargetUnion::Value(value))),
    ]
}

prop_compose! {
    fn any_compare()(result in -1..5i32, target in -1..6i32, key in key(), range_end in key(), target_union in any_union())
        -> pb::Compare {
        pb::Compare { result, target, key, range_end, target_union }
    }
}

/// `odd`: the weight of what is likely to be refused.
fn any_op(keys: BoxedStrategy<Bytes>, odd: u32) -> impl Strategy<Value = RequestOp> {
    let del = (keys.clone(), keys.clone()).prop_map(|(key, range_end)| {
        op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: true }))
    });
    let odd_ones = prop_oneof![
        Just(RequestOp::default()),
        any_range().prop_map(|request| op(Request::RequestRange(request))),
        any_put().prop_map(|request| op(Request::RequestPut(request))),
    ];
    let leaf = prop_oneof![
        odd => odd_ones,
        6 => keys.prop_map(|key| op(Request::RequestPut(PutRequest { key, ..Default::default() }))),
        3 => del,
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let compares = prop::collection::vec(any_compare(), 0..=(odd as usize * 2));
        (compares, prop::collection::vec(inner.clone(), 0..4), prop::collection::vec(inner, 0..4))
            .prop_map(|(compare, success, failure)| op(Request::RequestTxn(TxnRequest { compare, success, failure })))
    })
}

/// Every sequence of operations that one run of these could execute.
fn paths(ops: &[Op]) -> Vec<Vec<&Op>> {
    let mut all = vec![vec![]];
    for op in ops {
        let next = match op {
            Op::Txn(txn) => [paths(&txn.success), paths(&txn.failure)].concat(),
            other => vec![vec![other]],
        };
        all = all.iter().flat_map(|head| next.iter().map(move |tail| [&head[..], &tail[..]].concat())).collect();
    }
    all
}

fn covers(range: &KeyRange, key: &[u8]) -> bool {
    match &range.end[..] {
        [] => range.key == key,
        [0] => *key >= *range.key,
        end => *key >= *range.key && key < end,
    }
}

/// The rule read off the definition: some path changes one key twice.
fn collides(ops: &[Op]) -> bool {
    paths(ops).iter().any(|path| {
        path.iter().enumerate().any(|(i, one)| {
            path[i + 1..].iter().any(|other| match (one, other) {
                (Op::Put(a), Op::Put(b)) => a.key == b.key,
                (Op::Put(put), Op::DeleteRange(delete)) | (Op::DeleteRange(delete), Op::Put(put)) => {
                    covers(&delete.range, &put.key)
                }
                _ => false,
            })
        })
    })
}

proptest! {
    #[test]
    fn conversion_never_panics(
        range_request in any_range(),
        put_request in any_put(),
        success in prop::collection::vec(any_op(key().boxed(), 2), 0..4),
        failure in prop::collection::vec(any_op(key().boxed(), 2), 0..4),
        compare in prop::collection::vec(any_compare(), 0..3),
        max_request_bytes in 0..400usize,
        max_txn_ops in 0..16usize,
    ) {
        let limits = Limits { max_request_bytes, max_txn_ops };
        let _ = range(range_request);
        let _ = put(put_request, limits);
        let _ = txn(TxnRequest { compare, success, failure }, limits);
    }

    /// What the wire can carry at all reaches the conversion through prost; it must be as calm
    /// about that.
    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        use prost::Message;
        if let Ok(request) = TxnRequest::decode(&data[..]) {
            let _ = txn(request, Limits { max_request_bytes: 1 << 20, max_txn_ops: 4 });
        }
        if let Ok(request) = RangeRequest::decode(&data[..]) {
            let _ = range(request);
        }
    }

    #[test]
    fn duplicates_are_found_exactly(ops in prop::collection::vec(any_op(valid_key().boxed(), 0), 0..4)) {
        let limits = Limits { max_request_bytes: usize::MAX, max_txn_ops: usize::MAX };
        let loose = ops.clone().into_iter().map(|op| super::txn::operation(op, usize::MAX, &mut false));
        let model = loose.collect::<Result<Vec<_>, _>>().expect("only valid operations are drawn");
        let expected = if collides(&model) { Err(Invalid::DuplicateKey) } else { Ok(()) };
        prop_assert_eq!(txn(TxnRequest { success: ops, ..Default::default() }, limits).map(|_| ()), expected);
    }
}
