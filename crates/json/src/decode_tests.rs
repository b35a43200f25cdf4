use super::*;
use conclave_api::conclave::v1::EnterRequest;
use conclave_api::etcdserverpb as pb;
use conclave_api::etcdserverpb::compare::{CompareTarget, TargetUnion};
use conclave_api::etcdserverpb::request_op::Request;
use conclave_api::etcdserverpb::watch_request::RequestUnion;

fn read<M: prost::Message + Default>(name: &str, json: &str) -> Result<M, String> {
    read_as(name, json, Form::Base64)
}

fn read_as<M: prost::Message + Default>(name: &str, json: &str, form: Form) -> Result<M, String> {
    let bytes = message(SCHEMA.message(name), json.as_bytes(), form)?;
    Ok(M::decode(&bytes[..]).expect("what is written can be read"))
}

fn put(json: &str) -> Result<pb::PutRequest, String> {
    read("etcdserverpb.PutRequest", json)
}

fn range(json: &str) -> Result<pb::RangeRequest, String> {
    read("etcdserverpb.RangeRequest", json)
}

#[test]
fn names_in_both_spellings_and_unknown_ones() {
    let expected = pb::PutRequest { key: "foo".into(), value: "bar".into(), prev_kv: true, ..Default::default() };
    for json in [
        r#"{"key":"Zm9v","value":"YmFy","prev_kv":true,"lease":"0"}"#,
        r#"{"key":"Zm9v","value":"YmFy","prevKv":true}"#,
        r#"{"nosuch":{"a":[1,{"b":null}]},"key":"Zm9v","value":"YmFy","prevKv":true,"x":1}"#,
        " {\"key\" : \"Zm9v\",\n\"lease\":null,\"value\":\"Ym\\u0046y\",\"prev_kv\":true } \n",
    ] {
        assert_eq!(put(json).as_ref(), Ok(&expected), "{json}");
    }
    assert_eq!(put(""), Ok(pb::PutRequest::default()));
    assert_eq!(put(" \n"), Ok(pb::PutRequest::default()));
}

#[test]
fn base64_in_both_alphabets_with_and_without_padding() {
    for key in ["Zm9+/w==", "Zm9-_w==", "Zm9+/w", "Zm9-_w"] {
        assert_eq!(put(&format!("{{\"key\":\"{key}\"}}")).unwrap().key, &b"fo~\xff"[..], "{key}");
    }
    for key in ["not base64!", "A", "Zm9-/w==", "Zm9v\\n"] {
        assert!(put(&format!("{{\"key\":\"{key}\"}}")).is_err(), "{key}");
    }
}

