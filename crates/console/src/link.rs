//! Addresses of the console's pages, relative to each other.

use crate::kind::{Kind, Name};
use std::fmt::Write;

/// Bytes of a key or name that a link may carry. What is longer is shown without one.
pub const LONGEST: usize = 2 << 10;

/// An address with parameters: each value with all but letters, digits and `-._~/` encoded.
pub(crate) struct Link {
    text: String,
    has_any: bool,
    fits: bool,
}

impl Link {
    pub(crate) fn to(page: &str) -> Link {
        Link { text: page.to_owned(), has_any: false, fits: true }
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Link {
        let value = value.as_ref();
        self.fits &= value.len() <= LONGEST;
        if !self.fits {
            return self;
        }
        self.text.push(if self.has_any { '&' } else { '?' });
        self.has_any = true;
        self.text.push_str(name);
        self.text.push('=');
        for byte in value {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    self.text.push(char::from(*byte));
                }
                _ => {
                    let _ = write!(self.text, "%{byte:02X}");
                }
            }
        }
        self
    }

    /// The same with a parameter, if it says anything.
    pub(crate) fn some(self, name: &str, value: impl AsRef<[u8]>) -> Link {
        if value.as_ref().is_empty() { self } else { self.with(name, value) }
    }

    /// `None`: it would be too long.
    pub(crate) fn address(self) -> Option<String> {
        self.fits.then_some(self.text)
    }
}

pub(crate) fn name(kind: Kind, name: &Name) -> Link {
    Link::to("name").with("kind", kind.word()).some("namespace", &name.namespace).with("name", &name.name)
}

pub(crate) fn lease(id: i64) -> Link {
    Link::to("session").with("id", format!("{id:x}"))
}

pub(crate) fn folder(prefix: &[u8]) -> Link {
    Link::to("keys").some("prefix", prefix)
}

pub(crate) fn key(key: &[u8]) -> Link {
    Link::to("key").with("key", key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_could_mean_something_is_encoded() {
        let address = key(b"a/b c&d=e\"<>\xff\0?#%").address();
        assert_eq!(address.as_deref(), Some("key?key=a/b%20c%26d%3De%22%3C%3E%FF%00%3F%23%25"));
        let of = Name { namespace: "n s".into(), name: b"x".to_vec() };
        assert_eq!(name(Kind::Lock, &of).address().as_deref(), Some("name?kind=lock&namespace=n%20s&name=x"));
        assert_eq!(folder(b"").address().as_deref(), Some("keys"));
        assert_eq!(lease(-1).address().as_deref(), Some("session?id=ffffffffffffffff"));
    }

    #[test]
    fn what_is_too_long_has_no_link() {
        assert!(key(&[b'a'; LONGEST]).address().is_some());
        assert!(key(&[b'a'; LONGEST + 1]).address().is_none());
    }
}
