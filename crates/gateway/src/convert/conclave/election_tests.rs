//! Each operation as it is asked for, and what cannot be asked for.

use super::*;
use bytes::Bytes;

fn of(name: &str) -> Option<v1::Name> {
    Some(v1::Name { namespace: String::new(), name: name.into() })
}

fn with(session: i64) -> Option<v1::Caller> {
    Some(v1::Caller { session, ..Default::default() })
}

fn said<T: std::fmt::Debug>(result: Result<T, BadField>) -> String {
    result.expect_err("it is no good").to_string()
}

#[test]
fn a_candidate_without_a_name_is_called_by_its_session() {
    let request = v1::EnterRequest { caller: with(0x1f), election: of("e"), ..Default::default() };
    assert_eq!(enter(request.clone()).unwrap().1.candidate, "1f");
    let negative = v1::EnterRequest { caller: with(-1), ..request.clone() };
    assert_eq!(enter(negative).unwrap().1.candidate, "ffffffffffffffff");
    let named = v1::EnterRequest { candidate: "a".into(), ..request.clone() };
    assert_eq!(enter(named).unwrap().1.candidate, "a");
    assert_eq!(
        said(enter(v1::EnterRequest { caller: with(0), ..request })),
        "caller.session is 0; this operation needs a session"
    );
}

#[test]
fn the_same_labels_are_the_same_command() {
    let labels = || ('a'..='z').rev().map(|label| (label.to_string(), String::new())).collect();
    let request = || v1::EnterRequest { caller: with(1), election: of("e"), labels: labels(), ..Default::default() };
    let (one, other) = (enter(request()).unwrap(), enter(request()).unwrap());
    assert_eq!(one, other);
    assert!(one.1.labels.is_sorted());
}

#[test]
fn campaigns() {
    let entering = v1::EnterRequest { caller: with(1), election: of("e"), ..Default::default() };
    let request = |enter: &v1::EnterRequest, timeout_ms| v1::CampaignRequest {
        enter: Some(enter.clone()),
        timeout_ms,
        stay: true,
    };
    assert_eq!(campaign(request(&entering, 0)).unwrap().timeout, None);
    assert_eq!(campaign(request(&entering, 7)).unwrap().timeout, Some(Duration::from_millis(7)));
    assert_eq!(
        said(campaign(request(&entering, (1 << 53) + 1))),
        "timeout_ms is 9007199254740993; at most 9007199254740992 is allowed"
    );
    assert_eq!(said(campaign(v1::CampaignRequest::default())), "enter is missing");
    let nameless = v1::EnterRequest { election: of(""), ..entering.clone() };
    assert_eq!(said(campaign(request(&nameless, 0))), "enter.election.name is empty");
    let tries = v1::EnterRequest { try_only: true, ..entering };
    assert_eq!(said(campaign(request(&tries, 0))), "enter.try_only is set; who campaigns waits (Enter tries)");
}

#[test]
fn moves_within_the_line() {
    let request = |to| v1::PromoteRequest { election: of("e"), candidate: "a".into(), to, ..Default::default() };
    let to = |to| match promote(request(to)).unwrap().1 {
        CoordBody::Promote(promote) => promote.to,
        other => panic!("{other:?}"),
    };
    assert_eq!(to(None), PromoteTo::Places(1));
    assert_eq!(to(Some(To::Places(3))), PromoteTo::Places(3));
    assert_eq!(to(Some(To::FrontOfQueue(true))), PromoteTo::Front);
    assert_eq!(to(Some(To::Lead(true))), PromoteTo::Lead);
    assert_eq!(said(promote(request(Some(To::Places(0))))), "places is 0; leave it out for 1");
    assert_eq!(said(promote(request(Some(To::FrontOfQueue(false))))), "front_of_queue is false; leave it out");
    assert_eq!(said(promote(request(Some(To::Lead(false))))), "lead is false; leave it out");
    let back = |places| match demote(v1::DemoteRequest {
        election: of("e"),
        candidate: "a".into(),
        places,
        ..Default::default()
    }) {
        Ok((_, CoordBody::Demote(demote))) => demote.places,
        other => panic!("{other:?}"),
    };
    assert_eq!((back(0), back(2), back(u32::MAX)), (1, 2, u32::MAX));
}

