//! Bytes passed both ways, with half-close, by splice(2) where both sides are plain.
