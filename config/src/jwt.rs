//! JSON Web Tokens (RFC 7519): which algorithms there are, how a set of keys is read, and whether a token holds.
//!
//! The one place that says so, for both halves. Nothing is fetched here and there is no clock: whoever asks brings the keys and the
//! time. A token is hostile until its signature has held: it is bounded in size, depth and keys tried, and no part of it is
//! believed twice for one name.

mod algorithm;
mod claims;
mod json;
mod key_set;
mod refused;
mod token;

pub use algorithm::Algorithm;
pub use claims::{Expected, Registered};
pub use key_set::{JWKS_BYTES_MAX, KEYS_MAX, KeySet, KeySetError, PassedOver};
pub use refused::Refused;
pub use token::{TOKEN_BYTES_MAX, Token};

#[cfg(test)]
mod tests;
