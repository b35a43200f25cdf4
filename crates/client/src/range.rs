//! Which keys a request is about.

use bytes::Bytes;

/// One key, or an interval of keys in byte order.
///
/// What can be a key on its own converts into the range of that one key.
///
/// # Examples
/// ```
/// use conclave_client::KeyRange;
///
/// assert!(KeyRange::prefix("job/").contains(b"job/7"));
/// assert!(!KeyRange::prefix("job/").contains(b"job0"));
/// assert!(KeyRange::between("a", "c").contains(b"b"));
/// assert!(KeyRange::from("a").contains(b"a"));
/// assert!(!KeyRange::from("a").contains(b"ab"));
/// assert!(KeyRange::all().contains(b"z") && KeyRange::starting_at("y").contains(b"z"));
/// assert_eq!(KeyRange::key("a"), KeyRange::from("a"));
/// assert_eq!(KeyRange::prefix("job/").first(), "job/");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    pub(crate) key: Bytes,
    /// As the wire has it: empty for one key, `\0` for no upper bound.
    pub(crate) end: Bytes,
}

const NO_BOUND: &[u8] = b"\0";

/// All of it as in the [example](KeyRange#examples).
impl KeyRange {
    /// One key; it must not be empty.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), end: Bytes::new() }
    }

    /// All keys that begin with `prefix`; all keys if it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        if prefix.is_empty() {
            return Self::all();
        }
        Self { end: prefix_end(&prefix), key: prefix }
    }

    /// The keys from `first` on, before `end`.
    pub fn between(first: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { key: first.into(), end: end.into() }
    }

    /// The keys from `first` on.
    pub fn starting_at(first: impl Into<Bytes>) -> Self {
        Self { key: first.into(), end: Bytes::from_static(NO_BOUND) }
    }

    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self { key: Bytes::from_static(NO_BOUND), end: Bytes::from_static(NO_BOUND) }
    }

    /// Where it begins.
    #[must_use]
    pub fn first(&self) -> &Bytes {
        &self.key
    }

    /// Whether `key` belongs to it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self.end.as_ref() {
            b"" => key == self.key,
            NO_BOUND => key >= self.key.as_ref(),
            end => key >= self.key.as_ref() && key < end,
        }
    }

    /// What of it lies after `key`: where the next page of a reader begins.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let next = [key, b"\0"].concat();
        Self { key: next.into(), end: self.end.clone() }
    }
}

impl<K: Into<Bytes>> From<K> for KeyRange {
    fn from(key: K) -> Self {
        Self::key(key)
    }
}

/// The first key after all that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff);
    match kept {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        // Nothing is greater than a prefix of 0xff alone but what begins with it.
        None => Bytes::from_static(NO_BOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_one_begins() {
        assert_eq!(KeyRange::prefix("ab").end, "ac");
        assert_eq!(KeyRange::prefix(&b"a\xff\xff"[..]).end, "b");
        assert_eq!(KeyRange::prefix(&b"\xff"[..]).end.as_ref(), NO_BOUND);
        assert_eq!(KeyRange::prefix(""), KeyRange::all());
        assert!(KeyRange::all().contains(b"\0") && KeyRange::all().contains(b"\xff\xff"));
    }

    #[test]
    fn what_is_after_a_key() {
        let rest = KeyRange::prefix("a").after(b"ab");
        assert!(!rest.contains(b"ab") && rest.contains(b"ab\0") && rest.contains(b"ac") && !rest.contains(b"b"));
    }
}
