//! A watch response as bytes: Protobuf, of which the events are encoded already.
//!
//! A response is encoded as its small head, followed by the shared bytes of its events. Field 11 is
//! the last of the message, so this is what encoding the whole message would give.

use super::outbox::{Frame, Note};
use bytes::{BufMut, BytesMut};
use conclave_api::etcdserverpb::{ResponseHeader, WatchResponse};
use prost::Message;
use thiserror::Error;

/// Before every message of a gRPC stream: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A frame with the header it goes out with.
#[derive(Clone, Debug)]
pub struct Reply {
    pub header: ResponseHeader,
    pub frame: Frame,
}

impl Reply {
    fn head(&self) -> WatchResponse {
        let mut head = WatchResponse { header: Some(self.header), watch_id: self.frame.watch_id, ..Default::default() };
        match self.frame.note {
            Note::Events => {}
            Note::Fragment => head.fragment = true,
            Note::Created => head.created = true,
            Note::Canceled => head.canceled = true,
            Note::Compacted(revision) => {
                head.canceled = true;
                head.compact_revision = revision;
            }
            Note::Revoked(reason) => {
                head.canceled = true;
                head.cancel_reason = reason.to_owned();
            }
            Note::Refused(reason) => {
                head.created = true;
                head.canceled = true;
                head.cancel_reason = reason.into();
            }
        }
        head
    }

    /// Appends the encoded `WatchResponse`.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        self.head().encode_raw(buffer);
        buffer.put_slice(&self.frame.data);
    }

    /// Appends it as a message of a gRPC stream; nothing of it if it is too large for one.
    pub fn encode_message(&self, buffer: &mut BytesMut) -> Result<(), TooLarge> {
        let head = self.head();
        let length = head.encoded_len() + self.frame.data.len();
        let prefix = u32::try_from(length).map_err(|_| TooLarge(length))?;
        buffer.reserve(PREFIX + length);
        buffer.put_u8(0);
        buffer.put_u32(prefix);
        head.encode_raw(buffer);
        buffer.put_slice(&self.frame.data);
        Ok(())
    }
}

/// The length of a message has 32 bits. A revision is never divided, so one of as much is possible,
/// and cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a response of {0} bytes is too large for a message")]
pub struct TooLarge(usize);

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_is_too_large_for_a_message_is_refused() {
        // Never touched, so it takes no memory.
        let data = Bytes::from(vec![0; u32::MAX as usize + 1]);
        let frame = Frame { data, ..Frame::note(1, 2, Note::Events) };
        let mut buffer = BytesMut::new();
        assert!(Reply { header: ResponseHeader::default(), frame }.encode_message(&mut buffer).is_err());
        assert!(buffer.is_empty());
    }
}