#[test]
fn numbers_and_enumerations_in_any_form() {
    let expected = pb::RangeRequest { limit: 1, revision: -7, sort_order: 2, sort_target: 3, ..Default::default() };
    for json in [
        r#"{"limit":1,"revision":-7,"sort_order":"DESCEND","sort_target":"MOD"}"#,
        r#"{"limit":"1","revision":"-7","sort_order":2,"sort_target":3}"#,
        r#"{"limit":1.0,"revision":"-7e0","sortOrder":"2","sortTarget":3.0}"#,
    ] {
        // A number in a string is no name of an enumeration.
        let json = json.replace("\"2\"", "2");
        assert_eq!(range(&json).as_ref(), Ok(&expected), "{json}");
    }
    assert_eq!(range(r#"{"limit":9223372036854775807}"#).unwrap().limit, i64::MAX);
    assert_eq!(range(r#"{"limit":"-9223372036854775808"}"#).unwrap().limit, i64::MIN);
    for limit in
        ["9223372036854775808", "1.5", "\"\"", "\" 1\"", "\"+1\"", "\"0x1\"", "1e300", "true", "[1]", "{}", "\"1_0\""]
    {
        assert!(range(&format!("{{\"limit\":{limit}}}")).is_err(), "{limit}");
    }
    for order in ["\"DESC\"", "\"descend\"", "2147483648", "null2", "[]"] {
        assert!(range(&format!("{{\"sort_order\":{order}}}")).is_err(), "{order}");
    }
    let hash: pb::AlarmRequest = read("etcdserverpb.AlarmRequest", r#"{"memberID":"18446744073709551615"}"#).unwrap();
    assert_eq!(hash.member_id, u64::MAX);
}

#[test]
fn messages_in_messages() {
    let json = r#"{"compare":[{"target":"CREATE","key":"Zm9v","create_revision":"0"}],
        "success":[{"requestPut":{"key":"Zm9v","value":"eA=="}}],"failure":[{"request_range":{"key":"Zm9v"}},{}]}"#;
    let txn: pb::TxnRequest = read("etcdserverpb.TxnRequest", json).unwrap();
    assert_eq!(txn.compare[0].target(), CompareTarget::Create);
    assert_eq!(txn.compare[0].target_union, Some(TargetUnion::CreateRevision(0)));
    let Some(Request::RequestPut(put)) = &txn.success[0].request else { panic!("{txn:?}") };
    assert_eq!((&put.key[..], &put.value[..]), (&b"foo"[..], &b"x"[..]));
    assert_eq!((txn.failure.len(), &txn.failure[1].request), (2, &None));
    // A message without fields counts as one that is there.
    let watch: pb::WatchRequest = read("etcdserverpb.WatchRequest", r#"{"create_request":{}}"#).unwrap();
    assert_eq!(watch.request_union, Some(RequestUnion::CreateRequest(Default::default())));
    let filters: pb::WatchCreateRequest =
        read("etcdserverpb.WatchCreateRequest", r#"{"filters":["NODELETE",0]}"#).unwrap();
    assert_eq!(filters.filters, [1, 0]);
}

#[test]
fn maps_and_signed_numbers() {
    let json = r#"{"labels":{"zone":"a","":"b"},"priority":"-3"}"#;
    let enter: EnterRequest = read("conclave.v1.EnterRequest", json).unwrap();
    let labels = [("zone".to_owned(), "a".to_owned()), (String::new(), "b".to_owned())];
    assert_eq!((enter.labels, enter.priority), (labels.into(), -3));
    for labels in ["[]", "{\"a\":1}", "{\"a\":null}", "\"a\"", "1"] {
        let refused: Result<EnterRequest, _> = read("conclave.v1.EnterRequest", &format!("{{\"labels\":{labels}}}"));
        assert!(refused.is_err(), "{labels}");
    }
}

#[test]
fn text_instead_of_base64() {
    let text = |json: &str| read_as::<pb::PutRequest>("etcdserverpb.PutRequest", json, Form::Text);
    let put = text(r#"{"key":"grüße/\u0000","value_base64":"/w=="}"#).unwrap();
    assert_eq!((&put.key[..], &put.value[..]), ("grüße/\0".as_bytes(), &b"\xff"[..]));
    assert!(text(r#"{"key":"a","key_base64":"YQ=="}"#).unwrap_err().contains("duplicate field"));
    // Without being asked for, the name means nothing.
    assert_eq!(super::tests::put(r#"{"value_base64":"/w=="}"#).unwrap().value.len(), 0);
    assert_eq!(text(r#"{"lease_base64":"/w=="}"#).unwrap().lease, 0);
}

#[test]
fn errors_name_the_place_and_the_value() {
    let cases = [
        (r#"{"key":"not base64!"}"#, r#"proto: (line 1:8): invalid value for bytes field key: "not base64!""#),
        ("{\n \"prevKv\": \"yes\"}", r#"proto: (line 2:12): invalid value for bool field prevKv: "yes""#),
        (r#"{"lease":12.5}"#, "proto: (line 1:10): invalid value for int64 field lease: 12.5"),
        (r#"{"key":"YQ==","key":"YQ=="}"#, r#"proto: (line 1:15): duplicate field "key""#),
        (r#"{"prev_kv":true,"prevKv":true}"#, r#"proto: (line 1:17): duplicate field "prevKv""#),
        ("{", "unexpected EOF"),
        (r#"{"key":"Y"#, "unexpected EOF"),
    ];
    for (json, text) in cases {
        assert_eq!(put(json).unwrap_err(), text, "{json}");
    }
    for json in
        ["[]", "1", "null", "\"{}\"", "{}{}", "{} x", "{\"key\" \"a\"}", "{'key':1}", "{\"a\":NaN}", "\u{feff}{}"]
    {
        assert!(put(json).unwrap_err().starts_with("proto: "), "{json}: {:?}", put(json));
    }
    let both = r#"{"create_request":{},"cancel_request":{}}"#;
    let refused: Result<pb::WatchRequest, _> = read("etcdserverpb.WatchRequest", both);
    assert!(refused.unwrap_err().contains("oneof is already set"));
    let long = put(&format!("{{\"key\":\"{}\"}}", "é".repeat(10_000))).unwrap_err();
    assert!(long.len() < 300, "{long}");
}

#[test]
fn nesting_has_a_bound() {
    let nested = |open: &str, close: &str| {
        let json = format!("{{\"success\":[{}{{}}{}]}}", open.repeat(50_000), close.repeat(50_000));
        read::<pb::TxnRequest>("etcdserverpb.TxnRequest", &json)
    };
    let refused = nested("{\"request_txn\":{\"success\":[", "]}}").unwrap_err();
    assert!(refused.contains("recursion limit"), "{refused}");
    assert!(nested("[", "]").is_err());
    // What nobody knows is skipped without a level of the stack.
    assert!(nested("{\"a\":", "}").is_ok());
}
