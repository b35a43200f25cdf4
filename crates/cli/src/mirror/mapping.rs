//! Which keys a mirror carries, and under which names.

use bytes::Bytes;
use conclave_client::KeyRange;

/// What Conclave projects elections, locks and claims into. It refuses writes there, so nothing of
/// it is carried.
const RESERVED: &[u8] = b"/_conclave/";

/// The mirror's own key, behind the destination's prefix.
const MARK: &[u8] = b"conclave-mirror";

/// A prefix at the source, and what stands in its place at the destination. What is behind it
/// stays, so both sides have one order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    source: Bytes,
    destination: Bytes,
}

impl Mapping {
    pub(crate) fn new(source: impl Into<Bytes>, destination: impl Into<Bytes>) -> Self {
        Self { source: source.into(), destination: destination.into() }
    }

    /// What is read at the source.
    pub(super) fn read(&self) -> KeyRange {
        KeyRange::prefix(self.source.clone())
    }

    /// What is written at the destination.
    pub(super) fn written(&self) -> KeyRange {
        KeyRange::prefix(self.destination.clone())
    }

    /// The key that the mirror marks its steps with.
    pub(super) fn mark(&self) -> Bytes {
        [&self.destination, MARK].concat().into()
    }

    /// What is behind the prefix of a key of the source; `None` if the key is not carried.
    pub(super) fn of_source<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        self.carried(key.strip_prefix(&self.source[..])?)
    }

    /// The same of a key of the destination; `None` if the mirror has nothing to do with it.
    pub(super) fn of_destination<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        self.carried(key.strip_prefix(&self.destination[..])?)
    }

    /// The key at the destination.
    pub(super) fn at_destination(&self, rest: &[u8]) -> Bytes {
        [&self.destination, rest].concat().into()
    }

    fn carried<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let reserved = |prefix: &[u8]| {
            // Without putting the key together: a prefix is short or none.
            let key = prefix.iter().chain(rest);
            key.take(RESERVED.len()).eq(RESERVED)
        };
        // No key is empty.
        let nameless = rest.is_empty() && self.destination.is_empty();
        (!nameless && rest != MARK && !reserved(&self.source) && !reserved(&self.destination)).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_replaced_and_the_rest_stays() {
        let mapping = Mapping::new("a/", "b/");
        let mapped = |key: &[u8]| mapping.of_source(key).map(|rest| mapping.at_destination(rest));
        assert_eq!(mapped(b"a/x").as_deref(), Some(&b"b/x"[..]));
        assert_eq!(mapped(b"a/").as_deref(), Some(&b"b/"[..]));
        assert_eq!(mapped(b"c/x"), None);
        assert_eq!(mapping.of_destination(b"b/x"), Some(&b"x"[..]));
    }

    #[test]
    fn what_is_not_carried() {
        let all = Mapping::default();
        for key in [&b""[..], b"/_conclave/e/x", b"conclave-mirror"] {
            assert_eq!(all.of_source(key), None, "{key:?}");
        }
        assert_eq!(all.of_source(b"/_conclav"), Some(&b"/_conclav"[..]));
        // A name that becomes a reserved one, and one that was.
        assert_eq!(Mapping::new("x", "/_conclave").of_source(b"x/a"), None);
        assert_eq!(Mapping::new("/_conclave/", "x").of_source(b"/_conclave/a"), None);
        assert_eq!(Mapping::new("p/", "").of_source(b"p/"), None);
    }
}
