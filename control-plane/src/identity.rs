//! The certificate authority: who is who in the mesh.
//!
//! A workload makes its own key and asks for a certificate of it; what it is called in there is decided by what it proved
//! to be, never by what it asks for. `authority` signs and knows neither files nor a clock, `material` judges what an
//! authority is made of, `generate` makes a new one, `folder` is where it lies, and `live` holds the one in force. `token` is what a
//! workload proves with who it is when it has no certificate yet.

mod authority;
mod bundle;
mod folder;
mod generate;
mod issuer;
mod live;
mod material;
mod pem;
mod request;
mod token;

#[cfg(test)]
mod tests;

pub use self::authority::{Authority, Issued, LIFETIME_MAX, Lifetimes, LifetimesFault, Refused};
pub use self::bundle::TrustBundle;
pub use self::folder::{FolderError, open};
pub use self::generate::GenerateError;
pub use self::live::LiveAuthority;
pub use self::material::{MaterialFault, Unusable};
pub use self::token::{CreateRefused, JoinToken, TOKENS_MAX, TokenBook, TokenRefused};
