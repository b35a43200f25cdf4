//! The metadata of a request: how much of it may be sent, and how much of that is kept.
//!
//! A client may send a lot (tracing, tokens of gateways), and the header compression of HTTP/2 lets
//! a few bytes stand for many. So a head has a bound, and what is beyond an ordinary size is
//! dropped before the request waits for anything: however many requests a connection has open, each
//! keeps little.

use http::{HeaderMap, HeaderName};

/// The most that the head of one request may have, names and values, 32 bytes added for each field.
pub(super) const MOST: u32 = 1 << 20;

/// Heads up to this size are kept as they are.
const ORDINARY: usize = 16 << 10;

/// What anything here looks at, or may look at.
const KNOWN: [&str; 9] = [
    "authorization",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "hasleader",
    "te",
    "token",
    "user-agent",
];

/// Leaves of an extraordinarily large head what is known, as far as that is of an ordinary size.
pub(super) fn trim(headers: &mut HeaderMap) {
    if size(headers) <= ORDINARY {
        return;
    }
    let (mut kept, mut left) = (HeaderMap::with_capacity(KNOWN.len()), ORDINARY);
    for name in KNOWN {
        let Some(value) = headers.get(name) else { continue };
        if let Some(rest) = left.checked_sub(field(name.len(), value.len())) {
            left = rest;
            kept.insert(HeaderName::from_static(name), value.clone());
        }
    }
    *headers = kept;
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| field(name.as_str().len(), value.len())).sum()
}

/// As HTTP/2 counts it.
fn field(name: usize, value: usize) -> usize {
    name + value + 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(fields: &[(&'static str, usize)]) -> HeaderMap {
        let value = |bytes: usize| HeaderValue::from_bytes(&vec![b'v'; bytes]).expect("text");
        fields.iter().map(|(name, bytes)| (HeaderName::from_static(name), value(*bytes))).collect()
    }

    #[test]
    fn an_ordinary_head_stays_as_it_is() {
        let ordinary = headers(&[("content-type", 20), ("x-tracing", 15_000)]);
        let mut trimmed = ordinary.clone();
        trim(&mut trimmed);
        assert_eq!(trimmed, ordinary);
    }

    #[test]
    fn of_a_large_head_the_known_part_stays() {
        let mut large = headers(&[("content-type", 20), ("x-tracing", 900_000), ("hasleader", 4), ("token", 300)]);
        trim(&mut large);
        assert_eq!(large, headers(&[("content-type", 20), ("hasleader", 4), ("token", 300)]));
    }

    #[test]
    fn what_is_kept_has_a_bound_whatever_its_name() {
        let mut large = headers(&[("content-type", 20), ("authorization", 500_000), ("user-agent", 500_000)]);
        trim(&mut large);
        assert_eq!(large, headers(&[("content-type", 20)]));
    }

    #[test]
    fn the_names_are_names() {
        let _ = KNOWN.map(HeaderName::from_static);
    }
}
