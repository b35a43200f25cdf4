//! JSON to the bytes of a message, as etcd's gateway reads it.
//!
//! 1. The bytes are written while the JSON is read: no tree is built, and the memory is what the
//!    message takes.
//! 2. Both spellings of a name are taken, numbers as numbers or strings, enumerations as names or
//!    numbers, both alphabets of base64 with or without padding. `null` is no value. Fields that
//!    nobody knows are skipped.
//! 3. Refused are: a field twice, two fields of a `oneof`, what follows the value, and the name of
//!    an enumeration that nobody knows. (etcd skips the last two, and does something else than it
//!    was asked for.)
//! 4. Nesting is bounded by the reader (128 levels), so that no input exhausts the stack.

use crate::Form;
use crate::schema::{Enum, Field, Kind, Message, SCHEMA};
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The bytes of message `input` that stand in `json`. An error is the text that a client gets.
pub(crate) fn message(input: usize, json: &[u8], form: Form) -> Result<Vec<u8>, String> {
    // No body at all asks for the message without any value.
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let mut out = Vec::with_capacity(json.len());
    let mut reader = serde_json::Deserializer::from_slice(json);
    let into = Sink { out: &mut out, form };
    Fields { message: &SCHEMA.messages[input], into }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| text(json, &error))?;
    Ok(out)
}

/// etcd's words for an error, with the place where the value begins that caused it.
fn text(json: &[u8], error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    match error.classify() {
        serde_json::error::Category::Eof => "unexpected EOF".to_owned(),
        serde_json::error::Category::Data => format!("proto: (line {line}:{}): {text}", beginning(json, line, column)),
        _ => format!("proto: syntax error (line {line}:{column}): {text}"),
    }
}

/// The column in which the value begins that ends at `column`.
fn beginning(json: &[u8], line: usize, column: usize) -> usize {
    let Some(line) = json.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)) else { return column };
    let Some((last, before)) = line.get(..column).and_then(<[u8]>::split_last) else { return column };
    let escapes = |quote: usize| before[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
    let first = match last {
        b'"' => (0..before.len()).rev().find(|at| before[*at] == b'"' && escapes(*at) % 2 == 0),
        _ => before.iter().rposition(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte)).map(|at| at + 1),
    };
    first.map_or(column, |first| first + 1)
}

/// Where the bytes go.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    form: Form,
}

impl Sink<'_> {
    fn again(&mut self) -> Sink<'_> {
        Sink { out: self.out, form: self.form }
    }

    /// Writes what has its length before it, which is known only afterwards.
    fn nested<E>(&mut self, number: u32, write: impl FnOnce(Sink<'_>) -> Result<(), E>) -> Result<(), E> {
        encode_key(number, WireType::LengthDelimited, self.out);
        let start = self.out.len();
        write(self.again())?;
        let mut length = Vec::new();
        encode_varint((self.out.len() - start) as u64, &mut length);
        self.out.splice(start..start, length);
        Ok(())
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, self.out);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    fn varint(&mut self, number: u32, value: u64) {
        encode_key(number, WireType::Varint, self.out);
        encode_varint(value, self.out);
    }
}

/// An object: the fields of a message.
struct Fields<'a> {
    message: &'static Message,
    into: Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the fields of {}", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let Some((place, form)) = find(self.message, &name.0, self.into.form) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.message.fields[place];
            seen.field(place).map_err(|()| A::Error::custom(format_args!("duplicate field {:?}", name.0)))?;
            let into = Sink { out: self.into.out, form };
            let given = map.next_value_seed(Value { field, into, scope: Scope::Field })?;
            if let Some(oneof) = field.oneof.filter(|_| given) {
                let text = format_args!("error parsing {:?}, oneof is already set", name.0);
                seen.oneof(oneof).map_err(|()| A::Error::custom(text))?;
            }
        }
        Ok(())
    }
}

/// The field of this name, and the form of its value.
fn find(message: &Message, name: &str, form: Form) -> Option<(usize, Form)> {
    if let Some(place) = message.named(name) {
        return Some((place, form));
    }
    let Form::Text = form else { return None };
    let place = message.named(name.strip_suffix(crate::IN_BASE64)?)?;
    (message.fields[place].kind == Kind::Bytes).then_some((place, Form::Base64))
}

/// Which fields and oneofs of a message have been read.
#[derive(Default)]
struct Seen {
    fields: u64,
    oneofs: u64,
}

impl Seen {
    fn field(&mut self, place: usize) -> Result<(), ()> {
        add(&mut self.fields, place)
    }

    fn oneof(&mut self, index: i32) -> Result<(), ()> {
        add(&mut self.oneofs, usize::try_from(index).unwrap_or_default())
    }
}

fn add(set: &mut u64, member: usize) -> Result<(), ()> {
    let bit = 1 << (member % 64);
    let is_new = *set & bit == 0;
    *set |= bit;
    if is_new { Ok(()) } else { Err(()) }
}

/// A name, borrowed from the input where it can be.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Field,
    /// In the list of a repeated field, or as a value of a map.
    Element,
}

