//! What one line holds. docs/security.md describes it; fields are only ever added.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use time::UtcDateTime;

/// Of a key or a value, no more bytes than this are recorded.
const MOST_BYTES: usize = 1024;

/// Of one record, no more operations than this.
const MOST_OPS: usize = 256;

/// Of any other text, names of candidates and reasons among them.
const MOST_TEXT: usize = 1024;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    #[serde(serialize_with = "rfc3339")]
    pub(super) time: SystemTime,
    /// The member that was asked, by its name.
    pub(super) member: Arc<str>,
    /// The user that the call was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Arc<str>>,
    /// The common name of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<Arc<str>>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Arc<str>>,
    pub(super) kind: String,
    #[serde(flatten)]
    pub(super) subject: Subject,
    /// As gRPC spells it.
    pub(super) code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) denied: bool,
    /// Of the store, right after the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<i64>,
    /// How many records are missing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<u64>,
}

impl Record {
    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let ops: usize = self.subject.ops.iter().map(Op::weight).sum();
        let names: usize = self.subject.names.iter().map(String::len).sum();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        512 + ops + names + text(&self.subject.target) + text(&self.subject.detail) + text(&self.error)
    }
}

/// What a call is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Subject {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ops: Vec<Op>,
    /// Operations that are not listed, for their number.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) more_ops: usize,
    /// Whether the compares of a transaction held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) succeeded: Option<bool>,
    /// Of elections, locks and claims: `namespace/name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    /// In hexadecimal; the session of a client is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<String>,
    /// The candidate, holder, user, role or member that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Subject {
    pub(crate) fn keys(op: &'static str, key: &[u8], end: &[u8]) -> Subject {
        let mut subject = Subject::default();
        subject.op(Op::new(op, key, end));
        subject
    }

    pub(crate) fn target(target: impl AsRef<str>) -> Subject {
        Subject::default().with_target(target)
    }

    pub(crate) fn lease(lease: i64) -> Subject {
        Subject::default().with_lease(lease)
    }

    pub(super) fn op(&mut self, op: Op) {
        match self.ops.len() < MOST_OPS {
            true => self.ops.push(op),
            false => self.more_ops += 1,
        }
    }

    pub(super) fn with_name(mut self, namespace: &str, name: &str) -> Subject {
        match self.names.len() < MOST_OPS {
            true => self.names.push(short(&format!("{namespace}/{name}"))),
            false => self.more_ops += 1,
        }
        self
    }

    pub(super) fn with_target(self, target: impl AsRef<str>) -> Subject {
        Subject { target: Some(short(target.as_ref())), ..self }
    }

    /// 0 is none.
    pub(super) fn with_lease(self, lease: i64) -> Subject {
        Subject { lease: (lease != 0).then(|| format!("{lease:x}")), ..self }
    }

    pub(crate) fn with_detail(self, detail: impl AsRef<str>) -> Subject {
        Subject { detail: Some(short(detail.as_ref())).filter(|detail| !detail.is_empty()), ..self }
    }
}

pub(super) fn short(text: &str) -> String {
    let most = text.len().min(MOST_TEXT);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// One operation on keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) op: &'static str,
    pub(super) key: Word,
    pub(super) end: Option<Word>,
    pub(super) value: Option<Word>,
    pub(super) lease: i64,
    /// Of a transaction that was not decided: which branch it is in.
    pub(super) branch: Option<&'static str>,
    /// How many keys it deleted.
    pub(super) deleted: Option<i64>,
}

impl Op {
    pub(super) fn new(op: &'static str, key: &[u8], end: &[u8]) -> Op {
        let end = (!end.is_empty()).then(|| Word::new(end));
        Op { op, key: Word::new(key), end, value: None, lease: 0, branch: None, deleted: None }
    }

    fn weight(&self) -> usize {
        let bytes = |word: &Option<Word>| word.as_ref().map_or(0, |word| word.kept.len());
        128 + self.key.kept.len() + bytes(&self.end) + bytes(&self.value)
    }
}

/// Bytes of a client, or the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    kept: Box<[u8]>,
    is_text: bool,
    length: usize,
}

impl Word {
    pub(super) fn new(bytes: &[u8]) -> Word {
        let most = bytes.len().min(MOST_BYTES);
        let (kept, is_text) = match std::str::from_utf8(&bytes[..most]) {
            Ok(_) => (&bytes[..most], true),
            // Cut within a character.
            Err(error) if most < bytes.len() && error.error_len().is_none() => (&bytes[..error.valid_up_to()], true),
            Err(_) => (&bytes[..most], false),
        };
        Word { kept: kept.into(), is_text, length: bytes.len() }
    }

