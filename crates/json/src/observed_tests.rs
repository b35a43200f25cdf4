//! What etcd 3.7.1 was asked and answered, line by line: the requests can be read, and the answers
//! are what this crate writes.

use super::*;
use serde_json::Value;

const TRANSCRIPT: &str = include_str!("../../../cluster-tests/testdata/etcd-3.7.1-gateway.txt");

struct Exchange<'a> {
    path: &'a str,
    request: &'a str,
    status: u16,
    /// One for a unary call, one for each line of a stream.
    answers: Vec<&'a str>,
}

/// The calls with POST.
fn exchanges() -> Vec<Exchange<'static>> {
    let calls = TRANSCRIPT.split("--- POST ").skip(1);
    calls
        .map(|text| {
            let text = text.split("\n--- ").next().expect("a split has a first part");
            let (head, answer) = text.split_once('\n').expect("an answer follows");
            let (path, request) = head.split_once(' ').unwrap_or((head, ""));
            let status = answer.split(' ').nth(1).expect("a status line").parse().expect("a number");
            let answers = answer.lines().filter(|line| line.starts_with('{')).collect();
            Exchange { path, request: request.trim(), status, answers }
        })
        .collect()
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("it is JSON")
}

/// What this crate writes for a message that is given as JSON.
fn rewritten(method: &Method, json: &Value) -> Value {
    let message = decode::message(method.output, json.to_string().as_bytes(), Form::Base64).expect("etcd's answer");
    parsed(&method.response(message.into(), Form::Base64).whole().expect("a message"))
}

#[test]
fn requests_are_read_and_answers_written_as_etcd_does() {
    let (mut answered, mut refused) = (0, 0);
    for Exchange { path, request, status, answers } in exchanges() {
        let method = match find(path) {
            Some(Found::Method(method)) => method,
            Some(Found::Unknown) => {
                assert_eq!((path, status), ("/v3/nosuch", 404));
                continue;
            }
            None => {
                assert_eq!((path, status), ("/v3alpha/kv/put", 404));
                continue;
            }
        };
        let answer = parsed(answers[0].as_bytes());
        let read = method.request(request.as_bytes(), Form::Base64);
        match status {
            200 if method.server_streams => {
                for line in answers.iter().map(|line| parsed(line.as_bytes())) {
                    assert_eq!(rewritten(method, &line["result"]), line["result"], "{path}");
                }
                answered += 1;
            }
            200 => {
                assert!(read.is_ok(), "{path} {request}: {read:?}");
                assert_eq!(rewritten(method, &answer), answer, "{path} {request}");
                answered += 1;
            }
            // What is refused is either no request, or the service says no: then the status goes by
            // its code.
            _ => {
                let code = answer["code"].as_i64().and_then(|code| code.try_into().ok()).expect("a number");
                // Go writes another blank in some builds, so that nobody compares its texts.
                let text = answer["message"].as_str().expect("a text").replace('\u{a0}', " ");
                if let Err(error) = read {
                    assert_eq!((error.as_str(), code), (text.as_str(), Failure::INVALID_ARGUMENT), "{path} {request}");
                }
                assert_eq!(http_status(code).0, status, "{path} {request}");
                let ours = parsed(Failure::new(code, text.as_str()).body().as_bytes());
                for (key, value) in answer.as_object().expect("an object") {
                    let value: Value = match key.as_str() {
                        "message" => text.as_str().into(),
                        _ => value.clone(),
                    };
                    assert_eq!(ours[key], value, "{path} {request}");
                }
                refused += 1;
            }
        }
    }
    assert_eq!((answered, refused), (28, 10));
}

#[test]
fn lines_of_streams_are_written_as_etcd_does() {
    let mut lines = 0;
    for (title, path) in
        [("watch (2 s)", "/v3/watch"), ("watch compacted", "/v3/watch"), ("election observe", "/v3/election/observe")]
    {
        let Some(Found::Method(method)) = find(path) else { panic!("{path} is a path") };
        let section = TRANSCRIPT.split(&format!("--- {title}")).nth(1).expect("it was recorded");
        let section = section.split("\n--- ").next().expect("a split has a first part");
        for line in section.lines().filter(|line| line.starts_with('{')) {
            let line = parsed(line.as_bytes());
            let message = decode::message(method.output, line["result"].to_string().as_bytes(), Form::Base64);
            let written = method.line(message.expect("etcd's answer").into(), Form::Base64).whole().expect("a message");
            assert!(written.ends_with(b"}\n"));
            assert_eq!(parsed(&written), line);
            lines += 1;
        }
    }
    assert_eq!(lines, 5);
}
