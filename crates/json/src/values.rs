//! The values of JSON in the body of a request, one after the other, as they arrive.
//!
//! A call whose client streams has any number of them. Nothing is parsed here: a scan finds where a
//! value ends, and looks at each byte once, however small the pieces are in which they come.

use bytes::{Buf, Bytes, BytesMut};

/// One value has more bytes than a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The values so far. What is no JSON comes out as a value too, for its reader to refuse.
#[derive(Debug)]
pub struct Values {
    limit: usize,
    buffer: BytesMut,
    scanned: usize,
    /// Objects and lists that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Values {
    /// `limit`: bytes of one value.
    #[must_use]
    pub fn new(limit: usize) -> Values {
        Values { limit, buffer: BytesMut::new(), scanned: 0, depth: 0, in_string: false, escaped: false }
    }

    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next value that is complete.
    pub fn take(&mut self) -> Result<Option<Bytes>, TooLarge> {
        if self.scanned == 0 {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
        }
        while let Some(byte) = self.buffer.get(self.scanned).copied() {
            if self.scanned >= self.limit {
                return Err(TooLarge);
            }
            let before = self.scanned;
            self.scanned += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => {
                    self.in_string = !self.in_string;
                    if !self.in_string && self.depth == 0 {
                        return Ok(Some(self.split(self.scanned)));
                    }
                }
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Ok(Some(self.split(self.scanned)));
                    }
                }
                // A number or a word ends where something else begins.
                _ if self.depth == 0 && byte.is_ascii_whitespace() => return Ok(Some(self.split(before))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// What is left when no more comes: a number or a word that ends there, or the beginning of a
    /// value.
    pub fn rest(&mut self) -> Option<Bytes> {
        let rest = self.split(self.buffer.len());
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }

    fn split(&mut self, end: usize) -> Bytes {
        (self.scanned, self.depth, self.in_string, self.escaped) = (0, 0, false, false);
        self.buffer.split_to(end).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the body arrives in pieces of this size.
    fn values(body: &str, piece: usize) -> Vec<String> {
        let (mut values, mut seen) = (Values::new(1 << 10), Vec::new());
        for data in body.as_bytes().chunks(piece) {
            values.push(data);
            while let Some(value) = values.take().unwrap() {
                seen.push(value);
            }
        }
        seen.extend(values.rest());
        seen.into_iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    #[test]
    fn values_end_where_they_end() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &[]),
            (" \n\t", &[]),
            ("{}", &["{}"]),
            ("{\"a\":1}{\"b\":[{}]}\n {}", &["{\"a\":1}", "{\"b\":[{}]}", "{}"]),
            (r#"{"a":"}\"{\\"}{}"#, &[r#"{"a":"}\"{\\"}"#, "{}"]),
            ("1 null \"x\"", &["1", "null", "\"x\""]),
            ("}{}", &["}", "{}"]),
            ("{\"a\":", &["{\"a\":"]),
            ("garbage", &["garbage"]),
        ];
        for (body, expected) in cases {
            for piece in [1, 3, 1_000] {
                assert_eq!(values(body, piece), expected, "{body:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_value_has_a_bound() {
        let mut values = Values::new(16);
        values.push(b"{\"a\":1}{\"a\":2}");
        assert!(values.take().unwrap().is_some() && values.take().unwrap().is_some());
        values.push(b"{\"key\":\"that is too long\"}");
        assert_eq!(values.take(), Err(TooLarge));
    }

    #[test]
    fn each_byte_is_looked_at_once() {
        let mut values = Values::new(1 << 20);
        values.push(b"\"");
        for _ in 0..1_000_000 {
            values.push(b"a");
            assert_eq!(values.take(), Ok(None));
        }
    }
}
