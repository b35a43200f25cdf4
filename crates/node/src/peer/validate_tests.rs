use super::*;
use bytes::BytesMut;
use conclave_state::{Command, Put};
use conclave_storage::SegmentWriter;

const ME: u64 = 1;
const LEADER: u64 = 2;
const OWN_ORIGIN: u64 = 77;

fn rules() -> Rules {
    let rules = Rules::new(ME);
    rules.are_removed([9]);
    rules
}

/// A member in term 5 whose log is committed up to entry 10, of term 4.
fn known() -> Known {
    Known { term: 5, committed: Some(At { term: 4, index: 10 }) }
}

fn id(term: u64, index: u64) -> Option<pb::LogId> {
    Some(pb::LogId { term, index })
}

fn vote(term: u64, node: u64, committed: bool) -> Option<pb::BallotVote> {
    Some(pb::BallotVote { term, node, committed })
}

fn segment(origin: u64, commands: &[Command]) -> Bytes {
    let mut writer = SegmentWriter::new();
    commands.iter().for_each(|command| {
        writer.push(command);
    });
    writer.finish(origin, 1)
}

fn put() -> Command {
    Command::Put(Put { key: "k".into(), value: "v".into(), ..Put::default() })
}

fn entry(term: u64, index: u64, pack: impl Into<Bytes>) -> pb::Entry {
    pb::Entry { term, index, payload: Some(pb::entry::Payload::Pack(pack.into())) }
}

/// A request of the leader of term 5 after entry 12: two entries of its own term.
fn append() -> pb::AppendRequest {
    pb::AppendRequest {
        vote: vote(5, LEADER, true),
        previous: id(4, 12),
        commit: id(4, 11),
        entries: vec![entry(5, 13, segment(9, &[put()])), pb::Entry { term: 5, index: 14, payload: None }],
        quiet: false,
        version: 1,
    }
}

fn appended(change: impl FnOnce(&mut pb::AppendRequest)) -> Verdict {
    let mut request = append();
    change(&mut request);
    rules().append(LEADER, &request, known())
}

#[track_caller]
fn refused(verdict: Verdict, word: &str) {
    let refusal = verdict.expect_err(word);
    assert!(refusal.0.contains(word), "{refusal}");
}

#[test]
fn what_leaders_send_passes() {
    assert_eq!(appended(|_| {}), Ok(()));
    assert_eq!(appended(|r| r.entries.clear()), Ok(()));
    // From the first entry on; after the committed entries; ahead of them.
    let first = |r: &mut pb::AppendRequest| {
        (r.previous, r.commit) = (None, None);
        r.entries = vec![pb::Entry { term: 0, index: 0, payload: None }];
    };
    assert_eq!(appended(first), Ok(()));
    assert_eq!(appended(|r| (r.previous, r.commit, r.entries) = (id(3, 8), id(5, 900), vec![])), Ok(()));
    // The leader of a later term, in which this member has not voted.
    assert_eq!(appended(|r| r.vote = vote(900, LEADER, true)), Ok(()));
    // Outdated: an older leader that does not know newer committed entries. openraft refuses it.
    let late = |r: &mut pb::AppendRequest| {
        (r.vote, r.previous, r.commit) = (vote(3, LEADER, true), id(3, 15), id(2, 5));
        r.entries = vec![pb::Entry { term: 3, index: 16, payload: None }];
    };
    assert_eq!(appended(late), Ok(()));
}

#[test]
fn what_this_program_cannot_read_is_refused_by_its_version() {
    assert_eq!(appended(|r| r.version = 0), Ok(()), "none was decided on");
    for version in [2, 1 << 16, u32::MAX] {
        refused(appended(|r| r.version = version), "version");
        let beat = |r: &mut pb::AppendRequest| (r.entries, r.version) = (vec![], version);
        let mut request = append();
        beat(&mut request);
        refused(rules().heartbeat(LEADER, &request, known()), "version");
    }
}

#[test]
fn what_is_committed_here_is_not_read_again() {
    let again = |last: pb::Entry| {
        appended(|r| {
            r.previous = id(4, 8);
            r.entries = vec![entry(4, 9, "of another version"), entry(4, 10, "of another version"), last.clone()];
        })
    };
    assert_eq!(again(entry(4, 11, segment(9, &[put()]))), Ok(()));
    refused(again(entry(4, 11, "of another version")), "decoded");
}

