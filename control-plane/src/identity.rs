//! The certificate authority: who is who in the mesh.
//!
//! A workload makes its own key and asks for a certificate of it; what it is called in there is decided by what it proved
//! to be, never by what it asks for. `authority` signs and knows neither files nor a clock, `material` judges what an
//! authority is made of, `generate` makes a new one, `folder` is where it lies, and `live` holds the one in force. `token` is what a
//! workload proves with who it is when it has no certificate yet, `kept` is where tokens are; `kubernetes`
//! believes those of a cluster instead. `issuance` decides who gets a
//! certificate and remembers it in the `ledger`; `service` offers that over gRPC, and `gate` is
//! the door of the port with TLS. `claim` says what a workload may call itself, and `api_token` who
//! may use the HTTP API.

mod api_token;
mod audit;
mod authority;
mod bundle;
mod caller;
mod claim;
mod folder;
mod followed;
mod gate;
mod generate;
mod issuance;
mod issuer;
mod kept;
mod kubernetes;
mod ledger;
mod lifetimes;
mod live;
mod material;
mod pem;
mod request;
mod rfc_3339;
mod secret;
mod service;
mod token;

#[cfg(test)]
mod tests;

pub(crate) use self::api_token::ApiTokens;
pub use self::api_token::{ApiToken, ApiTokenRefused, ApiTokensError, Role};
pub(crate) use self::audit::{Limiter, TARGET as AUDIT};
pub use self::authority::{Authority, Issued, Refused};
pub use self::bundle::TrustBundle;
pub(crate) use self::caller::{Caller, CertificateLost, ClientCertificate, Shown};
pub use self::claim::{ClaimRefused, check_account, may_be_in, may_register};
pub use self::folder::{FolderError, open};
pub(crate) use self::gate::Gate;
pub use self::gate::GateError;
pub use self::generate::GenerateError;
pub(crate) use self::issuance::{Issuance, IssueCounters};
pub(crate) use self::kept::Tokens;
pub use self::kept::TokensError;
pub(crate) use self::kubernetes::Cluster;
pub use self::kubernetes::{AUDIENCE, JwksError, JwtRefused};
pub(crate) use self::ledger::Ledger;
pub use self::ledger::{ISSUED_MAX, IssuedRecord};
pub use self::lifetimes::{CLOCK_SKEW_MAX, LIFETIME_MAX, Lifetimes, LifetimesFault};
pub use self::live::LiveAuthority;
pub use self::material::{MaterialFault, Unusable};
pub(crate) use self::service::Signing;
pub use self::token::{CreateRefused, JoinToken, TOKENS_MAX, TokenBook, TokenRefused};
