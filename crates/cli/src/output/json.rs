//! JSON values whose members keep their order, written as etcdctl writes them.
//!
//! 1. Members that hold nothing are left out where etcdctl leaves them out: `some` drops zeros,
//!    empty texts and empty lists.
//! 2. Bytes are base64.
//! 3. `<`, `>` and `&` are escaped, as Go does; a reader sees no difference.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
    /// Members whose names come from outside.
    Map(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn object() -> Object {
        Object::default()
    }

    pub(crate) fn list<T>(items: impl IntoIterator<Item = T>, json: impl FnMut(T) -> Json) -> Self {
        Self::List(items.into_iter().map(json).collect())
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Text(base64(bytes))
    }

    /// Whether there is nothing to tell.
    fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::UInt(value) => *value == 0,
            Self::Text(value) => value.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Map(members) => members.is_empty(),
            Self::Object(_) => false,
        }
    }

    /// Ids of members, clusters and leases in hexadecimal, as everywhere but in etcd's JSON.
    /// Readers that know only doubles round the decimal ones.
    pub(crate) fn with_hex_ids(self) -> Self {
        const IDS: [&str; 6] = ["cluster_id", "member_id", "memberID", "ID", "leader", "lease"];
        let member = |(name, value): (&'static str, Self)| match value {
            Self::UInt(id) if IDS.contains(&name) => (name, Self::Text(format!("{id:x}"))),
            Self::Int(id) if IDS.contains(&name) => (name, Self::Text(format!("{id:x}"))),
            value => (name, value.with_hex_ids()),
        };
        match self {
            Self::Object(members) => Self::Object(members.into_iter().map(member).collect()),
            Self::List(items) => Self::List(items.into_iter().map(Self::with_hex_ids).collect()),
            other => other,
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let text = serde_json::to_string(self).expect("maps with text keys always serialize");
        // These three never stand outside of texts.
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

/// An object that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<(&'static str, Json)>);

impl Object {
    /// A member that is always there.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// A member that is left out if it holds nothing.
    pub(crate) fn some(self, name: &'static str, value: impl Into<Json>) -> Self {
        let value = value.into();
        if value.is_empty() { self } else { self.with(name, value) }
    }

    /// The members of another object, here.
    pub(crate) fn merge(mut self, other: Json) -> Self {
        if let Json::Object(members) = other {
            self.0.extend(members);
        }
        self
    }

    pub(crate) fn done(self) -> Json {
        Json::Object(self.0)
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for Json {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from!(bool => Bool, i64 => Int, i32 => Int, u64 => UInt, u32 => UInt, String => Text, &str => Text, &String => Text);

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::List(items)
    }
}

impl From<&[String]> for Json {
    fn from(texts: &[String]) -> Self {
        Self::list(texts, |text| Self::Text(text.clone()))
    }
}

impl From<Option<Json>> for Json {
    fn from(value: Option<Json>) -> Self {
        value.unwrap_or(Self::Null)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::UInt(value) => serializer.serialize_u64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([0, 0].iter()).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for digit in 0..4_usize {
            let shift = 18 - 6 * digit;
            let value = (word >> shift & 63) as usize;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_remainder() {
        for (plain, coded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("leased", "bGVhc2Vk")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd, 0]), "//79AA==");
    }

    #[test]
    fn ids_may_be_hexadecimal() {
        let header = Json::object().with("member_id", u64::MAX).with("revision", 7_i64).done();
        let json = Json::object().with("header", header).with("leader", "a").with("lease", -1_i64).done();
        let line =
            r#"{"header":{"member_id":"ffffffffffffffff","revision":7},"leader":"a","lease":"ffffffffffffffff"}"#;
        assert_eq!(json.with_hex_ids().line(), line);
    }

    #[test]
    fn order_is_kept_and_nothing_is_left_out() {
        let json =
            Json::object().with("z", 0_i64).some("b", 0_i64).some("a", "<&>").some("l", Json::List(vec![])).done();
        assert_eq!(json.line(), r#"{"z":0,"a":"\u003c\u0026\u003e"}"#);
    }
}
