//! tonic's Protobuf codec with small first buffers.
//!
//! The stock codec sets 8 KiB aside for every message in each direction, while a unary request
//! needs a few hundred bytes: most of the allocator's work would be for nothing. Buffers still grow
//! to what a message needs.

use prost::Message;
use std::fmt;
use std::marker::PhantomData;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of a message's buffer.
const INITIAL_BYTES: usize = 512;
/// How much encoded output of a stream is gathered before it goes to the connection.
const YIELD_BYTES: usize = 32 << 10;

/// The buffer sizes of every codec of this project's wire.
pub fn buffer_settings() -> BufferSettings {
    BufferSettings::new(INITIAL_BYTES, YIELD_BYTES)
}

/// Encodes `T`, decodes `U`.
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        SmallCodec(PhantomData)
    }
}

impl<T, U> fmt::Debug for SmallCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallCodec")
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(buffer_settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(buffer_settings())
    }
}
