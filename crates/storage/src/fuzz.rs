//! Fuzz targets for input from the log's disk and from peers: records, packs, commands, and
//! applying a command.

use crate::codec::{self, Registration, SweepProgress, unseal};
use crate::identity::Identity;
use crate::proposal::{MAX_COMMANDS, Pack, SegmentWriter, check_pack, check_segment};
use crate::types::{Entry, Membership, Payload, SnapshotMeta, StoredMembership, log_id, vote};
use bytes::Bytes;
use conclave_state::{
    Alarm, AlarmChange, AlarmKind, Cancel, Command, Compare, Coord, CoordBody, CoordTimer, DeleteRange, Dequeue,
    DequeueBy, Enqueue, Enter, Expire, KeyRange, LeaseGrant, Machine, Member, MemoryView, Name, Op, PlaceId, Position,
    Proclaim, Put, QueueKind, RangeQuery, Relation, Target, Txn,
};

fn put(key: &'static str) -> Command {
    Command::Put(Put { key: key.into(), value: "value".into(), prev_kv: true, ..Put::default() })
}

fn range(key: &'static str) -> KeyRange {
    KeyRange { key: key.into(), end: "\0".into() }
}

fn coord(body: CoordBody) -> Command {
    Command::Coord(Box::new(Coord { session: 7, dedupe: Some([3; 16]), expect: None, body }))
}

fn txn() -> Txn {
    let compare = Compare { range: range("k"), relation: Relation::Greater, target: Target::Version(0) };
    let inner =
        Txn { failure: vec![Op::Range(RangeQuery { range: range("k"), ..Default::default() })], ..Txn::default() };
    let Command::Put(put) = put("t") else { unreachable!("made above") };
    Txn { compares: vec![compare], success: vec![Op::Put(put), Op::Txn(inner.clone())], failure: inner.failure }
}

/// One command of most kinds.
fn commands() -> Vec<Command> {
    let name = || Name { namespace: "n".into(), name: "e".into() };
    let (kind, name_of_queue) = (QueueKind::Lock, "q".into());
    let enqueue = Enqueue { kind, name: name_of_queue, lease: 7, grant_ttl_ms: 10, value: Bytes::new(), attempt: 5 };
    let cancel = |place| Command::Cancel(Cancel { session: 7, attempt: 5, place });
    let dequeue = |by| Command::Dequeue(Dequeue { key: "q/7".into(), by });
    vec![
        Command::LeaseGrant(LeaseGrant { id: 7, ttl_ms: 60_000 }),
        put("k"),
        Command::Txn(txn()),
        coord(CoordBody::Enter(Enter { election: name(), candidate: "c".into(), ..Enter::default() })),
        Command::Enqueue(enqueue),
        cancel(PlaceId::Key("q/7".into())),
        cancel(PlaceId::Candidate { election: name(), candidate: "c".into() }),
        cancel(PlaceId::Request { fence: 0, dedupe: Some([1; 16]) }),
        Command::Proclaim(Proclaim { key: "q/7".into(), create_revision: 3, value: "v".into() }),
        dequeue(DequeueBy::CreateRevision(3)),
        dequeue(DequeueBy::Lock),
        Command::Announce(Member { id: 1, name: "a".into(), client_urls: vec!["http://a:1".into()] }),
        Command::CoordTimer(CoordTimer { ids: vec![1], term: 1 }),
        Command::Compact { revision: 2 },
        Command::Alarm(AlarmChange { raise: false, alarm: Alarm { member: 1, kind: AlarmKind::NoSpace } }),
        Command::DeleteRange(DeleteRange { range: range("k"), prev_kv: true }),
        Command::Expire(Expire { leases: vec![7], term: 1, observed: 9 }),
        Command::LeaseRevoke { id: 8 },
        coord(CoordBody::DeleteElection(name())),
    ]
}

fn segment(commands: &[Command]) -> Bytes {
    let mut writer = SegmentWriter::new();
    commands.iter().for_each(|command| {
        writer.push(command);
    });
    writer.finish(1, 2)
}

/// Gives the record a matching checksum: otherwise the code after the check would hardly be
/// reached.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut record = [&[1; 5], bytes].concat();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&[1]), &record[5..]);
    record[1..5].copy_from_slice(&sum.to_le_bytes());
    record
}

