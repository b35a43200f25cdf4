//! Encoding a response in pieces.
//!
//! The encodings of two messages, one after the other, are that of the two merged. So a response is
//! cut into messages with a part of its rows each, and the bytes are the same as if it had been
//! encoded at once.

use bytes::Bytes;
use conclave_api::conclave::v1::{AcquireResponse, ElectionResponse, GetTermResponse, ReleaseResponse};
use conclave_api::etcdserverpb::response_op::Response as Operation;
use conclave_api::etcdserverpb::{
    DeleteRangeResponse, LeaseGrantResponse, LeaseRevokeResponse, PutResponse, RangeResponse, ResponseOp, TxnResponse,
};
use conclave_api::mvccpb::KeyValue;
use conclave_api::v3electionpb::{CampaignResponse, LeaderResponse, ProclaimResponse, ResignResponse};
use conclave_api::v3lockpb::{LockResponse, UnlockResponse};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::iter;

/// What is left to encode. Whatever one of its pieces was made of is gone when it is there.
pub(super) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// A piece ends with the row that reaches this, or with so many rows.
const BYTES: usize = 64 << 10;
const ROWS: usize = 512;

/// A response of a unary call.
pub(super) trait InPieces: Message + Sized + 'static {
    /// One piece, unless it is of a kind that can be large. May look at all of it at once.
    fn pieces(self) -> Pieces {
        Box::new(iter::once_with(move || encoded(&self)))
    }
}

macro_rules! in_one_piece {
    ($($response:ty),*) => { $(impl InPieces for $response {})* };
}

in_one_piece!(
    PutResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    LockResponse,
    UnlockResponse,
    CampaignResponse,
    LeaderResponse,
    ProclaimResponse,
    ResignResponse,
    ElectionResponse,
    GetTermResponse,
    AcquireResponse,
    ReleaseResponse
);

impl InPieces for RangeResponse {
    fn pieces(self) -> Pieces {
        let RangeResponse { header, kvs, more, count } = self;
        let head = RangeResponse { header, ..Default::default() };
        let rows = rows(kvs).map(|kvs| RangeResponse { kvs, ..Default::default() });
        let tail = RangeResponse { more, count, ..Default::default() };
        Box::new(iter::once(head).chain(rows).chain(iter::once(tail)).map(|part| encoded(&part)))
    }
}

impl InPieces for DeleteRangeResponse {
    fn pieces(self) -> Pieces {
        let DeleteRangeResponse { header, deleted, prev_kvs } = self;
        let head = DeleteRangeResponse { header, deleted, ..Default::default() };
        let rows = rows(prev_kvs).map(|prev_kvs| DeleteRangeResponse { prev_kvs, ..Default::default() });
        Box::new(iter::once(head).chain(rows).map(|part| encoded(&part)))
    }
}

impl InPieces for TxnResponse {
    fn pieces(self) -> Pieces {
        let TxnResponse { header, succeeded, responses } = self;
        let head = TxnResponse { header, succeeded, ..Default::default() };
        // Each begins with its length. To know that takes a look at all of it.
        let parts: Vec<Pieces> = responses.into_iter().map(operation).collect();
        Box::new(iter::once_with(move || encoded(&head)).chain(parts.into_iter().flatten()))
    }
}

/// One of a transaction's responses, as a field of it.
fn operation(op: ResponseOp) -> Pieces {
    match op.response {
        Some(Operation::ResponseRange(range)) => nested(1, range),
        Some(Operation::ResponsePut(put)) => nested(2, put),
        Some(Operation::ResponseDeleteRange(deleted)) => nested(3, deleted),
        Some(Operation::ResponseTxn(txn)) => nested(4, txn),
        None => Box::new(iter::once_with(|| encoded(&TxnResponse { responses: vec![op], ..Default::default() }))),
    }
}

/// The field of a transaction's response.
const RESPONSES: u32 = 3;

