//! Content of messages, also such as is long and known to both ends, so that each byte can be compared.

use std::convert::Infallible;
use std::sync::OnceLock;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio_stream::Stream;

/// Content of a request.
pub type Content = UnsyncBoxBody<Bytes, Infallible>;

/// After this it begins anew: a prime, so that no buffer's size divides it.
const PERIOD: usize = 1_048_573;

/// The greatest piece.
const PIECE: usize = 16 * 1024;

/// Compares what comes with what is to come.
#[derive(Debug, Default)]
pub struct Checker {
    taken: u64,
}

impl Checker {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If they are others; says where.
    pub fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            let expected = piece(self.taken, bytes.len());
            let (now, rest) = bytes.split_at(expected.len());
            ensure!(now == expected, "another byte behind {}", self.taken);
            self.taken += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Bytes that were right.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

/// Content that is there as a whole.
pub fn whole(content: impl Into<Bytes>) -> Content {
    Full::new(content.into()).boxed_unsync()
}

/// The known content's first `bytes`.
pub fn known(bytes: u64) -> Content {
    StreamBody::new(pieces(bytes)).boxed_unsync()
}

/// The known content's first `bytes`, in pieces.
pub fn pieces<E>(bytes: u64) -> impl Stream<Item = Result<Frame<Bytes>, E>> {
    let pieces = (0..bytes).step_by(PIECE).map(move |offset| {
        let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        Ok(Frame::data(piece(offset, left)))
    });
    tokio_stream::iter(pieces)
}

/// What stands at `offset`: so many bytes at most, and no more than 16 KiB.
fn piece(offset: u64, most: usize) -> Bytes {
    static HELD: OnceLock<Bytes> = OnceLock::new();
    let held = HELD.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| rng.u8(..)).collect();
        bytes.extend_from_within(..PIECE);
        bytes.into()
    });
    let at = (offset % PERIOD as u64) as usize;
    held.slice(at..at + most.min(PIECE))
}
