//! Tokens and certificates, as the API tells of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A certificate that was issued.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CertificateBody {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Whom it names: a SPIFFE id.
    pub identity: String,
    /// When it was issued, RFC 3339.
    pub issued: String,
    /// Until when it is valid, RFC 3339.
    pub expires: String,
    /// What its holder proved with who he is: `join token ID`, or `certificate SERIAL` of the one before.
    pub proof: String,
    /// Where it was asked from: an address and a port.
    pub peer: String,
}

/// A join token to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The namespace of the workload that will use it.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// Seconds for which it can be used, 1 to 2,592,000.
    pub ttl_seconds: u64,
    /// How often it can be used, 1 to 10,000.
    pub uses: u32,
}

/// A join token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenBody {
    /// Its name.
    pub id: String,
    /// The namespace of the workload that it is for.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Until when it can be used, RFC 3339.
    pub expires: String,
    /// How often it still can be.
    pub uses_left: u32,
    /// `usable`, `expired`, `used up` or `revoked`.
    pub state: String,
}

/// A join token that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What is known of it.
    #[serde(flatten)]
    pub description: TokenBody,
    /// The token itself: it is shown this once.
    pub token: String,
}

impl fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let description = &self.description;
        f.debug_tuple("TokenCreated").field(description).finish()
    }
}

/// A token of the API to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenRequest {
    /// What people call it: from 1 to 63 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// `read`, `write` or `admin`; each may do what those before it may.
    pub role: String,
    /// Seconds for which it can be used, 1 to 31,536,000.
    pub ttl_seconds: u64,
}

/// A token of the API, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenBody {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub role: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Until when it can be used, RFC 3339.
    pub expires: String,
    /// `usable`, `expired` or `revoked`.
    pub state: String,
}

/// A token of the API that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenCreated {
    /// What is known of it.
    #[serde(flatten)]
    pub description: ApiTokenBody,
    /// The token itself: it is shown this once.
    pub token: String,
}

impl fmt::Debug for ApiTokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let description = &self.description;
        f.debug_tuple("ApiTokenCreated").field(description).finish()
    }
}
