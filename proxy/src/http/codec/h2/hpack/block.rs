//! Field blocks as text, for peers in tests that keep the rest of the protocol themselves.

use super::{Decoded, Decoder, Fields};
use crate::http::head::Span;

/// Reads the field blocks that one connection brings.
pub(in crate::http) struct BlockReader(Decoder);

#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    fields: Vec<(String, String)>,
}

impl Fields for Texts {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn field(&mut self, field: Decoded) {
        let text = |span: Span| String::from_utf8(span.of(&self.bytes).to_vec()).expect("text");
        self.fields.push((text(field.name), text(field.value)));
    }

    fn has_enough(&self) -> bool {
        false
    }
}

impl BlockReader {
    pub(in crate::http) fn new() -> Self {
        Self(Decoder::new())
    }

    /// The fields of a whole block.
    pub(in crate::http) fn read(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut texts = Texts::default();
        self.0.decode(block, &mut texts).expect("a field block");
        texts.fields
    }
}
