//! The bytes of a message to JSON, as etcd's gateway writes it.
//!
//! 1. Names as in the `.proto` files; numbers of 64 bits as strings; bytes in base64; enumerations
//!    by name; no zero values.
//! 2. The JSON is made piece by piece while the bytes are read: however large a message is, one
//!    piece is in memory.
//! 3. The bytes are those that this server's own encoders write: the elements of a repeated field
//!    stand together.

use crate::schema::{Field, Kind, Message, SCHEMA};
use crate::{Form, IN_BASE64};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::io::Write;

/// A piece ends with the value that reaches this.
const PIECE: usize = 64 << 10;

/// The bytes are no message of its type. Only a mistake of the server's own encoders can be the
/// cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The JSON of one message, in pieces.
#[derive(Debug)]
pub struct Pieces {
    bytes: Bytes,
    form: Form,
    /// The messages that are being written, the innermost last.
    open: Vec<Open>,
    out: Vec<u8>,
    /// What follows the message.
    tail: &'static str,
    failed: bool,
}

/// A message of which the beginning is written.
#[derive(Debug)]
struct Open {
    message: &'static Message,
    at: usize,
    end: usize,
    list: Option<List>,
    is_empty: bool,
}

/// The repeated field whose elements are being written.
#[derive(Clone, Copy, Debug)]
struct List {
    field: &'static Field,
    /// With [`IN_BASE64`] behind its name, for all of its elements.
    marked: bool,
}

/// One field, as it stands in the bytes.
struct Raw {
    number: u32,
    value: RawValue,
}

enum RawValue {
    Varint(u64),
    /// From, to.
    Bytes(usize, usize),
}

impl Pieces {
    /// `head` and `tail` stand around the JSON.
    pub(crate) fn new(output: usize, bytes: Bytes, form: Form, head: &str, tail: &'static str) -> Pieces {
        let mut out = head.as_bytes().to_vec();
        out.push(b'{');
        let root = Open::new(&SCHEMA.messages[output], 0, bytes.len());
        Pieces { bytes, form, open: vec![root], out, tail, failed: false }
    }

    /// All that is left, in one piece.
    pub fn whole(mut self) -> Result<Vec<u8>, Malformed> {
        while !self.open.is_empty() {
            self.step().ok_or(Malformed)?;
        }
        self.out.extend_from_slice(self.tail.as_bytes());
        Ok(self.out)
    }

    /// Writes the next field, or the end of the innermost message. `None`: malformed.
    fn step(&mut self) -> Option<()> {
        let Pieces { bytes, open, out, .. } = self;
        let current = open.last_mut()?;
        if current.at == current.end {
            current.close_list(out);
            out.push(b'}');
            open.pop();
            return Some(());
        }
        let raw = raw(bytes, &mut current.at, current.end)?;
        let Some(field) = current.message.numbered(raw.number) else { return Some(()) };
        if current.list.is_some_and(|list| list.field.number != field.number) {
            current.close_list(out);
        }
        match (field.kind, raw.value) {
            (Kind::Message(of), RawValue::Bytes(at, end)) => {
                let message = &SCHEMA.messages[of];
                if message.is_entry {
                    return self.entry(field, message, at, end);
                }
                current.begin(field, false, out);
                out.push(b'{');
                open.push(Open::new(message, at, end));
                Some(())
            }
            (Kind::String | Kind::Bytes, RawValue::Bytes(at, end)) => self.text(field, at, end),
            // Several numbers of a repeated field, packed.
            (_, RawValue::Bytes(mut at, end)) if field.repeated => {
                while at < end {
                    let value = varint(&self.bytes, &mut at, end)?;
                    self.number(field, value)?;
                }
                Some(())
            }
            (_, RawValue::Varint(value)) => self.number(field, value),
            _ => None,
        }
    }

    /// An entry of a map.
    fn entry(&mut self, field: &'static Field, entry: &'static Message, mut at: usize, end: usize) -> Option<()> {
        let (mut key, mut value) = ((at, at), None);
        while at < end {
            let raw = raw(&self.bytes, &mut at, end)?;
            match (raw.number, raw.value) {
                (1, RawValue::Bytes(from, to)) => key = (from, to),
                (2, RawValue::Bytes(from, to)) => value = Some((from, to)),
                _ => return None,
            }
        }
        let current = self.open.last_mut()?;
        current.begin(field, false, &mut self.out);
        string(&self.bytes[key.0..key.1], &mut self.out)?;
        self.out.push(b':');
        match entry.fields[1].kind {
            Kind::String => {
                let (from, to) = value.unwrap_or((0, 0));
                string(&self.bytes[from..to], &mut self.out)
            }
            _ => None,
        }
    }

