//! Fuzz targets: requests of clients as bytes, up to the command that they become.

use super::{conclave as own, etcd};
use conclave_api::conclave::v1;
use conclave_api::etcdserverpb as pb;
use conclave_api::{v3electionpb as election, v3lockpb as lock};
use prost::Message;
use std::fmt::Debug;

const LIMITS: etcd::Limits = etcd::Limits { max_request_bytes: 1 << 20, max_txn_ops: 128 };

/// The result of converting a message in these bytes.
fn read<M: Message + Default, T: Debug>(bytes: &[u8], convert: impl FnOnce(M) -> T) -> String {
    match M::decode(bytes) {
        Ok(message) => format!("{:?}", convert(message)),
        Err(error) => format!("{error}"),
    }
}

/// The first byte says which message it is.
fn request(kind: u8, bytes: &[u8]) -> String {
    match kind % 20 {
        0 => read(bytes, etcd::range),
        1 => read(bytes, |put: pb::PutRequest| etcd::put(put, LIMITS)),
        2 => read(bytes, |delete: pb::DeleteRangeRequest| etcd::delete_range(delete, LIMITS)),
        3 => read(bytes, |txn: pb::TxnRequest| etcd::txn(txn, LIMITS).map(|_| ())),
        4 => read(bytes, |grant: pb::LeaseGrantRequest| etcd::lease_grant(&grant, 2)),
        5 => read(bytes, |alarm: pb::AlarmRequest| etcd::alarm(&alarm).map(|(_, kind)| kind)),
        6 => read(bytes, |wanted: lock::LockRequest| etcd::lock(wanted, LIMITS).map(|_| ())),
        7 => read(bytes, |key: lock::UnlockRequest| etcd::unlock(key, LIMITS)),
        8 => read(bytes, |campaign: election::CampaignRequest| etcd::campaign(campaign, LIMITS).map(|_| ())),
        9 => read(bytes, |proclaim: election::ProclaimRequest| etcd::proclaim(proclaim, LIMITS)),
        10 => read(bytes, |resign: election::ResignRequest| etcd::resign(resign, LIMITS)),
        11 => read(bytes, |enter: v1::EnterRequest| own::election::enter(enter).map(|(_, enter)| enter)),
        12 => read(bytes, |promote: v1::PromoteRequest| own::election::promote(promote).map(|_| ())),
        13 => read(bytes, |transfer: v1::TransferRequest| own::election::transfer(transfer).map(|_| ())),
        14 => read(bytes, |acquire: v1::AcquireRequest| own::lock::acquire(acquire).map(|(_, acquire)| acquire)),
        15 => read(bytes, |claim: v1::ClaimRequest| own::claim::claim(claim).map(|(_, claims)| claims)),
        16 => read(bytes, |pin: v1::PinRequest| own::claim::pin(pin).map(|(_, body)| body)),
        17 => read(bytes, |limits: v1::SetLimitsRequest| own::claim::set_limits(limits).map(|(_, body)| body)),
        18 => read(bytes, |session: v1::OpenSessionRequest| own::session::open(&session, 500)),
        _ => read(bytes, |list: v1::ListRequest| own::listing(list).map(|_| ())),
    }
}

#[test]
fn fuzz_client_requests() {
    let with = |kind: u8, message: Vec<u8>| [vec![kind], message].concat();
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put.clone())) };
    let compare = pb::Compare { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let txn = pb::TxnRequest { compare: vec![compare], success: vec![op], ..Default::default() };
    let nested = pb::RequestOp { request: Some(pb::request_op::Request::RequestTxn(txn.clone())) };
    let deep = pb::TxnRequest { failure: vec![nested], ..txn.clone() };
    let name = Some(v1::Name { namespace: "n".into(), name: "x".into() });
    let enter = v1::EnterRequest { election: name, candidate: "c".into(), ..Default::default() };
    let seeds = [
        with(0, pb::RangeRequest { key: "k".into(), limit: 3, ..Default::default() }.encode_to_vec()),
        with(1, put.encode_to_vec()),
        with(3, txn.encode_to_vec()),
        with(3, deep.encode_to_vec()),
        with(4, pb::LeaseGrantRequest { ttl: 5, id: 7 }.encode_to_vec()),
        with(11, enter.encode_to_vec()),
    ];
    let kinds = (0..20).map(|kind| vec![kind]);
    conclave_fuzz::target!("client_requests").seeds(seeds.into_iter().chain(kinds)).run(|bytes| {
        match bytes.split_first() {
            Some((kind, message)) => request(*kind, message),
            None => "nothing".to_owned(),
        }
    });
}
