//! What a watcher wants to see. Watchers with equal interests are served as one.

use bytes::Bytes;
use conclave_state::EventKind;

/// The keys of a watcher.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Span {
    Key(Bytes),
    /// `[start, end)`; without an end, everything from `start` on.
    Range {
        start: Bytes,
        end: Option<Bytes>,
    },
}

/// `[key, end)` holds no key at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EmptyRange;

impl Span {
    /// From the wire's two fields. An empty key is the smallest key there is.
    ///
    /// They are copied: what was decoded shares the buffer that it came in, which would stay for as long as the watcher does.
    pub(crate) fn new(key: &[u8], range_end: &[u8]) -> Result<Span, EmptyRange> {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Interest {
    pub(crate) span: Span,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    /// Events carry what the key held before.
    pub(crate) previous: bool,
}

impl Interest {
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
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
    fn an_empty_or_inverted_range_is_refused() {
        assert_eq!(span(b"b", b"a"), Err(EmptyRange));
        assert_eq!(span(b"a", b"a"), Err(EmptyRange));
    }
}