#[test]
fn a_log_with_gaps_or_falling_terms_is_refused() {
    refused(appended(|r| r.entries[1].index = 15), "gap");
    refused(appended(|r| r.entries[1].index = 13), "gap");
    refused(appended(|r| r.previous = id(4, 11)), "gap");
    refused(appended(|r| r.previous = None), "gap");
    refused(appended(|r| r.previous = id(4, u64::MAX)), "index");
    refused(appended(|r| r.entries[1].term = 4), "fall");
    refused(appended(|r| r.entries[1].term = 6), "after its leader's");
    refused(appended(|r| (r.previous, r.entries) = (id(6, 12), vec![])), "after its leader's");
    refused(appended(|r| r.entries = vec![append().entries[1].clone(); 9_000]), "too many");
}

#[test]
fn a_log_that_contradicts_itself_or_what_is_committed_is_refused() {
    refused(appended(|r| r.commit = id(6, 11)), "after its leader's");
    refused(appended(|r| r.commit = id(5, 11)), "contradicts the entries");
    refused(appended(|r| r.commit = id(4, 20)), "contradicts the entries");
    refused(appended(|r| r.commit = id(4, u64::MAX)), "index");
    // Entry 10 is of term 4 here.
    refused(appended(|r| (r.previous, r.commit, r.entries) = (id(5, 10), None, vec![])), "committed");
    refused(appended(|r| (r.previous, r.commit, r.entries) = (id(5, 8), None, vec![])), "committed");
    refused(appended(|r| (r.previous, r.commit, r.entries) = (id(3, 12), None, vec![])), "committed");
}

#[test]
fn a_leader_speaks_for_itself_and_is_elected() {
    refused(appended(|r| r.vote = None), "no vote");
    refused(appended(|r| r.vote = vote(5, 3, true)), "own");
    refused(appended(|r| r.vote = vote(5, ME, true)), "own");
    refused(appended(|r| r.vote = vote(5, LEADER, false)), "election");
    refused(appended(|r| r.vote = vote(0, LEADER, true)), "no term");
    refused(appended(|r| r.vote = vote(u64::MAX, LEADER, true)), "term");
    refused(rules().append(ME, &pb::AppendRequest { vote: vote(5, ME, true), ..append() }, known()), "own");
    refused(rules().append(9, &pb::AppendRequest { vote: vote(5, 9, true), ..append() }, known()), "own");
    let later = pb::AppendRequest { vote: vote(5, 4, true), ..append() };
    assert_eq!(rules().append(4, &later, known()), Ok(()), "a leader that was added since");
    refused(rules().heartbeat(LEADER, &append(), known()), "heartbeat");
}

#[test]
fn an_entry_that_cannot_be_decoded_is_refused() {
    let sound = segment(9, &[put(), put()]);
    let with = |pack: Bytes| appended(|r| r.entries[0] = entry(5, 13, pack));
    for at in [16, 20, 24] {
        let mut broken = BytesMut::from(&sound[..]);
        broken[at] ^= 0xff;
        refused(with(broken.freeze()), "decoded");
    }
    refused(with(sound.slice(1..)), "decoded");
    // The first segment is sound and the second is not.
    let two = |second: &[u8]| Bytes::from([&sound[..], second].concat());
    refused(with(two(&sound[..30])), "decoded");
    assert_eq!(with(two(&sound)), Ok(()));
}

#[test]
fn a_pack_is_bounded_in_bytes_and_commands() {
    let short = Command::LeaseRevoke { id: 1 };
    let many = |n: usize| segment(9, &vec![short.clone(); n]);
    let with = |pack: Bytes| appended(|r| r.entries[0] = entry(5, 13, pack));
    assert_eq!(with(many(MAX_COMMANDS)), Ok(()));
    refused(with(many(MAX_COMMANDS + 1)), "too large");
    let half = many(MAX_COMMANDS / 2 + 1);
    refused(with([&half[..], &half[..]].concat().into()), "too large");
    let large = Command::Put(Put { key: "k".into(), value: vec![0; MAX_PACK].into(), ..Put::default() });
    refused(with(segment(9, &[large])), "too large");
}