fn every_record(record: &[u8]) -> String {
    let entry = codec::decode_entry(&Bytes::copy_from_slice(record));
    if let Ok(entry) = &entry {
        let mut again = Vec::new();
        codec::encode_entry(entry, &mut again);
        assert_eq!(codec::decode_entry(&again.into()).as_ref(), Ok(entry));
    }
    let (vote, id) = (codec::decode_vote(record), codec::decode_log_id(record));
    let (membership, meta) = (codec::decode_membership(record), codec::decode_snapshot_meta(record));
    let own = (unseal::<Identity>(record), unseal::<Registration>(record), unseal::<SweepProgress>(record));
    format!("{entry:?} {vote:?} {id:?} {membership:?} {meta:?} {own:?}")
}

/// With a matching checksum. The first byte is the kind of record.
#[test]
fn fuzz_record() {
    let membership = StoredMembership::new(Some(log_id(1, 2)), Membership::new_with_defaults(vec![[1, 2].into()], []));
    let meta = SnapshotMeta { last_log_id: Some(log_id(3, 4)), last_membership: membership.clone() };
    let entry = |payload| {
        let mut out = Vec::new();
        codec::encode_entry(&Entry { log_id: log_id(5, 6), payload }, &mut out);
        out
    };
    let records = [
        codec::encode_vote(&vote(1, 2, true)),
        codec::encode_log_id(&log_id(3, 4)),
        codec::encode_membership(&membership),
        codec::encode_snapshot_meta(&meta),
        codec::seal(&Identity { cluster_id: 1, member_id: 2, name: "a".into(), incarnation: 3 }),
        codec::seal(&Registration { incarnation: 3 }),
        codec::seal(&SweepProgress { from: 1, done: 2 }),
        entry(Payload::Blank),
        entry(Payload::Membership(membership.membership().clone())),
        entry(Payload::Normal(Pack(segment(&[put("k")])))),
    ];
    let seeds = records.map(|record| record[5..].to_vec());
    conclave_fuzz::target!("record").seeds(seeds).run(|bytes| every_record(&resealed(bytes)));
}

/// The raw record, including its checksum.
#[test]
fn fuzz_raw_record() {
    let record = codec::encode_vote(&vote(1, 2, true));
    conclave_fuzz::target!("raw_record").seed(record).run(every_record);
}

#[test]
fn fuzz_pack() {
    let two = Pack::join(vec![segment(&commands()), segment(&[put("a")])]).0;
    conclave_fuzz::target!("pack").seeds([segment(&commands()), two, Bytes::new()]).run(|bytes| {
        let pack = Bytes::copy_from_slice(bytes);
        let checked = check_pack(&pack);
        let segments: Result<Vec<_>, _> = Pack(pack.clone()).segments().collect();
        // A pack that passes the check before append can be applied later.
        match (&checked, &segments) {
            (Ok(commands), Ok(segments)) => {
                assert_eq!(segments.iter().map(|segment| segment.commands.len()).sum::<usize>(), *commands);
                assert!(*commands <= MAX_COMMANDS);
            }
            (Err(_), Err(_)) => {}
            (checked, segments) => panic!("{checked:?}, but {segments:?}"),
        }
        format!("{:?} {segments:?}", check_segment(&pack))
    });
}

/// Every command that decodes can be applied: it succeeds or is rejected, without a fault of the
/// state.
#[test]
fn fuzz_apply() {
    let each = commands().into_iter().map(|command| segment(&[command]));
    let seeds = each.chain([segment(&commands())]);
    conclave_fuzz::target!("apply").seeds(seeds).run(|bytes| {
        let pack = Pack(Bytes::copy_from_slice(bytes));
        let Ok(segments) = pack.segments().collect::<Result<Vec<_>, _>>() else { return "unreadable".into() };
        let mut view = MemoryView::new();
        let mut machine = Machine::load(&view).expect("the empty store");
        let mut told = Vec::new();
        // On a state that is not empty.
        let before = commands();
        let all = before.iter().take(4).chain(segments.iter().flat_map(|segment| &segment.commands));
        for (index, command) in (1..).zip(all) {
            let mut batch = machine.begin(&view);
            let outcome = batch.apply(Position { index, term: 1 }, command, true);
            told.push(outcome.expect("a command is no reason for a fault"));
            let changes = batch.finish();
            view.write(&changes.writes);
        }
        let loaded = Machine::load(&view).expect("what was written can be read");
        assert_eq!(loaded.meta(), machine.meta());
        format!("{told:?}")
    });
}
