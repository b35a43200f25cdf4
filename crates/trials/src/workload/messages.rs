//! Requests in short, and answers as a history writes them.

use crate::history::{Change, Guard, GuardTarget, Kv, KvAnswer, TxnOp, TxnResult};
use bytes::Bytes;
use conclave_api::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
        TxnResponse, compare, request_op, response_op,
    },
    mvccpb::{Event, KeyValue, event::EventType},
};

pub(crate) fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The header's revision; 0 where there is no header, which checkers refuse.
pub(crate) fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

pub(crate) fn kv(kv: &KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(crate) fn kvs(response: &RangeResponse) -> Vec<Kv> {
    response.kvs.iter().map(kv).collect()
}

pub(crate) fn change(event: &Event) -> Change {
    let pair = event.kv.clone().unwrap_or_default();
    let deleted = event.r#type() == EventType::Delete;
    Change {
        key: text(&pair.key),
        value: (!deleted).then(|| text(&pair.value)),
        modified: pair.mod_revision,
        create: pair.create_revision,
        version: pair.version,
        lease: pair.lease,
        prev: event.prev_kv.as_ref().map(kv),
    }
}

pub(crate) fn get(key: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), ..Default::default() }
}

/// The end of the range of all keys that begin with `prefix`, which ends with an ASCII character.
pub(crate) fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// All keys that begin with `prefix`; the whole store if it is empty.
pub(crate) fn range(prefix: &str) -> RangeRequest {
    if prefix.is_empty() {
        return RangeRequest { key: bytes([0]), range_end: bytes([0]), ..Default::default() };
    }
    RangeRequest { key: bytes(prefix), range_end: prefix_end(prefix), ..Default::default() }
}

pub(crate) fn put(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), lease, ..Default::default() }
}

pub(crate) fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), ..Default::default() }
}

pub(crate) fn equals(key: &str, target: GuardTarget, value: i64) -> Compare {
    use compare::{CompareTarget, TargetUnion};
    let (target, union) = match target {
        GuardTarget::Create => (CompareTarget::Create, TargetUnion::CreateRevision(value)),
        GuardTarget::Modified => (CompareTarget::Mod, TargetUnion::ModRevision(value)),
        GuardTarget::Version => (CompareTarget::Version, TargetUnion::Version(value)),
    };
    Compare {
        key: bytes(key),
        target: target.into(),
        result: compare::CompareResult::Equal.into(),
        target_union: Some(union),
        ..Default::default()
    }
}

pub(crate) fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(crate) fn op_get(key: &str) -> RequestOp {
    op(request_op::Request::RequestRange(get(key)))
}

pub(crate) fn op_put(key: &str, value: &str, lease: i64) -> RequestOp {
    op(request_op::Request::RequestPut(put(key, value, lease)))
}

fn operation(step: &TxnOp) -> RequestOp {
    match step {
        TxnOp::Get { key } => op_get(key),
        TxnOp::Put { key, value } => op_put(key, value, 0),
        TxnOp::Delete { key } => op(request_op::Request::RequestDeleteRange(delete(key))),
    }
}

pub(crate) fn txn(guards: &[Guard], then: &[TxnOp], otherwise: &[TxnOp]) -> TxnRequest {
    TxnRequest {
        compare: guards.iter().map(|guard| equals(&guard.key, guard.target, guard.equals)).collect(),
        success: then.iter().map(operation).collect(),
        failure: otherwise.iter().map(operation).collect(),
    }
}

/// What each read of a transaction found; empty for other operations.
pub(crate) fn reads(response: &TxnResponse) -> Vec<Vec<Kv>> {
    let read = |one: &conclave_api::etcdserverpb::ResponseOp| match &one.response {
        Some(response_op::Response::ResponseRange(range)) => kvs(range),
        _ => Vec::new(),
    };
    response.responses.iter().map(read).collect()
}

pub(crate) fn txn_answer(response: &TxnResponse) -> KvAnswer {
    let result = |one: &conclave_api::etcdserverpb::ResponseOp| match &one.response {
        Some(response_op::Response::ResponsePut(_)) => TxnResult::Written,
        Some(response_op::Response::ResponseDeleteRange(deleted)) => TxnResult::Deleted { count: deleted.deleted },
        Some(response_op::Response::ResponseRange(range)) => TxnResult::Read { kvs: kvs(range) },
        _ => TxnResult::Read { kvs: Vec::new() },
    };
    KvAnswer::Txn {
        revision: revision(response.header.as_ref()),
        succeeded: response.succeeded,
        results: response.responses.iter().map(result).collect(),
    }
}
