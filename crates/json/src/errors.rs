//! Errors, so that clients of every generation of the gateway can read them.
//!
//! | etcd | unary | stream |
//! |---|---|---|
//! | 3.4, 3.5 | `error`, `message`, `code` | `error.grpc_code`, `.http_code`, `.message`, `.http_status` |
//! | 3.6 on | `message`, `code` | `error.code`, `.message` |
//!
//! An answer here has the keys of both. The status of HTTP goes by the code, as in grpc-gateway.

use serde_json::json;

/// Why a call failed: the code of gRPC, and the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

impl Failure {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const INTERNAL: i32 = 13;

    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// The status of HTTP that says so.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        http_status(self.code).0
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> String {
        json!({ "error": self.message, "message": self.message, "code": self.code }).to_string()
    }

    /// The last line of a stream.
    #[must_use]
    pub fn line(&self) -> String {
        let (status, text) = http_status(self.code);
        let Failure { code, message } = self;
        let error = json!({
            "code": code, "message": message, "grpc_code": code, "http_code": status, "http_status": text,
        });
        json!({ "error": error }).to_string() + "\n"
    }
}

/// The status of HTTP for a code of gRPC.
#[must_use]
pub fn http_status(code: i32) -> (u16, &'static str) {
    match code {
        0 => (200, "OK"),
        1 => (499, "Client Closed Request"),
        3 | 9 | 11 => (400, "Bad Request"),
        4 => (504, "Gateway Timeout"),
        5 => (404, "Not Found"),
        6 | 10 => (409, "Conflict"),
        7 => (403, "Forbidden"),
        8 => (429, "Too Many Requests"),
        12 => (501, "Not Implemented"),
        14 => (503, "Service Unavailable"),
        16 => (401, "Unauthorized"),
        _ => (500, "Internal Server Error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_serves_both_generations() {
        let failure = Failure::new(5, "etcdserver: requested lease not found");
        let body: serde_json::Value = serde_json::from_str(&failure.body()).unwrap();
        assert_eq!(body["error"], "etcdserver: requested lease not found");
        assert_eq!((&body["message"], &body["code"]), (&body["error"], &json!(5)));
        let line: serde_json::Value = serde_json::from_str(&failure.line()).unwrap();
        let error = &line["error"];
        assert_eq!((&error["grpc_code"], &error["http_code"]), (&json!(5), &json!(404)));
        assert_eq!((&error["code"], &error["http_status"]), (&json!(5), &json!("Not Found")));
        assert_eq!(error["message"], failure.message.as_str());
    }
}
