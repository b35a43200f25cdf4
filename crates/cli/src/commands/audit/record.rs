//! One line of an audit log.

use crate::output::human;
use serde::Deserialize;

/// What is shown or looked for; docs/security.md has all fields. What is not known is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) time: String,
    pub(super) user: String,
    certificate: String,
    pub(super) from: String,
    pub(super) kind: String,
    pub(super) ops: Vec<Op>,
    more_ops: u64,
    succeeded: Option<bool>,
    pub(super) names: Vec<String>,
    lease: String,
    pub(super) target: String,
    detail: String,
    pub(super) code: String,
    error: String,
    pub(super) denied: bool,
    revision: Option<i64>,
    missing: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Op {
    op: String,
    pub(super) key: Option<String>,
    key_base64: String,
    pub(super) end: Option<String>,
    end_base64: Option<String>,
}

impl Op {
    /// Whether it is about keys with that prefix. Keys that are no text have none.
    pub(super) fn touches(&self, prefix: &str) -> bool {
        let Some(key) = &self.key else { return false };
        let reaches = match (&self.end, &self.end_base64) {
            (Some(end), _) => end == "\0" || end.as_str() > prefix,
            (None, end) => end.is_some(),
        };
        key.starts_with(prefix) || (key.as_str() <= prefix && reaches)
    }

    fn shown(&self) -> String {
        let word = |text: &Option<String>, base64: &str| match text {
            Some(text) => text.clone(),
            None => format!("base64:{base64}"),
        };
        let key = word(&self.key, &self.key_base64);
        match (&self.end, &self.end_base64) {
            (None, None) => format!("{} {key}", self.op),
            (end, base64) => format!("{} {key} to {}", self.op, word(end, base64.as_deref().unwrap_or_default())),
        }
    }
}

impl Record {
    /// `None`: the line is no record.
    pub(super) fn read(line: &[u8]) -> Option<Record> {
        let record: Record = serde_json::from_slice(line).ok()?;
        (!record.time.is_empty() && !record.kind.is_empty()).then_some(record)
    }

    pub(super) fn row(&self) -> [String; 6] {
        let user = match (self.user.is_empty(), self.certificate.is_empty()) {
            (true, false) => format!("({})", self.certificate),
            _ => human::or_dash(&self.user),
        };
        [self.time.clone(), user, human::or_dash(&self.from), self.kind.clone(), self.what(), self.result()]
    }

    fn what(&self) -> String {
        let mut parts: Vec<String> = self.ops.iter().map(Op::shown).collect();
        if self.more_ops > 0 {
            parts.push(format!("{} more", self.more_ops));
        }
        parts.extend(self.names.iter().cloned());
        parts.extend([&self.target, &self.detail].into_iter().filter(|part| !part.is_empty()).cloned());
        if self.succeeded == Some(false) {
            parts.push("the compares did not hold".to_owned());
        }
        if !self.lease.is_empty() {
            parts.push(format!("lease {}", self.lease));
        }
        if self.missing > 0 {
            parts.push(format!("{} records", self.missing));
        }
        human::or_dash(&parts.join(", "))
    }

    fn result(&self) -> String {
        match (self.code.as_str(), self.revision) {
            ("OK", Some(revision)) => format!("revision {revision}"),
            ("OK", None) => "OK".to_owned(),
            (code, _) => {
                let denied = if self.denied { "DENIED, " } else { "" };
                format!("{denied}{code}: {}", self.error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_row() {
        let line = br#"{"time":"T","member":"m","user":"al","from":"a:1","kind":"kv.txn","ops":[{"op":"put","key":"k"},{"op":"delete","key":"a","end":"b"},{"op":"put","key_base64":"/w=="}],"succeeded":true,"code":"OK","revision":7}"#;
        let row = Record::read(line).expect("a record").row();
        assert_eq!(row, ["T", "al", "a:1", "kv.txn", "put k, delete a to b, put base64:/w==", "revision 7"]);
        let line = br#"{"time":"T","certificate":"cn","kind":"elections.evict","names":["default/e"],"target":"c","code":"PermissionDenied","error":"no","denied":true}"#;
        let row = Record::read(line).expect("a record").row();
        assert_eq!(row, ["T", "(cn)", "-", "elections.evict", "default/e, c", "DENIED, PermissionDenied: no"]);
        for wrong in ["", "x", "{}", "[1]", r#"{"time":"T"}"#, r#"{"time":7,"kind":"k"}"#] {
            assert!(Record::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_range_touches_what_it_covers() {
        let op = |key: &str, end: Option<&str>| Op { key: Some(key.into()), end: end.map(Into::into), ..Op::default() };
        assert!(op("/app/1", None).touches("/app/") && op("/a", Some("/b")).touches("/app/"));
        assert!(op("/app/x", Some("/app/y")).touches("/app/") && op("\0", Some("\0")).touches("/app/"));
        assert!(!op("/other", None).touches("/app/") && !op("/a", Some("/ab")).touches("/app/"));
        assert!(!op("/b", Some("/c")).touches("/app/") && !Op::default().touches(""));
    }
}