#[test]
fn candidates_must_be_named() {
    let expected = "candidate is empty";
    assert_eq!(said(leave(v1::LeaveRequest { election: of("e"), ..Default::default() })), expected);
    assert_eq!(said(anoint(v1::AnointRequest { election: of("e"), ..Default::default() })), expected);
    assert_eq!(said(promote(v1::PromoteRequest { election: of("e"), ..Default::default() })), expected);
    assert_eq!(said(demote(v1::DemoteRequest { election: of("e"), ..Default::default() })), expected);
    assert_eq!(said(evict(v1::EvictRequest { election: of("e"), ..Default::default() })), expected);
    assert_eq!(said(evict_everywhere(v1::EvictEverywhereRequest::default())), expected);
    assert_eq!(
        said(request_transfer(v1::RequestTransferRequest { election: of("e"), ..Default::default() })),
        "to is empty"
    );
    // The pending request may name it.
    assert!(transfer(v1::TransferRequest { election: of("e"), ..Default::default() }).is_ok());
}

#[test]
fn transfers_and_proclamations() {
    let request = v1::RequestTransferRequest { election: of("e"), to: "a".into(), force: true, ..Default::default() };
    assert_eq!(
        said(request_transfer(request.clone())),
        "deadline_ms is 0; `force` is about what happens at the deadline"
    );
    assert!(request_transfer(v1::RequestTransferRequest { deadline_ms: 1, ..request }).is_ok());
    assert_eq!(
        said(transfer(v1::TransferRequest { election: of("e"), term_id: -1, ..Default::default() })),
        "term_id is negative"
    );
    let value = Bytes::from(vec![0; (1 << 20) + 1]);
    let much = v1::ProclaimRequest { election: of("e"), term_id: 1, value, caller: None };
    assert_eq!(said(proclaim(much)), "value has 1048577 bytes; at most 1048576 are allowed");
}

#[test]
fn a_watch_from_now_begins_with_a_snapshot_unless_told_not_to() {
    let request = v1::WatchElectionRequest { election: of("e"), ..Default::default() };
    let begins = |request| watch(request).map(|watch| (watch.resume, watch.snapshot));
    assert_eq!(begins(request.clone()), Ok((None, true)));
    assert_eq!(begins(v1::WatchElectionRequest { no_snapshot: true, ..request.clone() }), Ok((None, false)));
    assert_eq!(begins(v1::WatchElectionRequest { start_revision: 5, ..request.clone() }), Ok((Some(5), false)));
    assert_eq!(said(begins(v1::WatchElectionRequest { start_revision: -5, ..request })), "start_revision is negative");
}

#[test]
fn draining_is_of_one_namespace_or_all_and_expects_nothing() {
    let request = v1::EvictEverywhereRequest { candidate: "a".into(), ..Default::default() };
    let namespace = |request| match evict_everywhere(request) {
        Ok((_, CoordBody::EvictEverywhere(evict))) => evict.namespace,
        other => panic!("{other:?}"),
    };
    assert_eq!(namespace(request.clone()), None);
    assert_eq!(
        namespace(v1::EvictEverywhereRequest { namespace: "n".into(), ..request.clone() }).as_deref(),
        Some("n")
    );
    let caller = Some(v1::Caller { expect: Some(v1::Expect::default()), ..Default::default() });
    let expecting = evict_everywhere(v1::EvictEverywhereRequest { caller, ..request });
    assert_eq!(said(expecting), "caller.expect is set; only a request about one election or one claim has one");
}
