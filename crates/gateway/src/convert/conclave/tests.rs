//! Each field that cannot be what it is, with what is said about it.

use super::*;
use bytes::Bytes;
use conclave_api::conclave::v1;
use conclave_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use conclave_state::{Cause, CoordBody, Expect, Name, coord};

fn said<T: std::fmt::Debug>(result: Result<T, BadField>) -> String {
    result.expect_err("it is no good").to_string()
}

fn wire(namespace: &str, name: &str) -> Option<v1::Name> {
    Some(v1::Name { namespace: namespace.into(), name: name.into() })
}

#[test]
fn names() {
    let state = |namespace: &str, name: &str| Name { namespace: namespace.into(), name: name.into() };
    assert_eq!(name("election", wire("", "e")), Ok(state("default", "e")));
    assert_eq!(name("election", wire("n s", "ä/%")), Ok(state("n s", "ä/%")));
    let long = "x".repeat(256);
    assert_eq!(name("election", wire(&long, &long)), Ok(state(&long, &long)));
    assert_eq!(said(name("election", None)), "election is missing");
    assert_eq!(said(name("election", wire("", ""))), "election.name is empty");
    let longer = "ä".repeat(129);
    assert_eq!(said(name("lock", wire("", &longer))), "lock.name has 258 bytes; at most 256 are allowed");
    assert_eq!(said(name("lock", wire(&longer, "l"))), "lock.namespace has 258 bytes; at most 256 are allowed");
    for control in ["\0", "a\nb", "\x7f", "\u{85}"] {
        assert_eq!(said(name("claim", wire("", control))), "claim.name has a control character");
        assert_eq!(said(name("claim", wire(control, "c"))), "claim.namespace has a control character");
    }
    assert_eq!(said(text("holder", String::new())), "holder is empty");
    assert_eq!(optional_text("instance", Some(String::new())), Ok(Some(String::new())));
    assert_eq!(optional_text("instance", None), Ok(None));
    assert_eq!(said(optional_text("instance", Some("\t".into()))), "instance has a control character");
    let inner = name("claim", wire("", "")).map_err(|bad| bad.within(format_args!("items[{}]", 3)));
    assert_eq!(said(inner), "items[3].claim.name is empty");
}

#[test]
fn callers() {
    let nobody = caller(None, Session::Optional, Expecting::Allowed).unwrap();
    assert_eq!(nobody, Caller::default());
    assert_eq!(
        said(caller(None, Session::Required, Expecting::Allowed)),
        "caller.session is 0; this operation needs a session"
    );
    let with = |dedupe: &[u8], expect: Option<v1::Expect>| {
        Some(v1::Caller { session: -7, dedupe_id: Bytes::copy_from_slice(dedupe), expect })
    };
    for bytes in [1, 15, 17, 1000] {
        assert_eq!(
            said(caller(with(&vec![0; bytes], None), Session::Optional, Expecting::Allowed)),
            format!("caller.dedupe_id has {bytes} bytes; it must be empty or 16 bytes")
        );
    }
    let full = caller(with(&[9; 16], None), Session::Required, Expecting::Refused).unwrap();
    assert_eq!(full, Caller { session: -7, dedupe: Some([9; 16]), expect: None });
    let body = CoordBody::DeleteElection(Name::default());
    assert!(
        matches!(full.command(body), conclave_state::Command::Coord(c) if c.session == -7 && c.dedupe == Some([9; 16]))
    );
}

#[test]
fn expectations() {
    let with = |fence, revision, holder: Option<&str>| {
        let expect = v1::Expect { fence, revision, holder: holder.map(Into::into) };
        Some(v1::Caller { expect: Some(expect), ..Default::default() })
    };
    let allowed = |from| caller(from, Session::Optional, Expecting::Allowed).map(|caller| caller.expect.unwrap());
    let nobody = Expect { fence: Some(0), revision: None, holder: Some(String::new()) };
    assert_eq!(allowed(with(Some(0), None, Some(""))), Ok(nobody));
    assert_eq!(said(allowed(with(Some(-1), None, None))), "caller.expect.fence is negative");
    assert_eq!(said(allowed(with(None, Some(-1), None))), "caller.expect.revision is negative");
    assert_eq!(said(allowed(with(None, None, Some("\n")))), "caller.expect.holder has a control character");
    assert_eq!(
        said(caller(with(None, None, None), Session::Optional, Expecting::Refused)),
        "caller.expect is set; only a request about one election or one claim has one"
    );
}

