use super::*;
use conclave_api::conclave::v1 as own;
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::response_op::Response;
use conclave_api::mvccpb::{Event, KeyValue};
use prost::Message as _;
use serde_json::{Value, json};

/// The JSON, which is the same in one piece and in many.
fn written(name: &str, message: &impl prost::Message, form: Form) -> Value {
    let pieces = || Pieces::new(SCHEMA.message(name), message.encode_to_vec().into(), form, "", "");
    let whole = pieces().whole().expect("it is a message");
    let parts: Vec<Bytes> = pieces().map(|piece| piece.expect("it is a message")).collect();
    assert_eq!(parts.concat(), whole);
    serde_json::from_slice(&whole).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&whole)))
}

fn json(name: &str, message: &impl prost::Message) -> Value {
    written(name, message, Form::Base64)
}

fn header() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: u64::MAX, member_id: 7, revision: 3, raft_term: 0 })
}

fn kv(key: &'static [u8], value: &'static [u8]) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
        create_revision: 2,
        mod_revision: 3,
        version: 2,
        lease: 0,
    }
}

#[test]
fn numbers_bytes_and_no_zeros() {
    let range =
        pb::RangeResponse { header: header(), kvs: vec![kv(b"foo", b""), kv(b"\xff", b"x")], more: true, count: 2 };
    let expected = json!({
        "header": { "cluster_id": "18446744073709551615", "member_id": "7", "revision": "3" },
        "kvs": [
            { "key": "Zm9v", "create_revision": "2", "mod_revision": "3", "version": "2" },
            { "key": "/w==", "create_revision": "2", "mod_revision": "3", "version": "2", "value": "eA==" },
        ],
        "more": true,
        "count": "2",
    });
    assert_eq!(json("etcdserverpb.RangeResponse", &range), expected);
    assert_eq!(json("etcdserverpb.RangeResponse", &pb::RangeResponse::default()), json!({}));
    let hash = pb::HashResponse { header: None, hash: u32::MAX };
    assert_eq!(json("etcdserverpb.HashResponse", &hash), json!({ "hash": u32::MAX }));
}

#[test]
fn messages_in_messages() {
    let range = pb::RangeResponse { header: header(), kvs: vec![kv(b"a", b"b")], ..Default::default() };
    let responses = vec![
        pb::ResponseOp { response: Some(Response::ResponseRange(range)) },
        pb::ResponseOp { response: Some(Response::ResponsePut(Default::default())) },
        pb::ResponseOp { response: None },
    ];
    let txn = pb::TxnResponse { header: None, succeeded: true, responses };
    let json = json("etcdserverpb.TxnResponse", &txn);
    assert_eq!(json["responses"][0]["response_range"]["kvs"][0]["key"], "YQ==");
    assert_eq!((&json["responses"][1], &json["responses"][2]), (&json!({ "response_put": {} }), &json!({})));
}

#[test]
fn a_watch_is_a_line() {
    let event = |kind: i32| Event { r#type: kind, kv: Some(kv(b"a", b"b")), prev_kv: None };
    let watch = pb::WatchResponse { events: vec![event(0), event(1), event(9)], fragment: true, ..Default::default() };
    let pieces = Pieces::new(
        SCHEMA.message("etcdserverpb.WatchResponse"),
        watch.encode_to_vec().into(),
        Form::Base64,
        "{\"result\":",
        "}\n",
    );
    let line = String::from_utf8(pieces.whole().unwrap()).unwrap();
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    let json: Value = serde_json::from_str(&line).unwrap();
    let events = &json["result"]["events"];
    assert_eq!(
        (&events[0]["type"], &events[1]["type"], &events[2]["type"]),
        (&Value::Null, &json!("DELETE"), &json!(9))
    );
    assert_eq!(json["result"]["fragment"], true);
}

#[test]
fn maps_signed_numbers_and_values_that_may_be_zero() {
    let labels = [("zone".to_owned(), "\"a\"".to_owned()), (String::new(), String::new())];
    let enter = own::EnterRequest { labels: labels.into(), priority: -3, ..Default::default() };
    let expected = json!({ "labels": { "zone": "\"a\"", "": "" }, "priority": "-3" });
    assert_eq!(json("conclave.v1.EnterRequest", &enter), expected);
    let compare = pb::Compare { target_union: Some(pb::compare::TargetUnion::Version(0)), ..Default::default() };
    assert_eq!(json("etcdserverpb.Compare", &compare), json!({ "version": "0" }));
    let value = pb::Compare { target_union: Some(pb::compare::TargetUnion::Value(Bytes::new())), ..Default::default() };
    assert_eq!(json("etcdserverpb.Compare", &value), json!({ "value": "" }));
}

#[test]
fn text_where_it_is_text() {
    let range = pb::RangeResponse { kvs: vec![kv("grüße\0".as_bytes(), b"\xff")], ..Default::default() };
    let text = written("etcdserverpb.RangeResponse", &range, Form::Text);
    assert_eq!((&text["kvs"][0]["key"], &text["kvs"][0]["value_base64"]), (&json!("grüße\0"), &json!("/w==")));
    assert_eq!(text["kvs"][0]["value"], Value::Null);
    let of_lease = |keys: &[&'static [u8]]| {
        let keys = keys.iter().map(|key| Bytes::from_static(key)).collect();
        let lease = pb::LeaseTimeToLiveResponse { keys, ..Default::default() };
        written("etcdserverpb.LeaseTimeToLiveResponse", &lease, Form::Text)
    };
    assert_eq!(of_lease(&[b"a", b"", b"b"]), json!({ "keys": ["a", "", "b"] }));
    assert_eq!(of_lease(&[b"a", b"\xff"]), json!({ "keys_base64": ["YQ==", "/w=="] }));
}

#[test]
fn pieces_have_a_bound() {
    let row = kv(b"key", b"value");
    let range = pb::RangeResponse { kvs: vec![row; 20_000], ..Default::default() };
    let pieces =
        Pieces::new(SCHEMA.message("etcdserverpb.RangeResponse"), range.encode_to_vec().into(), Form::Base64, "", "");
    let sizes: Vec<usize> = pieces.map(|piece| piece.unwrap().len()).collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|size| *size < PIECE + 1_000), "{sizes:?}");
    assert_eq!(written("etcdserverpb.RangeResponse", &range, Form::Base64)["kvs"].as_array().unwrap().len(), 20_000);
}

#[test]
fn what_is_no_message_is_refused() {
    for bytes in [
        &b"\x0a"[..],
        b"\x0a\x05ab",
        b"\x09",
        b"\x0a\x02\x08",
        b"\x08\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        let pieces = || {
            let bytes = Bytes::copy_from_slice(bytes);
            Pieces::new(SCHEMA.message("etcdserverpb.RangeResponse"), bytes, Form::Base64, "", "")
        };
        assert_eq!(pieces().whole(), Err(Malformed), "{bytes:?}");
        assert_eq!(pieces().last(), Some(Err(Malformed)));
    }
}
