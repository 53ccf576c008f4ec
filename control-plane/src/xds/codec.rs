//! gRPC messages of the discovery services: requests decoded as generated types, responses written from shared bytes.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::push::Push;

/// Reads `M`, writes [`Push`].
#[derive(Debug)]
pub(crate) struct PushCodec<M>(PhantomData<M>);

impl<M> Default for PushCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Default + 'static> Codec for PushCodec<M> {
    type Encode = Push;
    type Decode = M;
    type Encoder = PushEncoder;
    type Decoder = RequestDecoder<M>;

    fn encoder(&mut self) -> Self::Encoder {
        PushEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder(PhantomData)
    }
}

/// Writes responses.
#[derive(Debug)]
pub(crate) struct PushEncoder;

impl Encoder for PushEncoder {
    type Item = Push;
    type Error = Status;

    fn encode(&mut self, push: Push, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        push.encode(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        small_buffers()
    }
}

/// Reads requests.
#[derive(Debug)]
pub(crate) struct RequestDecoder<M>(PhantomData<M>);

impl<M: Message + Default + 'static> Decoder for RequestDecoder<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let message = M::decode(buf.copy_to_bytes(buf.remaining()));
        message
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("not a discovery request: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        small_buffers()
    }
}

/// Thousands of streams are idle most of the time: a buffer that large messages have grown is not worth starting with.
fn small_buffers() -> BufferSettings {
    BufferSettings::new(1024, 32 * 1024)
}