#[test]
fn durations_values_and_reasons() {
    assert_eq!(millis("max_hold_ms", 1 << 53), Ok(1 << 53));
    assert_eq!(
        said(millis("max_hold_ms", u64::MAX)),
        "max_hold_ms is 18446744073709551615; at most 9007199254740992 is allowed"
    );
    assert!(byte_value("value", vec![0; 1 << 20].into()).is_ok());
    assert_eq!(
        said(byte_value("value", vec![0; (1 << 20) + 1].into())),
        "value has 1048577 bytes; at most 1048576 are allowed"
    );
    assert!(reason("reason", "line\n\tline".into()).is_ok());
    assert_eq!(said(reason("reason", "x".repeat(1025))), "reason has 1025 bytes; at most 1024 are allowed");
    assert_eq!(said(reason("reason", "\x07".into())), "reason has a control character");
    assert_eq!(said(revision("start_revision", -1)), "start_revision is negative");
}

#[test]
fn labels_are_put_in_order() {
    let pairs = |from: &[(&str, &str)]| from.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let ordered = vec![("a".to_owned(), String::new()), ("b".to_owned(), "x".to_owned())];
    assert_eq!(labels("labels", pairs(&[("b", "x"), ("a", "")])), Ok(ordered));
    assert_eq!(said(labels("labels", pairs(&[("", "x")]))), "labels is empty");
    assert_eq!(said(labels("labels", pairs(&[("a", "\0")]))), "labels has a control character");
    let many = (0..33).map(|i| (i.to_string(), String::new())).collect();
    assert_eq!(said(labels("labels", many)), "labels has 33 entries; at most 32 are allowed");
}

#[test]
fn pages_of_names() {
    let request = v1::ListRequest { namespace: "n".into(), after: wire("n", "e"), limit: 10, serializable: true };
    let page_of = listing(request.clone()).unwrap();
    assert_eq!((page_of.size, page_of.listing.limit, page_of.serializable), (10, 11, true));
    assert_eq!(page_of.listing.namespace.as_deref(), Some("n"));
    assert_eq!(page_of.listing.after.unwrap().name, "e");
    let all = listing(v1::ListRequest::default()).unwrap();
    assert_eq!((all.size, all.listing.namespace, all.serializable), (1000, None, false));
    assert_eq!(
        said(listing(v1::ListRequest { limit: 10_001, ..Default::default() })),
        "limit is 10001; at most 10000 is allowed"
    );
    assert_eq!(
        said(listing(v1::ListRequest { after: wire("m", "e"), ..request.clone() })),
        "after is a name of another namespace than the one that is listed"
    );
    assert_eq!(said(listing(v1::ListRequest { after: wire("n", ""), ..request })), "after.name is empty");

    let names: Vec<Name> = (0..3).map(|i| Name { namespace: "n".into(), name: i.to_string() }).collect();
    assert_eq!(page(names.clone(), 2), (vec![named(names[0].clone()), named(names[1].clone())], true));
    assert!(!page(names, 3).1);
}

#[test]
fn tokens_are_compares_of_the_wire() {
    let election = Name { namespace: "n".into(), name: "e".into() };
    let found = token(coord::token::leadership(&election, 7));
    assert_eq!(found.fence, 7);
    let [guard] = &found.guards[..] else { panic!("{found:?}") };
    assert_eq!(guard.key, "/_conclave/e/n/e/leader/0000000000000007");
    assert_eq!((guard.result(), guard.target()), (CompareResult::Equal, CompareTarget::Create));
    assert_eq!(guard.target_union, Some(TargetUnion::CreateRevision(7)));
    assert!(guard.range_end.is_empty());
}

#[test]
fn causes_are_called_alike_everywhere() {
    for number in 1..=20 {
        let wire = v1::Cause::try_from(number).unwrap();
        assert_eq!(cause_of(&wire.as_str_name().to_lowercase()), wire);
    }
    assert_eq!(cause(Cause::Entered), v1::Cause::Entered);
    assert_eq!(cause_of("something new"), v1::Cause::Unspecified);
}