/// `kind`: the field of [`ResponseOp`].
fn nested(kind: u32, response: impl InPieces) -> Pieces {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    let length = response.encoded_len();
    encode_key(kind, WireType::LengthDelimited, &mut inner);
    encode_varint(length as u64, &mut inner);
    encode_key(RESPONSES, WireType::LengthDelimited, &mut outer);
    encode_varint((inner.len() + length) as u64, &mut outer);
    outer.append(&mut inner);
    Box::new(iter::once(Bytes::from(outer)).chain(response.pieces()))
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The rows in portions, which are dropped when they are encoded.
fn rows(kvs: Vec<KeyValue>) -> impl Iterator<Item = Vec<KeyValue>> + Send {
    let mut kvs = kvs.into_iter();
    iter::from_fn(move || {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while bytes < BYTES && portion.len() < ROWS {
            let Some(kv) = kvs.next() else { break };
            bytes += kv.key.len() + kv.value.len();
            portion.push(kv);
        }
        (!portion.is_empty()).then_some(portion)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_api::etcdserverpb::ResponseHeader;

    fn kvs(rows: usize, bytes: usize) -> Vec<KeyValue> {
        let kv = |row: usize| KeyValue {
            key: format!("k{row:06}").into(),
            value: vec![7; bytes].into(),
            mod_revision: 9,
            ..Default::default()
        };
        (0..rows).map(kv).collect()
    }

    fn range(rows: usize, bytes: usize) -> RangeResponse {
        let header = ResponseHeader { revision: 12, ..Default::default() };
        RangeResponse { header: Some(header), kvs: kvs(rows, bytes), more: true, count: 99 }
    }

    fn sizes(message: impl InPieces + Clone) -> Vec<usize> {
        let whole = message.encode_to_vec();
        let pieces: Vec<Bytes> = message.pieces().collect();
        assert_eq!(pieces.concat(), whole);
        pieces.iter().map(Bytes::len).collect()
    }

    #[test]
    fn together_they_are_the_message() {
        for (rows, bytes) in [(0, 0), (1, 0), (1, 200_000), (5_000, 1), (300, 1_000)] {
            let header = range(0, 0).header;
            sizes(range(rows, bytes));
            sizes(DeleteRangeResponse { header, deleted: 7, prev_kvs: kvs(rows, bytes) });
            let op = |response| ResponseOp { response: Some(response) };
            let put = PutResponse { header, prev_kv: kvs(1, bytes).pop() };
            let deleted = DeleteRangeResponse { header, deleted: 7, prev_kvs: kvs(rows, bytes) };
            let operations = vec![
                op(Operation::ResponseRange(range(rows, bytes))),
                op(Operation::ResponsePut(put)),
                ResponseOp { response: None },
                op(Operation::ResponseDeleteRange(deleted)),
            ];
            let txn = TxnResponse { header, succeeded: true, responses: operations.clone() };
            let nested = [operations, vec![op(Operation::ResponseTxn(txn))]].concat();
            sizes(TxnResponse { header, succeeded: true, responses: nested });
        }
        sizes(PutResponse { header: range(0, 0).header, prev_kv: kvs(1, 1_000_000).pop() });
    }

    #[test]
    fn a_piece_has_a_bound_in_rows_and_bytes_but_for_one_large_row() {
        let bounded = |sizes: Vec<usize>| sizes.into_iter().all(|size| size < BYTES + 2 * 32 * ROWS);
        assert!(bounded(sizes(range(50_000, 100))));
        let part = ResponseOp { response: Some(Operation::ResponseRange(range(50_000, 100))) };
        assert!(bounded(sizes(TxnResponse { responses: vec![part; 2], ..Default::default() })));
        assert_eq!(sizes(range(50_000, 0)).len(), 2 + 50_000_usize.div_ceil(ROWS));
        assert_eq!(sizes(range(5, 700_000)).len(), 2 + 5);
    }
}
