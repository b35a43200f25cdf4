//! The encoding of coordination rows: a format byte, then the fields in the order of their
//! declaration.
//!
//! Integers are variable-length (zigzag if signed), texts and lists are preceded by their length,
//! enums by a byte. Field names are not stored. A change of a row's fields needs a new format byte.

use crate::view::Fault;
use bytes::Bytes;

const FORMAT: u8 = 1;

pub(crate) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// Decodes the field at the front; `None` if the bytes are invalid.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

pub(crate) fn encode<T: Field>(row: &T) -> Vec<u8> {
    let mut out = vec![FORMAT];
    row.put(&mut out);
    out
}

pub(crate) fn decode<T: Field>(row: &[u8]) -> Result<T, Fault> {
    let mut rest = row.strip_prefix(&[FORMAT]).ok_or_else(unreadable)?;
    let value = T::take(&mut rest).ok_or_else(unreadable)?;
    if rest.is_empty() { Ok(value) } else { Err(unreadable()) }
}

pub(crate) fn unreadable() -> Fault {
    Fault::Corrupt("a row of the table coord cannot be read".into())
}

/// A row without a value.
impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut &[u8]) -> Option<()> {
        Some(())
    }
}

impl Field for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut &[u8]) -> Option<u8> {
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }

    fn take(from: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = u8::take(from)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Field for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<i64> {
        let zigzag = u64::take(from)?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(from: &mut &[u8]) -> Option<u32> {
        u64::take(from)?.try_into().ok()
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut &[u8]) -> Option<bool> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Field for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut &[u8]) -> Option<Bytes> {
        let len = usize::try_from(u64::take(from)?).ok()?;
        let (bytes, rest) = from.split_at_checked(len)?;
        *from = rest;
        Some(Bytes::copy_from_slice(bytes))
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<String> {
        String::from_utf8(Bytes::take(from)?.into()).ok()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Option<T>> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(from: &mut &[u8]) -> Option<Vec<T>> {
        (0..u64::take(from)?).map(|_| T::take(from)).collect()
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<(A, B)> {
        Some((A::take(from)?, B::take(from)?))
    }
}

/// A struct as the sequence of its fields.
macro_rules! fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::coord::field::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::coord::field::Field::put(&self.$field, out);)*
            }

            fn take(from: &mut &[u8]) -> Option<$name> {
                $(let $field = $crate::coord::field::Field::take(from)?;)*
                Some($name { $($field),* })
            }
        }
    };
}

/// An enum as a number and the fields of the variant.
macro_rules! choices {
    ($name:ident { $($tag:literal => $variant:ident { $($field:ident),* }),* $(,)? }) => {
        impl $crate::coord::field::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($field),* } => {
                        out.push($tag);
                        $($crate::coord::field::Field::put($field, out);)*
                    })*
                }
            }

            fn take(from: &mut &[u8]) -> Option<$name> {
                match <u8 as $crate::coord::field::Field>::take(from)? {
                    $($tag => {
                        $(let $field = $crate::coord::field::Field::take(from)?;)*
                        Some($name::$variant { $($field),* })
                    })*
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {choices, fields};

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T: Field + PartialEq + std::fmt::Debug>(value: T) {
        let row = encode(&value);
        assert_eq!(decode::<T>(&row).unwrap(), value);
        assert!(decode::<T>(&row[..row.len() - 1]).is_err(), "a cut row is a fault");
        assert!(decode::<T>(&[&row[..], b"\0"].concat()).is_err(), "so is one that goes on");
    }

    #[test]
    fn fields_read_back_as_written() {
        for number in [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN] {
            back(number);
        }
        for number in [0, 127, 128, u64::MAX] {
            back(number);
        }
        back(u32::MAX);
        back(vec![("a".to_owned(), Some(true)), (String::new(), None)]);
        back(Bytes::from_static(&[0xff, 0]));
        assert!(decode::<u64>(&[FORMAT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
        assert!(decode::<u8>(&[FORMAT + 1, 0]).is_err());
    }
}