    fn write<M: SerializeMap>(&self, into: &mut M, names: [&'static str; 3]) -> Result<(), M::Error> {
        let [text, base64, length] = names;
        match std::str::from_utf8(&self.kept) {
            Ok(kept) if self.is_text => into.serialize_entry(text, kept)?,
            _ => {
                use base64::Engine;
                into.serialize_entry(base64, &base64::engine::general_purpose::STANDARD.encode(&self.kept))?;
            }
        }
        match self.length > self.kept.len() {
            true => into.serialize_entry(length, &self.length),
            false => Ok(()),
        }
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("op", self.op)?;
        self.key.write(&mut map, ["key", "key_base64", "key_bytes"])?;
        if let Some(end) = &self.end {
            end.write(&mut map, ["end", "end_base64", "end_bytes"])?;
        }
        if let Some(value) = &self.value {
            value.write(&mut map, ["value", "value_base64", "value_bytes"])?;
        }
        if self.lease != 0 {
            map.serialize_entry("lease", &format!("{:x}", self.lease))?;
        }
        if let Some(branch) = self.branch {
            map.serialize_entry("branch", branch)?;
        }
        if let Some(deleted) = self.deleted {
            map.serialize_entry("deleted", &deleted)?;
        }
        map.end()
    }
}

/// In UTC, with microseconds.
fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&written(*time))
}

fn written(time: SystemTime) -> String {
    // A clock before 1970 or beyond the year 9999 is wrong, and no reason to stop.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let at = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// A record of a kind without anything else, for tests.
#[cfg(test)]
pub(super) fn plain(kind: &str) -> Record {
    Record {
        time: UNIX_EPOCH,
        member: "m".into(),
        user: None,
        certificate: None,
        from: None,
        kind: kind.to_owned(),
        subject: Subject::default(),
        code: "OK".to_owned(),
        error: None,
        denied: false,
        revision: None,
        missing: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds, micros: u32| written(UNIX_EPOCH + Duration::new(seconds, micros * 1_000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.000007Z");
        assert_eq!(at(951_868_799, 0), "2000-02-29T23:59:59.000000Z");
        assert_eq!(at(1_709_251_199, 0), "2024-02-29T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400, 999_999), "2100-03-01T00:00:00.999999Z");
    }

    #[test]
    fn a_line_says_who_what_from_where_and_how_it_ended() {
        let mut record = plain("kv.put");
        (record.user, record.from) = (Some("alice".into()), Some("10.0.0.7:4711".into()));
        record.subject = Subject::keys("put", b"a", b"");
        record.subject.ops[0].lease = 255;
        record.revision = Some(7);
        assert_eq!(
            serde_json::to_string(&record).expect("it is JSON"),
            r#"{"time":"1970-01-01T00:00:00.000000Z","member":"m","user":"alice","from":"10.0.0.7:4711","kind":"kv.put","ops":[{"op":"put","key":"a","lease":"ff"}],"code":"OK","revision":7}"#
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_and_long_ones_are_cut() {
        let line = |word: &[u8], end: &[u8]| serde_json::to_string(&Op::new("delete", word, end)).expect("JSON");
        assert_eq!(line(b"\xff\n", b""), r#"{"op":"delete","key_base64":"/wo="}"#);
        assert_eq!(line("a\"ü".as_bytes(), b"\0"), r#"{"op":"delete","key":"a\"ü","end":"\u0000"}"#);
        let long = "ü".repeat(MOST_BYTES);
        let cut = serde_json::to_value(Op::new("put", format!("x{long}").as_bytes(), b"")).expect("JSON");
        assert_eq!((cut["key"].as_str().map(str::len), cut["key_bytes"].as_u64()), (Some(1_023), Some(2_049)));
    }

    #[test]
    fn a_record_has_a_bound() {
        let mut subject = Subject::default();
        for _ in 0..MOST_OPS + 5 {
            subject.op(Op::new("put", &[b'k'; 1 << 20], b""));
        }
        assert_eq!((subject.ops.len(), subject.more_ops), (MOST_OPS, 5));
        let record = Record { subject: subject.with_detail("x".repeat(1 << 20)), ..plain("kv.txn") };
        assert!(record.weight() < 300 << 10, "{}", record.weight());
    }
}
