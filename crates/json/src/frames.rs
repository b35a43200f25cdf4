//! The framing of gRPC: five bytes before each message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const PREFIX: usize = 5;

/// A message as gRPC sends it. `None`: it is larger than a message can be.
#[must_use]
pub fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Some(framed.freeze())
}

/// The messages in the body of a response, as they arrive.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    pub fn push(&mut self, data: Bytes) {
        // Usually a frame of data is all there is, and is not copied.
        match self.buffer.is_empty() {
            true => self.buffer = BytesMut::from(data),
            false => self.buffer.extend_from_slice(&data),
        }
    }

    /// The next message that is complete.
    pub fn take(&mut self) -> Option<Bytes> {
        let mut head = self.buffer.get(1..PREFIX)?;
        let length = head.get_u32() as usize;
        if self.buffer.len() - PREFIX < length {
            return None;
        }
        self.buffer.advance(PREFIX);
        Some(self.buffer.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_any_pieces() {
        let all = [framed(b"one").unwrap(), framed(b"").unwrap(), framed(&[7; 300]).unwrap()].concat();
        for piece in [1, 2, 5, 7, all.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for data in all.chunks(piece) {
                frames.push(Bytes::copy_from_slice(data));
                seen.extend(std::iter::from_fn(|| frames.take()));
            }
            assert_eq!(seen, [&b"one"[..], b"", &[7; 300]]);
        }
    }
}
