//! Projection of the rows into ordinary keys under the reserved prefix.
//!
//! Operations record the keys that should exist or be deleted. At the end of the command each key
//! is compared with its current value and changed if it differs. So a key changes at most once in a
//! revision, and a command that changes nothing takes no revision.

use crate::bounds::Budget;
use crate::keys::{prefix_range, range_rows};
use crate::machine::{Batch, Stop};
use crate::scan;
use crate::view::{Fault, View};
use crate::{KeyRange, LeaseId, Rejection, coord};
use std::fmt::Write;
use std::ops::ControlFlow;

impl<V: View> Batch<'_, V> {
    pub(crate) fn show(&mut self, key: Vec<u8>, value: Vec<u8>, lease: LeaseId) {
        self.projected.insert(key, Some((value, lease)));
    }

    pub(crate) fn hide(&mut self, key: Vec<u8>) {
        self.projected.insert(key, None);
    }

    /// Changes the keys to their intended values, in key order.
    pub(crate) fn project(&mut self) -> Result<(), Fault> {
        for (key, wanted) in std::mem::take(&mut self.projected) {
            let target = self.target(&key)?;
            match (&target.current, wanted) {
                (None, None) => {}
                (Some(_), None) => self.remove(target),
                (Some(current), Some((value, lease))) if current.lease == lease && self.value_of(&target)? == value => {
                }
                (_, Some((value, lease))) => self.store(target, &value, lease, 0),
            }
        }
        Ok(())
    }

    /// Rejects a raw write of a reserved key.
    pub(crate) fn check_raw(&self, key: &[u8]) -> Result<(), Stop> {
        if coord::is_reserved(key) { Err(Rejection::Reserved.into()) } else { Ok(()) }
    }

    /// Rejects a deletion that would remove a reserved key. A range that merely could contain one
    /// passes, so "delete all" works while there are no elections, locks or claims.
    pub(crate) fn check_raw_range(&self, range: &KeyRange) -> Result<(), Stop> {
        if range.end.is_empty() {
            return if self.target(&range.key)?.current.is_some() { self.check_raw(&range.key) } else { Ok(()) };
        }
        let reserved = prefix_range(coord::RESERVED);
        let to_end = range.end == "\0"[..];
        if range.key >= reserved.end || !(to_end || range.end > reserved.key) {
            return Ok(());
        }
        let from = range.key.clone().max(reserved.key);
        let end = if to_end { reserved.end } else { range.end.clone().min(reserved.end) };
        let mut found = false;
        if let Some((from, below)) = range_rows(&KeyRange { key: from, end }) {
            scan::alive(&self.rows, (&from, &below), scan::PRESENT, &Budget::unlimited(), |_| {
                found = true;
                Ok(ControlFlow::Break(()))
            })?;
        }
        if found { Err(Rejection::Reserved.into()) } else { Ok(()) }
    }
}

/// A flat JSON object, written in the order of the calls.
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn new() -> Json {
        Json("{".into())
    }

    pub(crate) fn number(mut self, name: &str, number: impl Into<i128>) -> Json {
        self.name(name);
        let _ = write!(self.0, "{}", number.into());
        self
    }

    pub(crate) fn text(mut self, name: &str, text: &str) -> Json {
        self.name(name);
        self.quoted(text);
        self
    }

    /// Left out if empty.
    pub(crate) fn some(self, name: &str, text: &str) -> Json {
        if text.is_empty() { self } else { self.text(name, text) }
    }

    pub(crate) fn texts(mut self, name: &str, pairs: &[(String, String)]) -> Json {
        if pairs.is_empty() {
            return self;
        }
        self.name(name);
        let inner = pairs.iter().fold(Json::new(), |json, (key, value)| json.text(key, value));
        self.0.push_str(&inner.0);
        self.0.push('}');
        self
    }

    pub(crate) fn done(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.quoted(name);
        self.0.push(':');
    }

    fn quoted(&mut self, text: &str) {
        self.0.push('"');
        for sign in text.chars() {
            match sign {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(sign);
                }
                '\0'..'\x20' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(sign));
                }
                sign => self.0.push(sign),
            }
        }
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_json_whatever_the_names_are() {
        let json =
            Json::new().text("a\"", "x\\\n").number("n", -1).some("no", "").texts("l", &[("k".into(), "v".into())]);
        assert_eq!(String::from_utf8(json.done()).unwrap(), r#"{"a\"":"x\\\u000a","n":-1,"l":{"k":"v"}}"#);
    }
}
