//! Each rule of the conversion with the error it gives.

use super::*;
use conclave_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use conclave_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use conclave_api::etcdserverpb::request_op::Request;
use conclave_api::etcdserverpb::{self as pb, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use conclave_state::{Order, Relation, SortBy, Target};

const LIMITS: Limits = Limits { max_request_bytes: 1 << 20, max_txn_ops: 4 };

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn get(key: &'static str) -> RequestOp {
    op(Request::RequestRange(RangeRequest { key: bytes(key), ..Default::default() }))
}

fn store(key: &'static str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: bytes(key), ..Default::default() }))
}

fn delete(key: &'static str, end: &'static str) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false }))
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
}

fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..Default::default() }
}

fn compare_of(target: i32, result: i32, target_union: Option<TargetUnion>) -> TxnRequest {
    let compare = pb::Compare { result, target, key: bytes("k"), target_union, ..Default::default() };
    TxnRequest { compare: vec![compare], ..Default::default() }
}

#[test]
fn range_rules() {
    let request =
        |sort_order, sort_target| RangeRequest { key: bytes("k"), sort_order, sort_target, ..Default::default() };
    assert_eq!(range(RangeRequest::default()), Err(Invalid::EmptyKey));
    assert_eq!(range(RangeRequest { range_end: bytes("z"), ..Default::default() }), Err(Invalid::EmptyKey));
    for (order, target) in [(3, 0), (-1, 0), (0, 5), (0, -1), (i32::MAX, i32::MIN)] {
        assert_eq!(range(request(order, target)), Err(Invalid::SortOption));
    }
    for (order, target, expected) in [
        (SortOrder::None, SortTarget::Key, (Order::None, SortBy::Key)),
        (SortOrder::Ascend, SortTarget::Key, (Order::None, SortBy::Key)),
        (SortOrder::Descend, SortTarget::Key, (Order::Descend, SortBy::Key)),
        (SortOrder::None, SortTarget::Create, (Order::Ascend, SortBy::CreateRevision)),
        (SortOrder::Ascend, SortTarget::Mod, (Order::Ascend, SortBy::ModRevision)),
        (SortOrder::Descend, SortTarget::Version, (Order::Descend, SortBy::Version)),
        (SortOrder::None, SortTarget::Value, (Order::Ascend, SortBy::Value)),
    ] {
        let query = range(request(order as i32, target as i32)).expect("valid");
        assert_eq!((query.order, query.sort_by), expected);
    }
    let query = range(RangeRequest { key: bytes("k"), limit: -3, revision: -5, ..Default::default() }).expect("valid");
    assert_eq!((query.limit, query.revision), (0, -5));
}

#[test]
fn put_rules() {
    let key = || PutRequest { key: bytes("k"), ..Default::default() };
    let with_value = || PutRequest { value: bytes("v"), ..key() };
    assert_eq!(put(PutRequest::default(), LIMITS), Err(Invalid::EmptyKey));
    assert_eq!(put(PutRequest { ignore_value: true, ..with_value() }, LIMITS), Err(Invalid::ValueProvided));
    assert_eq!(put(PutRequest { ignore_lease: true, lease: 1, ..key() }, LIMITS), Err(Invalid::LeaseProvided));
    assert_eq!(put(PutRequest { ignore_lease: true, lease: -1, ..key() }, LIMITS), Err(Invalid::LeaseProvided));
    assert!(put(PutRequest { ignore_value: true, ignore_lease: true, prev_kv: true, ..key() }, LIMITS).is_ok());
    assert!(put(PutRequest { lease: -7, ..with_value() }, LIMITS).is_ok());
    let exact = Limits { max_request_bytes: prost::Message::encoded_len(&with_value()), ..LIMITS };
    assert!(put(with_value(), exact).is_ok());
    let less = Limits { max_request_bytes: exact.max_request_bytes - 1, ..LIMITS };
    assert_eq!(put(with_value(), less), Err(Invalid::TooLarge));
}

#[test]
fn delete_rules() {
    assert_eq!(delete_range(DeleteRangeRequest::default(), LIMITS), Err(Invalid::EmptyKey));
    let request = || DeleteRangeRequest { key: bytes("k"), range_end: bytes("a"), prev_kv: true };
    let converted = delete_range(request(), LIMITS).expect("an empty interval is legal");
    assert_eq!((&*converted.range.key, &*converted.range.end, converted.prev_kv), (&b"k"[..], &b"a"[..], true));
    assert_eq!(delete_range(request(), Limits { max_request_bytes: 3, ..LIMITS }), Err(Invalid::TooLarge));
}

