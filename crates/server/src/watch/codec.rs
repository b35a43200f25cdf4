//! The wire of the Watch service: Protobuf, except that a response's events are bytes already.
//!
//! A response is encoded as its small head, followed by the shared bytes of its events. Field 11 is the last of the message, so this
//! is what encoding the whole message would give.

use super::outbox::{Frame, Note};
use bytes::BufMut;
use conclave_api::codec::buffer_settings;
use conclave_api::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

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
}

#[derive(Debug, Default)]
pub struct ReplyEncoder;

impl Encoder for ReplyEncoder {
    type Item = Reply;
    type Error = Status;

    fn encode(&mut self, reply: Reply, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(reply.frame.data.len() + 64);
        reply.encode(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffer_settings()
    }
}

/// Encodes replies, decodes requests.
#[derive(Debug, Default)]
pub struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Reply;
    type Decode = WatchRequest;
    type Encoder = ReplyEncoder;
    type Decoder = ProstDecoder<WatchRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        ReplyEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<WatchRequest, WatchRequest>::raw_decoder(buffer_settings())
    }
}
