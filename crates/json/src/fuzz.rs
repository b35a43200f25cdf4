//! Bodies that nobody would send.

use crate::{Form, Values, decode, encode, paths};
use bytes::Bytes;
use std::collections::BTreeSet;

const SEEDS: [&str; 9] = [
    r#"{"key":"Zm9v","value":"YmFy","prev_kv":true,"lease":"0"}"#,
    r#"{"key":"AA==","range_end":"AA==","limit":1,"sort_order":"DESCEND","sort_target":"MOD"}"#,
    r#"{"compare":[{"target":"CREATE","key":"Zm9v","create_revision":"0"}],"success":[{"requestPut":{"key":"Zm9v"}}]}"#,
    r#"{"create_request":{"key":"Zm9v","start_revision":"7","filters":["NOPUT",1]}}"#,
    r#"{"success":[{"request_txn":{"failure":[{"request_delete_range":{"prevKv":false}}]}}]}"#,
    r#"{"labels":{"zone":"a"},"priority":"-3"}"#,
    r#"{"key_base64":"/w==","value":"grüße\u0000\ud83d\ude00"}"#,
    r#"{"TTL":6e1,"ID":-1.0,"unknown":[{"a":null}]}"#,
    "{}{\"a\":\"}\"} 1 null",
];

/// What is read can be written, and what was written is read as the same bytes.
#[test]
fn fuzz_json_requests() {
    // The requests of every path.
    let messages: BTreeSet<usize> = paths::all().map(|(_, method)| method.input).collect();
    conclave_fuzz::target!("json_requests").seeds(SEEDS).run(|json| {
        let mut seen = String::new();
        for (message, form) in messages.iter().flat_map(|message| [(*message, Form::Base64), (*message, Form::Text)]) {
            match decode::message(message, json, form) {
                Ok(bytes) => {
                    let written = |bytes: Vec<u8>| {
                        let pieces = encode::Pieces::new(message, Bytes::from(bytes), form, "", "");
                        pieces.whole().expect("it was just read")
                    };
                    let once = written(bytes);
                    let again = decode::message(message, &once, form).expect("what is written can be read");
                    // Not the bytes: a map has no order, and zeros need not stand there.
                    assert_eq!(written(again), once);
                    seen.push_str("read,");
                }
                Err(error) => {
                    assert!(error.len() < 2_000, "{error}");
                    // Without the value and the place.
                    seen.push_str(error.split(": ").nth(1).unwrap_or_default());
                }
            }
        }
        seen
    });
}

/// The values of a body are its bytes, whatever the pieces.
#[test]
fn fuzz_json_values() {
    conclave_fuzz::target!("json_values").seeds(SEEDS).run(|body| {
        let split = |piece: usize| {
            let (mut values, mut seen) = (Values::new(1 << 16), Vec::new());
            for data in body.chunks(piece) {
                values.push(data);
                while let Ok(Some(value)) = values.take() {
                    seen.push(value);
                }
            }
            seen.extend(values.rest());
            seen
        };
        let (small, large) = (split(1), split(body.len().max(1)));
        assert_eq!(small, large);
        format!("{} values", large.len())
    });
}
