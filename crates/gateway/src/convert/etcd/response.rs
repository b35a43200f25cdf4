//! From outcomes to public messages. Everything is moved; nothing is copied.

use conclave_api::etcdserverpb::response_op::Response as OpResponse;
use conclave_api::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
};
use conclave_api::mvccpb;
use conclave_state::{Deleted, KeyValue, OpResult, OpResultKind, RangeResult, TxnResult};

#[must_use]
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

#[must_use]
pub fn range_response(header: ResponseHeader, result: RangeResult) -> RangeResponse {
    RangeResponse { header: Some(header), kvs: key_values(result.kvs), more: result.more, count: result.count }
}

/// A piece of a streamed range that is not the last: keys and nothing else.
#[must_use]
pub fn part(kvs: Vec<KeyValue>) -> RangeResponse {
    RangeResponse { kvs: key_values(kvs), ..Default::default() }
}

#[must_use]
pub fn put_response(header: ResponseHeader, prev: Option<KeyValue>) -> PutResponse {
    PutResponse { header: Some(header), prev_kv: prev.map(key_value) }
}

#[must_use]
pub fn deleted(header: ResponseHeader, deleted: Deleted) -> DeleteRangeResponse {
    DeleteRangeResponse { header: Some(header), deleted: deleted.deleted, prev_kvs: key_values(deleted.prev) }
}

#[must_use]
pub fn txn_response(header: ResponseHeader, result: TxnResult) -> TxnResponse {
    TxnResponse {
        header: Some(header),
        succeeded: result.succeeded,
        responses: result.responses.into_iter().map(op_response).collect(),
    }
}

/// Headers inside a transaction carry the revision only.
fn op_response(result: OpResult) -> ResponseOp {
    let header = ResponseHeader { revision: result.revision, ..Default::default() };
    let response = match result.kind {
        OpResultKind::Range(range) => OpResponse::ResponseRange(range_response(header, range)),
        OpResultKind::Put { prev } => OpResponse::ResponsePut(put_response(header, prev)),
        OpResultKind::DeleteRange(gone) => OpResponse::ResponseDeleteRange(deleted(header, gone)),
        OpResultKind::Txn(nested) => OpResponse::ResponseTxn(txn_response(header, nested)),
    };
    ResponseOp { response: Some(response) }
}
