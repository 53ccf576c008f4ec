//! TLS of both sides: a socket becomes an encrypted stream, and its peer somebody with a name.
//!
//! rustls drives handshakes and seals records, through its interface without buffers: what is read is opened in the thread's
//! scratch memory and handed on at once, so that a connection at rest owns nothing but its keys.
//!
//! Certificates and what peers are judged by lie in *slots* that swap by themselves: a handshake takes what is in its slot then.
//! So a rotated certificate is no change of a listener or a cluster, and closes nothing. **Nothing here says who may do what.**

mod context;
mod error;
mod handshake;
mod peer;
mod secrets;
mod session;
mod slot;
mod stream;
mod trust;
mod verifier;

pub use context::{ClientContext, Inside, ServerContext};
pub use error::{HandshakeError, Refusal};
pub use handshake::{accept, connect};
pub use peer::{PeerCertificate, TlsFacts};
pub use secrets::{Secrets, ShownSecret};
pub use slot::{Certificate, LoadError};
pub use stream::TlsStream;
pub use trust::Trust;

#[cfg(test)]
pub(crate) mod tests;