#[test]
fn a_membership_is_of_members_at_their_addresses() {
    let node = |id: u64| pb::membership::Node { id, name: "x".into(), peer_urls: vec![format!("http://m{id}:2380")] };
    let voters = |ids: &[u64]| pb::membership::Voters { ids: ids.to_vec() };
    let sound = pb::Membership { configs: vec![voters(&[1, 2, 3])], nodes: [1, 2, 3].map(node).to_vec() };
    let with = |change: &dyn Fn(&mut pb::Membership)| {
        let mut membership = sound.clone();
        change(&mut membership);
        let payload = Some(pb::entry::Payload::Membership(membership));
        appended(|r| r.entries[0] = pb::Entry { term: 5, index: 13, payload })
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|m| m.nodes.push(node(8))), Ok(()), "a learner that was added since");
    assert_eq!(with(&|m| m.nodes.push(node(9))), Ok(()), "from before it was removed");
    refused(with(&|m| m.nodes[2].id = 0), "nobody");
    refused(with(&|m| m.nodes[2].peer_urls = vec!["elsewhere:1".into()]), "valid name or peer URLs");
    refused(with(&|m| m.nodes[2].peer_urls.clear()), "valid name or peer URLs");
    refused(with(&|m| m.nodes[2].peer_urls = vec!["http://a:1".into(); 99]), "valid name or peer URLs");
    refused(with(&|m| m.nodes[2].name = "x".repeat(9_999)), "valid name or peer URLs");
    refused(with(&|m| m.nodes = (1..2_000).map(node).collect()), "too many");
    refused(with(&|m| m.nodes.push(node(1))), "twice");
    refused(with(&|m| m.configs.clear()), "without voters");
    refused(with(&|m| m.configs = vec![voters(&[])]), "voters");
    refused(with(&|m| m.configs = vec![voters(&[1, 4])]), "voters");
    refused(with(&|m| m.nodes.clear()), "voters");
}

#[test]
fn a_candidate_asks_for_itself_and_for_a_term_within_reach() {
    let asked = |vote, last| {
        let request = pb::VoteRequest { vote, last, ..Default::default() };
        rules().vote(LEADER, &request, known())
    };
    assert_eq!(asked(vote(6, LEADER, false), id(5, 20)), Ok(()));
    assert_eq!(asked(vote(3, LEADER, false), None), Ok(()), "late");
    assert_eq!(asked(vote(50_000_000, LEADER, false), id(5, 20)), Ok(()), "this member was away for long");
    refused(asked(vote(u64::MAX, LEADER, false), id(5, 20)), "term");
    refused(asked(vote(6, 3, false), id(5, 20)), "own");
    let removed = pb::VoteRequest { vote: vote(6, 9, false), ..Default::default() };
    refused(rules().vote(9, &removed, known()), "own");
    refused(asked(vote(6, LEADER, true), id(5, 20)), "leads");
    refused(asked(vote(6, LEADER, false), id(6, 20)), "future");
    refused(asked(vote(6, LEADER, false), id(5, u64::MAX)), "index");
    refused(asked(None, None), "no vote");
}

#[test]
fn a_transfer_names_a_member() {
    let asked = |to, last| {
        let request = pb::TransferRequest { from: vote(5, LEADER, true), to, last };
        rules().transfer(LEADER, &request, known())
    };
    assert_eq!(asked(ME, id(5, 20)), Ok(()));
    refused(asked(9, id(5, 20)), "no member");
    refused(asked(ME, id(6, 20)), "after its leader's");
}

