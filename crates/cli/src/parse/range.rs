//! Which keys: one, a range, a prefix, or all from one on.

use conclave_client::KeyRange;

/// A key and the end of its range, as the wire has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) key: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

/// The end that stands for "no end".
const NO_END: &[u8] = b"\0";

impl Keys {
    /// From the arguments of a command; a refusal has etcdctl's words.
    pub(crate) fn new(key: &str, end: Option<&str>, prefix: bool, from_key: bool) -> Result<Self, String> {
        if prefix && from_key {
            return Err("`--prefix` and `--from-key` cannot be set at the same time, choose one".into());
        }
        if (prefix || from_key) && end.is_some() {
            return Err("too many arguments, only accept one argument when `--prefix` or `--from-key` is set".into());
        }
        let key = key.as_bytes().to_vec();
        Ok(match end {
            // Nothing lies before it.
            Some(end) if key.is_empty() => Self { key: NO_END.to_vec(), end: end.as_bytes().to_vec() },
            Some(end) => Self { key, end: end.as_bytes().to_vec() },
            None if prefix => Self::prefix(key),
            None if from_key && key.is_empty() => Self { key: NO_END.to_vec(), end: NO_END.to_vec() },
            None if from_key => Self { key, end: NO_END.to_vec() },
            None => Self { key, end: Vec::new() },
        })
    }

    /// For the client library.
    pub(crate) fn range(&self) -> KeyRange {
        match self.end.as_slice() {
            [] => KeyRange::key(self.key.clone()),
            NO_END => KeyRange::starting_at(self.key.clone()),
            end => KeyRange::between(self.key.clone(), end.to_vec()),
        }
    }

    /// All keys that begin with these bytes.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Self {
        let Some(last) = prefix.iter().rposition(|byte| *byte != 0xff) else {
            let key = if prefix.is_empty() { NO_END.to_vec() } else { prefix };
            return Self { key, end: NO_END.to_vec() };
        };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Self { key: prefix, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges() {
        let of = |key, end, prefix, from| Keys::new(key, end, prefix, from).expect("well-formed");
        let keys = |key: &[u8], end: &[u8]| Keys { key: key.to_vec(), end: end.to_vec() };
        assert_eq!(of("a", None, false, false), keys(b"a", b""));
        assert_eq!(of("a", Some("c"), false, false), keys(b"a", b"c"));
        assert_eq!(of("a/", None, true, false), keys(b"a/", b"a0"));
        assert_eq!(of("", None, true, false), keys(b"\0", b"\0"));
        assert_eq!(of("b", None, false, true), keys(b"b", b"\0"));
        assert_eq!(of("", None, false, true), keys(b"\0", b"\0"));
        assert_eq!(Keys::prefix(vec![1, 0xff]), keys(&[1, 0xff], &[2]));
        assert_eq!(Keys::prefix(vec![0xff]), keys(&[0xff], b"\0"));
        assert!(Keys::new("a", None, true, true).is_err());
        assert!(Keys::new("a", Some("b"), true, false).is_err());
    }
}
