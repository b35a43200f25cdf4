//! Zero-copy decoding: keys and values of a command are slices of the log entry that contains them.
//!
//! A deserializer passes borrowed bytes, and the receiver has to copy them to keep them, unless it
//! knows the buffer that they are borrowed from. [`shared`] sets that buffer for the duration of a
//! decode.
//!
//! 1. Bytes outside the source are copied. So a missing or wrong source costs time and nothing
//!    else.
//! 2. A slice keeps the whole source in memory. Data that outlives the command (rows, events,
//!    answers) is copied.

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{Error, Visitor};
use std::cell::RefCell;
use std::fmt;

thread_local! {
    static SOURCE: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// Runs `decode`, which reads from `source`.
pub fn shared<T>(source: &Bytes, decode: impl FnOnce() -> T) -> T {
    struct Restore(Bytes);

    impl Drop for Restore {
        fn drop(&mut self) {
            SOURCE.replace(std::mem::take(&mut self.0));
        }
    }

    let _restore = Restore(SOURCE.replace(source.clone()));
    decode()
}

/// These bytes as a slice of the source, or a copy.
fn slice(bytes: &[u8]) -> Bytes {
    SOURCE.with_borrow(|source| {
        let start = (bytes.as_ptr() as usize).checked_sub(source.as_ptr() as usize);
        match start.filter(|start| start + bytes.len() <= source.len()) {
            Some(start) => source.slice(start..start + bytes.len()),
            None => Bytes::copy_from_slice(bytes),
        }
    })
}

/// For `#[serde(deserialize_with)]` on a field of [`Bytes`].
pub(crate) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    struct Slice;

    impl<'de> Visitor<'de> for Slice {
        type Value = Bytes;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("bytes")
        }

        fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Bytes, E> {
            Ok(slice(bytes))
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }
    }

    from.deserialize_bytes(Slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_source_is_shared_and_everything_else_copied() {
        let source = Bytes::from(b"0123456789".to_vec());
        let other = b"0123456789".to_vec();
        shared(&source, || {
            let inside = slice(&source[3..7]);
            assert_eq!((&inside[..], inside.as_ptr()), (&b"3456"[..], source[3..].as_ptr()));
            assert_eq!(slice(&source[10..]).len(), 0);
            let outside = slice(&other[3..7]);
            assert_eq!(&outside[..], b"3456");
            assert_ne!(outside.as_ptr(), other[3..].as_ptr());
            // An inner source ends with its scope.
            shared(&Bytes::from(other.clone()), || assert_ne!(slice(&source).as_ptr(), source.as_ptr()));
            assert_eq!(slice(&source).as_ptr(), source.as_ptr());
        });
        assert_ne!(slice(&source).as_ptr(), source.as_ptr());
    }
}