/// The value of a field. Tells whether there is one.
struct Value<'a> {
    field: &'static Field,
    into: Sink<'a>,
    scope: Scope,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn is_list(&self) -> bool {
        self.field.repeated && self.scope == Scope::Field
    }

    fn invalid<E: Error>(&self, value: impl fmt::Display) -> E {
        let (kind, name) = (self.field.kind.name(), &self.field.json_name);
        if self.is_list() {
            return E::custom(format_args!("invalid value for repeated field {name}: {value}"));
        }
        E::custom(format_args!("invalid value for {kind} field {name}: {value}"))
    }

    fn integer<E: Error>(mut self, value: i128) -> Result<bool, E> {
        let number = self.field.number;
        let encoded = match self.field.kind {
            _ if self.is_list() => None,
            Kind::Int32 | Kind::Enum(_) => i32::try_from(value).ok().map(|value| i64::from(value).cast_unsigned()),
            Kind::Int64 => i64::try_from(value).ok().map(i64::cast_unsigned),
            Kind::Sint64 => i64::try_from(value).ok().map(|value| ((value << 1) ^ (value >> 63)).cast_unsigned()),
            Kind::Uint32 => u32::try_from(value).ok().map(u64::from),
            Kind::Uint64 => u64::try_from(value).ok(),
            _ => None,
        };
        let Some(encoded) = encoded else { return Err(self.invalid(value)) };
        self.into.varint(number, encoded);
        Ok(true)
    }

    fn text<E: Error>(mut self, text: &str) -> Result<bool, E> {
        let number = self.field.number;
        match self.field.kind {
            _ if self.is_list() => Err(self.invalid(format_args!("{text:?}"))),
            Kind::String => {
                self.into.bytes(number, text.as_bytes());
                Ok(true)
            }
            Kind::Bytes => {
                let decoded = match self.into.form {
                    Form::Text => Cow::Borrowed(text.as_bytes()),
                    Form::Base64 => match base64(text) {
                        Some(bytes) => Cow::Owned(bytes),
                        None => return Err(self.invalid(format_args!("{:?}", short(text)))),
                    },
                };
                self.into.bytes(number, &decoded);
                Ok(true)
            }
            Kind::Enum(of) => match named(&SCHEMA.enums[of], text) {
                Some(value) => self.integer(value.into()),
                None => Err(self.invalid(format_args!("{:?}", short(text)))),
            },
            Kind::Int32 | Kind::Int64 | Kind::Sint64 | Kind::Uint32 | Kind::Uint64 => match number_in(text) {
                Some(value) => self.integer(value),
                None => Err(self.invalid(format_args!("{:?}", short(text)))),
            },
            Kind::Bool | Kind::Message(_) => Err(self.invalid(format_args!("{:?}", short(text)))),
        }
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {} field {}", self.field.kind.name(), self.field.json_name)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match self.scope {
            Scope::Field => Ok(false),
            Scope::Element => Err(self.invalid("null")),
        }
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<bool, E> {
        if self.is_list() || self.field.kind != Kind::Bool {
            return Err(self.invalid(value));
        }
        self.into.varint(self.field.number, value.into());
        Ok(true)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.integer(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.integer(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        match whole(value) {
            Some(whole) => self.integer(whole),
            None => Err(self.invalid(value)),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
        self.text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<bool, A::Error> {
        if !self.is_list() || is_map(self.field) {
            return Err(self.invalid("["));
        }
        let field = self.field;
        while list.next_element_seed(Value { field, into: self.into.again(), scope: Scope::Element })?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let (Kind::Message(of), number) = (self.field.kind, self.field.number) else {
            return Err(self.invalid(Unexpected::Map));
        };
        let message = &SCHEMA.messages[of];
        if message.is_entry {
            while let Some(key) = map.next_key::<Name<'de>>()? {
                self.into.nested(number, |mut into| {
                    into.bytes(message.fields[0].number, key.0.as_bytes());
                    map.next_value_seed(Value { field: &message.fields[1], into, scope: Scope::Element }).map(drop)
                })?;
            }
            return Ok(true);
        }
        if self.is_list() {
            return Err(self.invalid("{"));
        }
        self.into.nested(number, |into| Fields { message, into }.visit_map(map)).map(|()| true)
    }
}

fn is_map(field: &Field) -> bool {
    matches!(field.kind, Kind::Message(of) if SCHEMA.messages[of].is_entry)
}

fn named(of: &Enum, name: &str) -> Option<i32> {
    of.values.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
}

/// A number in a string: digits, or anything that a number of JSON may be if its value is whole.
fn number_in(text: &str) -> Option<i128> {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    match text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        false => text.parse().ok(),
        true => text.parse().ok().and_then(whole),
    }
}

fn whole(value: f64) -> Option<i128> {
    // Beyond 2^64 nothing is a number of the wire.
    let fits = value.is_finite() && value.fract() == 0.0 && value.abs() <= 18_446_744_073_709_551_616.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and fits")]
    fits.then_some(value as i128)
}

/// Takes padding or none, as etcd does.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

fn base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).ok()
}

/// The beginning of a value, for an error.
fn short(text: &str) -> Cow<'_, str> {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
