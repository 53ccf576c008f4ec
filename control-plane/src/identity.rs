//! The certificate authority: who is who in the mesh.
//!
//! A workload makes its own key and asks for a certificate of it; what it is called in there is decided by what it proved
//! to be, never by what it asks for. `authority` signs and knows neither files nor a clock, `material` judges what an
//! authority is made of, `generate` makes a new one, and `folder` is where it lies. `token` is what a
//! workload proves with who it is when it has no certificate yet.

mod authority;
mod folder;
mod generate;
mod issuer;
mod material;
mod pem;
mod request;
mod token;

#[cfg(test)]
mod tests;

pub use self::authority::{Authority, Issued, LIFETIME_MAX, Lifetimes, Refused};
pub use self::folder::{FolderError, open};
pub use self::generate::GenerateError;
pub use self::material::{MaterialFault, Unusable};
pub use self::token::{CreateRefused, JoinToken, TOKENS_MAX, TokenBook, TokenRefused};