#[test]
fn txn_errors() {
    let deep = |leaf| then(vec![nested(vec![nested(vec![leaf], vec![])], vec![])]);
    for (request, expected) in [
        (then(vec![RequestOp::default()]), Invalid::EmptyOperation),
        (TxnRequest { failure: vec![get("k"), RequestOp::default()], ..Default::default() }, Invalid::EmptyOperation),
        (deep(RequestOp::default()), Invalid::EmptyOperation),
        (then(vec![get("")]), Invalid::EmptyKey),
        (then(vec![store("")]), Invalid::EmptyKey),
        (deep(delete("", "z")), Invalid::EmptyKey),
        (TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() }, Invalid::EmptyKey),
        (compare_of(5, 0, None), Invalid::CompareTarget),
        (compare_of(-1, 0, None), Invalid::CompareTarget),
        (compare_of(0, 4, None), Invalid::CompareResult),
        (compare_of(0, -1, None), Invalid::CompareResult),
        (then(vec![get("k"); 5]), Invalid::TooManyOperations),
        (TxnRequest { failure: vec![get("k"); 5], ..Default::default() }, Invalid::TooManyOperations),
        (TxnRequest { compare: vec![pb::Compare::default(); 5], ..Default::default() }, Invalid::TooManyOperations),
        // 2 of 4 are spent above.
        (then(vec![get("k"), nested(vec![get("k"); 3], vec![])]), Invalid::TooManyOperations),
        (then(vec![nested(vec![], vec![nested(vec![get("k"); 3], vec![])])]), Invalid::TooManyOperations),
    ] {
        assert_eq!(txn(request.clone(), LIMITS), Err(expected), "{request:?}");
    }
    let request = then(vec![store("key")]);
    let size = prost::Message::encoded_len(&request);
    assert!(txn(request.clone(), Limits { max_request_bytes: size, ..LIMITS }).is_ok());
    assert_eq!(txn(request, Limits { max_request_bytes: size - 1, ..LIMITS }), Err(Invalid::TooLarge));
}

#[test]
fn txn_budget_is_spent_along_a_path() {
    for request in [
        then(vec![get("k"); 4]),
        TxnRequest { compare: vec![], success: vec![get("k"); 4], failure: vec![get("k"); 4] },
        then(vec![get("k"), nested(vec![get("k"); 2], vec![get("k"); 2])]),
        then(vec![nested(vec![nested(vec![get("k"); 2], vec![])], vec![])]),
    ] {
        assert!(txn(request.clone(), LIMITS).is_ok(), "{request:?}");
    }
}

#[test]
fn duplicate_keys() {
    let twice = |a: RequestOp, b: RequestOp| then(vec![a, b]);
    let only_then = |op| nested(vec![op], vec![]);
    let only_else = |op| nested(vec![], vec![op]);
    let refused = [
        twice(store("a"), store("a")),
        twice(store("a"), delete("a", "")),
        twice(delete("a", ""), store("a")),
        twice(store("b"), delete("a", "c")),
        twice(store("b"), delete("b", "c")),
        twice(store("b"), delete("a", "\0")),
        twice(store("a"), only_then(store("a"))),
        twice(only_else(store("a")), store("a")),
        twice(only_then(store("a")), only_then(store("a"))),
        twice(only_then(store("a")), only_else(store("a"))),
        twice(delete("a", "b"), only_then(store("a"))),
        twice(store("a"), only_else(delete("a", "b"))),
        twice(only_then(delete("a", "b")), only_then(store("a"))),
        // The two that etcd lets through.
        twice(only_then(store("a")), only_then(delete("a", "b"))),
        twice(nested(vec![store("a")], vec![delete("a", "")]), store("a")),
        TxnRequest { failure: vec![store("a"), store("a")], ..Default::default() },
    ];
    for request in refused {
        assert_eq!(txn(request.clone(), LIMITS), Err(Invalid::DuplicateKey), "{request:?}");
    }
    let allowed = [
        twice(store("a"), store("b")),
        twice(delete("a", "z"), delete("b", "")),
        twice(store("a"), delete("b", "\0")),
        twice(store("b"), delete("a", "b")),
        twice(store("b"), delete("c", "a")),
        twice(store("a"), get("a")),
        then(vec![nested(vec![store("a")], vec![store("a")])]),
        then(vec![nested(vec![store("a")], vec![delete("a", "b")])]),
        TxnRequest { compare: vec![], success: vec![store("a")], failure: vec![store("a")] },
    ];
    for request in allowed {
        assert!(txn(request.clone(), LIMITS).is_ok(), "{request:?}");
    }
}

#[test]
fn compares() {
    use CompareTarget as T;
    for (target, union, expected) in [
        (T::Version, Some(TargetUnion::Version(4)), Target::Version(4)),
        (T::Version, None, Target::Version(0)),
        (T::Version, Some(TargetUnion::ModRevision(4)), Target::Version(0)),
        (T::Create, Some(TargetUnion::CreateRevision(4)), Target::CreateRevision(4)),
        (T::Create, None, Target::CreateRevision(0)),
        (T::Mod, Some(TargetUnion::ModRevision(4)), Target::ModRevision(4)),
        (T::Mod, None, Target::ModRevision(0)),
        (T::Value, Some(TargetUnion::Value(bytes("v"))), Target::Value(bytes("v"))),
        (T::Value, None, Target::Value(Bytes::new())),
        (T::Lease, Some(TargetUnion::Lease(-4)), Target::Lease(-4)),
        (T::Lease, None, Target::Lease(0)),
    ] {
        let converted = txn(compare_of(target as i32, 0, union), LIMITS).expect("valid").txn;
        assert_eq!(converted.compares[0].target, expected);
    }
    for (result, expected) in [
        (CompareResult::Equal, Relation::Equal),
        (CompareResult::Greater, Relation::Greater),
        (CompareResult::Less, Relation::Less),
        (CompareResult::NotEqual, Relation::NotEqual),
    ] {
        let converted = txn(compare_of(0, result as i32, None), LIMITS).expect("valid").txn;
        assert_eq!(converted.compares[0].relation, expected);
    }
}

