//! Fuzz targets of the peer protocol, one for each message: arbitrary bytes go through the decoder,
//! the rules and the conversion. Whole conversations with a node are in `tests/conversation.rs`.

use super::transport::PeerError;
use super::validate::{At, Known, Rules};
use super::{convert, log, pb};
use conclave_state::{Command, Put};
use conclave_storage::SegmentWriter;
use futures::StreamExt;
use prost::Message;
use std::fmt::Debug;

const FROM: u64 = 2;

fn rules() -> Rules {
    Rules::new(1)
}

fn known() -> Known {
    Known { term: 5, committed: Some(At { term: 4, index: 10 }) }
}

fn ballot(committed: bool) -> Option<pb::BallotVote> {
    Some(pb::BallotVote { term: 6, node: FROM, committed })
}

fn id(index: u64) -> Option<pb::LogId> {
    Some(pb::LogId { term: 5, index })
}

fn membership() -> pb::Membership {
    let node = |id: u64| pb::membership::Node { id, name: "m".into(), peer_urls: vec![format!("http://m{id}:1")] };
    let voters = pb::membership::Voters { ids: vec![1, 2, 3] };
    pb::Membership { configs: vec![voters], nodes: [1, 2, 3].map(node).to_vec() }
}

fn segment() -> bytes::Bytes {
    let mut writer = SegmentWriter::new();
    writer.push(&Command::Put(Put { key: "k".into(), value: "v".into(), ..Put::default() }));
    writer.push(&Command::LeaseRevoke { id: 1 });
    writer.finish(9, 1)
}

fn append() -> pb::AppendRequest {
    let payloads =
        [None, Some(pb::entry::Payload::Pack(segment())), Some(pb::entry::Payload::Membership(membership()))];
    let entries = (13..).zip(payloads).map(|(index, payload)| pb::Entry { term: 6, index, payload });
    let entries = entries.collect();
    pb::AppendRequest { vote: ballot(true), previous: id(12), commit: id(11), entries, quiet: true, version: 1 }
}

/// Decodes the message and applies rules and conversion. The conversion must accept everything that
/// the rules accept.
fn judged<M: Message + Default, V: Debug, E: Debug, T: Debug, F: Debug>(
    bytes: &[u8],
    check: impl Fn(&M) -> Result<V, E>,
    convert: impl Fn(M) -> Result<T, F>,
) -> String {
    let Ok(message) = M::decode(bytes) else { return "no message".into() };
    match check(&message) {
        Err(refusal) => format!("{refusal:?}"),
        Ok(_) => format!("{:?}", convert(message).expect("the rules let it pass")),
    }
}

fn as_it_is<M>(message: M) -> Result<M, ()> {
    Ok(message)
}

#[test]
fn fuzz_peer_append() {
    let heartbeat = pb::AppendRequest { entries: vec![], ..append() };
    conclave_fuzz::target!("peer_append").seeds([append().encode_to_vec(), heartbeat.encode_to_vec()]).run(|bytes| {
        let rules = rules();
        let told = judged(bytes, |m| rules.append(FROM, m, known()), convert::from_append);
        told + &judged(bytes, |m| rules.heartbeat(FROM, m, known()), convert::from_append)
    });
}

#[test]
fn fuzz_peer_vote() {
    let request = pb::VoteRequest { vote: ballot(false), last: id(20), leadership_transfer: true, pre_vote: true };
    conclave_fuzz::target!("peer_vote")
        .seed(request.encode_to_vec())
        .run(|bytes| judged(bytes, |m| rules().vote(FROM, m, known()), convert::from_vote_request));
}

#[test]
fn fuzz_peer_transfer() {
    let request = pb::TransferRequest { from: ballot(true), to: 1, last: id(20) };
    conclave_fuzz::target!("peer_transfer")
        .seed(request.encode_to_vec())
        .run(|bytes| judged(bytes, |m| rules().transfer(FROM, m, known()), convert::from_transfer));
}

#[test]
fn fuzz_peer_snapshot() {
    let file = pb::snapshot_part::File { name: "000012.sst".into(), size: 7, crc32c: 9 };
    let head = pb::snapshot_part::Head {
        vote: ballot(true),
        last: id(20),
        membership_at: id(3),
        membership: Some(membership()),
        files: vec![file],
        version: 1,
    };
    conclave_fuzz::target!("peer_snapshot").seed(head.encode_to_vec()).run(|bytes| {
        let members = |head: pb::snapshot_part::Head| convert::from_membership(head.membership.unwrap_or_default());
        judged(bytes, |m| rules().snapshot(FROM, m, known()), members)
    });
}

