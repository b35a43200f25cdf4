//! A watch response as bytes: Protobuf, of which the events are encoded already.
//!
//! A response is encoded as its small head, followed by the shared bytes of its events. Field 11 is the last of the message, so this
//! is what encoding the whole message would give.

use super::outbox::{Frame, Note};
use bytes::{BufMut, BytesMut};
use conclave_api::etcdserverpb::{ResponseHeader, WatchResponse};
use prost::Message;

/// Before every message of a gRPC stream: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// About what stands before the events of a message.
const HEAD: usize = 64;

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
    /// Appends it as a message of a gRPC stream.
    pub fn encode_message(&self, buffer: &mut BytesMut) {
        let start = buffer.len();
        buffer.reserve(self.frame.data.len() + HEAD);
        buffer.put_bytes(0, PREFIX);
        self.encode(buffer);
        let length = u32::try_from(buffer.len() - start - PREFIX).expect("a response is far below 4 GiB");
        buffer[start + 1..start + PREFIX].copy_from_slice(&length.to_be_bytes());
    }
}