#[test]
fn which_way_a_transaction_goes() {
    let local =
        || op(Request::RequestRange(RangeRequest { key: bytes("k"), serializable: true, ..Default::default() }));
    let read = |serializable| TxnRoute::Read { serializable };
    for (request, expected) in [
        (TxnRequest::default(), read(false)),
        (compare_of(0, 0, None), read(false)),
        (then(vec![get("k")]), read(false)),
        (then(vec![local(), get("k")]), read(false)),
        (then(vec![local(), local()]), read(true)),
        (TxnRequest { success: vec![local()], failure: vec![get("k")], ..Default::default() }, read(false)),
        (TxnRequest { failure: vec![local()], ..Default::default() }, read(true)),
        (then(vec![store("k")]), TxnRoute::Write),
        (then(vec![get("k"), delete("k", "")]), TxnRoute::Write),
        (then(vec![nested(vec![local()], vec![])]), read(true)),
        (then(vec![nested(vec![local()], vec![get("k")])]), read(false)),
        (then(vec![nested(vec![], vec![])]), read(false)),
        (then(vec![nested(vec![], vec![nested(vec![], vec![store("k")])])]), TxnRoute::Write),
    ] {
        assert_eq!(txn(request.clone(), LIMITS).expect("valid").route, expected, "{request:?}");
    }
    assert!(txn(then(vec![nested(vec![], vec![store("k")])]), LIMITS).expect("valid").puts);
    assert!(!txn(then(vec![delete("k", "")]), LIMITS).expect("valid").puts);
}

#[test]
fn alarm_rules() {
    use conclave_state::AlarmKind;
    let request = |action, alarm| pb::AlarmRequest { action, member_id: 1, alarm };
    for bad in [request(3, 0), request(-1, 1), request(0, 3), request(1, -1)] {
        assert_eq!(alarm(&bad), Err(Invalid::Alarm));
    }
    assert_eq!(alarm(&request(0, 0)).map(|(_, kind)| kind), Ok(None));
    assert_eq!(alarm(&request(1, 1)).map(|(_, kind)| kind), Ok(Some(AlarmKind::NoSpace)));
    assert_eq!(alarm(&request(2, 2)).map(|(_, kind)| kind), Ok(Some(AlarmKind::Corrupt)));
}

#[test]
fn nested_headers_carry_the_revision_only() {
    use conclave_api::etcdserverpb::ResponseHeader;
    use conclave_api::etcdserverpb::response_op::Response;
    use conclave_state::{Deleted, KeyValue, OpResult, OpResultKind, RangeResult, TxnResult};
    let kv = |key| KeyValue {
        key: bytes(key),
        version: 1,
        create_revision: 2,
        mod_revision: 3,
        lease: 4,
        value: bytes("v"),
    };
    let inner = OpResult { revision: 5, kind: OpResultKind::Put { prev: Some(kv("p")) } };
    let result = TxnResult {
        succeeded: true,
        responses: vec![
            OpResult {
                revision: 4,
                kind: OpResultKind::Range(RangeResult { kvs: vec![kv("a")], more: true, count: 9 }),
            },
            OpResult { revision: 5, kind: OpResultKind::DeleteRange(Deleted { deleted: 2, prev: vec![kv("d")] }) },
            OpResult { revision: 5, kind: OpResultKind::Txn(TxnResult { succeeded: false, responses: vec![inner] }) },
        ],
    };
    let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 5, raft_term: 3 };
    let response = txn_response(header, result);
    assert_eq!((response.header, response.succeeded), (Some(header), true));
    let nested_header = |revision| Some(ResponseHeader { revision, ..Default::default() });
    let [
        Some(Response::ResponseRange(range)),
        Some(Response::ResponseDeleteRange(gone)),
        Some(Response::ResponseTxn(txn)),
    ] = [0, 1, 2].map(|i: usize| response.responses[i].response.clone())
    else {
        panic!("kinds of responses changed: {:?}", response.responses)
    };
    assert_eq!((range.header, range.more, range.count), (nested_header(4), true, 9));
    let first = &range.kvs[0];
    assert_eq!((&first.key, &first.value), (&bytes("a"), &bytes("v")));
    assert_eq!((first.version, first.create_revision, first.mod_revision, first.lease), (1, 2, 3, 4));
    assert_eq!((gone.header, gone.deleted, &gone.prev_kvs[0].key), (nested_header(5), 2, &bytes("d")));
    assert_eq!((txn.header, txn.succeeded), (nested_header(5), false));
    let Some(Response::ResponsePut(put)) = &txn.responses[0].response else { panic!("not a put") };
    assert_eq!(put.prev_kv.as_ref().map(|kv| kv.key.clone()), Some(bytes("p")));
}