#[test]
fn fuzz_peer_forward() {
    let request = pb::ForwardRequest { term: 5, segments: vec![segment(), segment()] };
    conclave_fuzz::target!("peer_forward")
        .seed(request.encode_to_vec())
        .run(|bytes| judged(bytes, |m: &pb::ForwardRequest| rules().forward(m, 77), as_it_is));
}

#[test]
fn fuzz_peer_keep_alive() {
    let request = pb::KeepAliveRequest { ids: vec![1, -2], kept: 1, span_millis: vec![5, u64::MAX] };
    conclave_fuzz::target!("peer_keep_alive").seed(request.encode_to_vec()).run(|bytes| {
        let requests = |m| Ok::<_, ()>(convert::from_keep_alive(m));
        judged(bytes, |m| rules().keep_alive(m), requests)
    });
}

/// Remaining, Register and ReadIndex: numbers.
#[test]
fn fuzz_peer_small_requests() {
    let seeds = [
        pb::RemainingRequest { id: -5, kept: 1 }.encode_to_vec(),
        pb::RegisterRequest { member: FROM, incarnation: 9 }.encode_to_vec(),
        pb::LogHello { cluster: 1, from: 2, to: 3 }.encode_to_vec(),
    ];
    conclave_fuzz::target!("peer_small_requests").seeds(seeds).run(|bytes| {
        let remaining = judged(bytes, |m| rules().remaining(m), as_it_is);
        let register = judged(bytes, |m: &pb::RegisterRequest| rules().register(FROM, m), as_it_is);
        format!("{remaining} {register} {:?}", pb::LogHello::decode(bytes))
    });
}

#[test]
fn fuzz_peer_replies() {
    let seeds = [
        pb::AppendReply { matched: id(12), ..Default::default() }.encode_to_vec(),
        pb::AppendReply { conflict: id(11), ..Default::default() }.encode_to_vec(),
        pb::AppendReply { higher: ballot(true), ..Default::default() }.encode_to_vec(),
        pb::VoteReply { vote: ballot(false), last: id(12), granted: true }.encode_to_vec(),
        pb::SnapshotReply { vote: ballot(false) }.encode_to_vec(),
        pb::ReadIndexReply { leader: true, index: 7 }.encode_to_vec(),
        pb::TransferReply::default().encode_to_vec(),
    ];
    conclave_fuzz::target!("peer_replies").seeds(seeds).run(|bytes| {
        let rules = rules();
        let appended = judged(bytes, |m| rules.append_reply(m, id(12), 5), convert::from_append_reply);
        let voted = judged(bytes, |m| rules.vote_reply(m, 5), convert::from_vote_reply);
        let installed = judged(bytes, |m: &pb::SnapshotReply| rules.told_vote(m.vote.as_ref(), 5), as_it_is);
        let read = judged(bytes, super::validate::read_index, as_it_is);
        let transferred = pb::TransferReply::decode(bytes).map(convert::from_transfer_reply);
        format!("{appended} {voted} {installed} {read} {transferred:?}")
    });
}

/// A log connection from its first byte on.
#[test]
fn fuzz_log_connection() {
    let frame = |message: &[u8]| [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    let hello = frame(&pb::LogHello { cluster: 1, from: FROM, to: 1 }.encode_to_vec());
    let requests = [frame(&append().encode_to_vec()), frame(&[])].concat();
    let whole = [&b"conclave log 1\n"[..], &hello[..], &requests[..]].concat();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    conclave_fuzz::target!("log_connection").seed(whole).run(|bytes| {
        let sent = std::io::Cursor::new(bytes.to_vec());
        let mut replies = Vec::new();
        let served = log::answer_on(sent, &mut replies, |ids, requests| {
            let checked = requests.map(move |request| -> Result<pb::AppendReply, PeerError> {
                let request = request?;
                rules().append(ids.from, &request, known())?;
                Ok(pb::AppendReply { matched: request.previous, ..Default::default() })
            });
            Ok(checked.boxed())
        });
        let ended = runtime.block_on(served).map_err(|error| error.kind());
        format!("{ended:?} {}", replies.len())
    });
}