#[test]
fn a_snapshot_is_of_its_leader_s_past_and_agrees_with_what_is_committed() {
    let node = pb::membership::Node { id: 2, name: "x".into(), peer_urls: vec!["http://m2:2380".into()] };
    let membership = pb::Membership { configs: vec![pb::membership::Voters { ids: vec![2] }], nodes: vec![node] };
    let with = |change: &dyn Fn(&mut pb::snapshot_part::Head)| {
        let mut head = pb::snapshot_part::Head {
            vote: vote(5, LEADER, true),
            last: id(5, 20),
            membership_at: id(0, 0),
            membership: Some(membership.clone()),
            files: vec![],
            version: 1,
        };
        change(&mut head);
        rules().snapshot(LEADER, &head, known())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    refused(with(&|h| h.version = 2), "version");
    refused(with(&|h| h.vote = vote(u64::MAX, LEADER, true)), "term");
    refused(with(&|h| h.vote = vote(5, 3, true)), "own");
    refused(with(&|h| h.last = None), "nothing");
    refused(with(&|h| h.last = id(6, 20)), "later term");
    refused(with(&|h| h.membership = None), "membership");
    refused(with(&|h| h.membership_at = None), "membership");
    refused(with(&|h| h.membership_at = id(5, 21)), "after the snapshot");
    // openraft stops the process for this: a later term at a committed index.
    refused(with(&|h| h.last = id(5, 9)), "committed");
}

#[test]
fn forwarded_segments_are_sound_and_of_their_sender() {
    let forwarded = |segments: Vec<Bytes>| rules().forward(&pb::ForwardRequest { term: 5, segments }, OWN_ORIGIN);
    let sound = segment(9, &[put(), put()]);
    assert_eq!(forwarded(vec![sound.clone(), sound.clone()]), Ok(4));
    let refused = |segments, word| refused(forwarded(segments).map(drop), word);
    refused(vec![], "nothing");
    refused(vec![segment(9, &[])], "nothing");
    refused(vec![sound.slice(..30)], "decoded");
    refused(vec![segment(OWN_ORIGIN, &[put()])], "name of its receiver");
    refused(vec![sound.clone(), segment(10, &[put()])], "several origins");
    refused(vec![Bytes::from(vec![0; MAX_PACK / 2 + 1]); 2], "more than fits");
    let many = segment(9, &vec![Command::LeaseRevoke { id: 1 }; MAX_COMMANDS / 2 + 1]);
    refused(vec![many.clone(), many], "more than fits");
}

#[test]
fn small_requests_are_bounded() {
    let renew = |ids: usize, spans: usize, kept| {
        let request = pb::KeepAliveRequest { ids: vec![1; ids], span_millis: vec![u64::MAX; spans], kept };
        rules().keep_alive(&request)
    };
    assert_eq!((renew(3, 0, 0), renew(3, 3, 1)), (Ok(()), Ok(())));
    refused(renew(3, 2, 0), "pair");
    refused(renew(3, 3, 7), "kind");
    refused(renew(MAX_RENEWALS + 1, 0, 0), "too many");
    refused(rules().remaining(&pb::RemainingRequest { id: 1, kept: 7 }), "kind");
    refused(rules().register(LEADER, &pb::RegisterRequest { member: 3, incarnation: 1 }), "another");
    refused(rules().join(LEADER, &pb::JoinRequest { member: 3, incarnation: 1, supports: None }), "another");
}

#[test]
fn replies_say_no_more_than_they_were_asked() {
    let rules = rules();
    let reply = |reply: pb::AppendReply| rules.append_reply(&reply, id(5, 14), 5);
    let matched = |matched| reply(pb::AppendReply { matched, ..Default::default() });
    assert_eq!((matched(id(5, 14)), matched(None)), (Ok(()), Ok(())));
    refused(matched(id(5, 15)), "not asked for");
    refused(matched(id(4, 14)), "not asked for");
    let conflict = |conflict| reply(pb::AppendReply { conflict, ..Default::default() });
    assert_eq!(conflict(id(4, 12)), Ok(()));
    refused(conflict(id(4, 15)), "behind");
    let higher = |higher| reply(pb::AppendReply { higher, ..Default::default() });
    assert_eq!(higher(vote(6, 3, true)), Ok(()));
    refused(higher(vote(u64::MAX, 3, true)), "term");
    assert_eq!(higher(vote(6, 9, false)), Ok(()), "of a leader that was removed since");
    refused(higher(vote(6, 0, false)), "nobody");

    let voted = |vote, last| rules.vote_reply(&pb::VoteReply { vote, last, granted: true }, 5);
    assert_eq!(voted(vote(0, 0, false), None), Ok(()), "a member that has never voted");
    refused(voted(vote(u64::MAX, 3, false), None), "term");
    refused(voted(vote(6, 3, false), id(5, u64::MAX)), "index");
    refused(read_index(&pb::ReadIndexReply { leader: true, index: u64::MAX }), "index");
}

/// A refused stranger must not learn the ids of members.
#[test]
fn refusals_tell_no_numbers() {
    let refusals = [
        appended(|r| r.entries[1].index = 15),
        appended(|r| r.vote = vote(5, 3, true)),
        rules().register(LEADER, &pb::RegisterRequest { member: 3, incarnation: 1 }),
    ];
    for refusal in refusals {
        assert!(!refusal.unwrap_err().0.contains(|c: char| c.is_ascii_digit()));
    }
}
