//! Spans of keys.

use bytes::Bytes;

/// The keys that somebody follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    Key(Bytes),
    /// `[start, end)`; without an end, everything from `start` on.
    Range {
        start: Bytes,
        end: Option<Bytes>,
    },
}

/// `[key, end)` holds no key at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyRange;

impl Span {
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Span {
        Span::Key(key.into())
    }

    /// All keys that begin so. The prefixes of one election, lock or claim are in
    /// [`conclave_state::coord`].
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Span {
        let start = prefix.into();
        let mut end = start.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = end.last_mut().map(|byte| *byte += 1).map(|()| Bytes::from(end));
        Span::Range { start, end }
    }

    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Span::Key(own) => own == key,
            Span::Range { start, end } => &start[..] <= key && end.as_ref().is_none_or(|end| key < &end[..]),
        }
    }

    /// From the wire's two fields. An empty key is the smallest key there is.
    ///
    /// They are copied: what was decoded shares the buffer that it came in, which would stay for as
    /// long as the watcher does.
    pub fn new(key: &[u8], range_end: &[u8]) -> Result<Span, EmptyRange> {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { Bytes::copy_from_slice(key) };
        if range_end.is_empty() {
            return Ok(Span::Key(key));
        }
        if range_end == b"\0" {
            return Ok(Span::Range { start: key, end: None });
        }
        if *range_end <= key[..] {
            return Err(EmptyRange);
        }
        Ok(Span::Range { start: key, end: Some(Bytes::copy_from_slice(range_end)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(key: &'static [u8], end: &'static [u8]) -> Result<Span, EmptyRange> {
        Span::new(key, end)
    }

    #[test]
    fn the_wire_form_of_ranges() {
        assert_eq!(span(b"a", b""), Ok(Span::Key(Bytes::from_static(b"a"))));
        assert_eq!(span(b"", b""), Ok(Span::Key(Bytes::from_static(b"\0"))));
        assert_eq!(span(b"a", b"\0"), Ok(Span::Range { start: Bytes::from_static(b"a"), end: None }));
        assert_eq!(span(b"", b"\0"), Ok(Span::Range { start: Bytes::from_static(b"\0"), end: None }));
        assert_eq!(
            span(b"a", b"b"),
            Ok(Span::Range { start: Bytes::from_static(b"a"), end: Some(Bytes::from_static(b"b")) })
        );
    }

    #[test]
    fn a_span_does_not_keep_the_message_that_it_came_in() {
        let message = Bytes::from(b"from-to and much else".to_vec());
        let span = Span::new(&message.slice(0..4), &message.slice(5..7)).unwrap();
        let key = Span::new(&message.slice(0..4), b"").unwrap();
        assert!(message.is_unique(), "{span:?} {key:?}");
    }

    #[test]
    fn spans_hold_their_keys() {
        let all = Span::prefix(&b"a/"[..]);
        assert!(all.contains(b"a/") && all.contains(b"a/\xff\xff") && !all.contains(b"a0") && !all.contains(b"a"));
        let last = Span::prefix(&b"a\xff"[..]);
        assert!(last.contains(b"a\xff\xff") && !last.contains(b"b"));
        assert!(Span::prefix(&b"\xff"[..]).contains(b"\xff\xff"));
        assert!(Span::key(&b"a"[..]).contains(b"a") && !Span::key(&b"a"[..]).contains(b"aa"));
    }

    #[test]
    fn an_empty_or_inverted_range_is_refused() {
        assert_eq!(span(b"b", b"a"), Err(EmptyRange));
        assert_eq!(span(b"a", b"a"), Err(EmptyRange));
    }
}