    fn text(&mut self, field: &'static Field, at: usize, end: usize) -> Option<()> {
        if at == end && !field.has_presence && !field.repeated {
            return Some(());
        }
        let current = self.open.last_mut()?;
        let value = &self.bytes[at..end];
        let bytes = field.kind == Kind::Bytes;
        // Where text was asked for and this is none.
        let marked = match self.form {
            Form::Text if bytes && field.repeated => match current.list {
                Some(list) => list.marked,
                None => !current.are_text(field, &self.bytes, value),
            },
            Form::Text if bytes => std::str::from_utf8(value).is_err(),
            _ => false,
        };
        current.begin(field, marked, &mut self.out);
        match marked || (bytes && self.form == Form::Base64) {
            false => string(value, &mut self.out),
            true => {
                self.out.push(b'"');
                let start = self.out.len();
                self.out.resize(start + value.len().div_ceil(3) * 4, 0);
                STANDARD.encode_slice(value, &mut self.out[start..]).ok()?;
                self.out.push(b'"');
                Some(())
            }
        }
    }

    fn number(&mut self, field: &'static Field, value: u64) -> Option<()> {
        if value == 0 && !field.has_presence && !field.repeated {
            return Some(());
        }
        self.open.last_mut()?.begin(field, false, &mut self.out);
        #[expect(clippy::cast_possible_truncation, reason = "as protobuf reads numbers of 32 bits")]
        let small = value as u32;
        let out = &mut self.out;
        match field.kind {
            Kind::Bool => write!(out, "{}", value != 0),
            Kind::Int32 => write!(out, "{}", small.cast_signed()),
            Kind::Uint32 => write!(out, "{small}"),
            Kind::Int64 => write!(out, "\"{}\"", value.cast_signed()),
            Kind::Uint64 => write!(out, "\"{value}\""),
            Kind::Sint64 => write!(out, "\"{}\"", (value >> 1).cast_signed() ^ -(value & 1).cast_signed()),
            Kind::Enum(of) => {
                let number = small.cast_signed();
                match SCHEMA.enums[of].values.iter().find(|(_, known)| *known == number) {
                    Some((name, _)) => write!(out, "\"{name}\""),
                    None => write!(out, "{number}"),
                }
            }
            Kind::String | Kind::Bytes | Kind::Message(_) => return None,
        }
        .ok()
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, Malformed>;

    fn next(&mut self) -> Option<Result<Bytes, Malformed>> {
        if self.failed || (self.open.is_empty() && self.out.is_empty()) {
            return None;
        }
        while !self.open.is_empty() && self.out.len() < PIECE {
            if self.step().is_none() {
                self.failed = true;
                return Some(Err(Malformed));
            }
        }
        if self.open.is_empty() {
            self.out.extend_from_slice(self.tail.as_bytes());
            self.tail = "";
        }
        Some(Ok(std::mem::take(&mut self.out).into()))
    }
}

impl Open {
    fn new(message: &'static Message, at: usize, end: usize) -> Open {
        Open { message, at, end, list: None, is_empty: true }
    }

    /// Everything that stands before the value of a field.
    fn begin(&mut self, field: &'static Field, marked: bool, out: &mut Vec<u8>) {
        if self.list.is_some() {
            return out.push(b',');
        }
        if !std::mem::take(&mut self.is_empty) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(field.name.as_bytes());
        if marked {
            out.extend_from_slice(IN_BASE64.as_bytes());
        }
        out.extend_from_slice(b"\":");
        if field.repeated {
            out.push(if is_map(field) { b'{' } else { b'[' });
            self.list = Some(List { field, marked });
        }
    }

    /// Whether all elements of a repeated field are text: `first`, and those that follow.
    fn are_text(&self, field: &Field, bytes: &[u8], first: &[u8]) -> bool {
        let mut at = self.at;
        let rest = std::iter::from_fn(|| match raw(bytes, &mut at, self.end)? {
            Raw { number, value: RawValue::Bytes(from, to) } if number == field.number => Some(&bytes[from..to]),
            _ => None,
        });
        std::iter::once(first).chain(rest).all(|value| std::str::from_utf8(value).is_ok())
    }

    fn close_list(&mut self, out: &mut Vec<u8>) {
        if let Some(list) = self.list.take() {
            out.push(if is_map(list.field) { b'}' } else { b']' });
        }
    }
}

fn is_map(field: &Field) -> bool {
    matches!(field.kind, Kind::Message(of) if SCHEMA.messages[of].is_entry)
}

/// The field at `at`, which moves behind it.
fn raw(bytes: &[u8], at: &mut usize, end: usize) -> Option<Raw> {
    let key = varint(bytes, at, end)?;
    let number = u32::try_from(key >> 3).ok()?;
    let value = match key & 7 {
        0 => RawValue::Varint(varint(bytes, at, end)?),
        2 => {
            let length = usize::try_from(varint(bytes, at, end)?).ok()?;
            let from = *at;
            *at = from.checked_add(length).filter(|to| *to <= end)?;
            RawValue::Bytes(from, *at)
        }
        _ => return None,
    };
    Some(Raw { number, value })
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Option<u64> {
    let mut rest = bytes.get(*at..end)?;
    let before = rest.len();
    let value = prost::encoding::decode_varint(&mut rest).ok()?;
    *at += before - rest.len();
    Some(value)
}

/// A string of JSON.
fn string(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    serde_json::to_writer(out, std::str::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
