//! Why a token is not believed.

/// Why a token is not believed. What callers hear is Envoy's wording, where Envoy knows the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("Jwt is missing")]
    Missing,
    /// Longer than a token may be.
    #[error("Jwt is too large")]
    TooLarge,
    /// Not three parts.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    /// The header is no Base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    /// The header is no JSON object, is too deep, or has a name twice.
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    /// The header names no algorithm.
    #[error("Jwt header [alg] field is required and must be a string")]
    NoAlgorithm,
    /// An algorithm that is not on the list; `none` and shared secrets among them.
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    /// The name of the key is no text.
    #[error("Jwt header [kid] field is not a string")]
    KeyId,
    /// Extensions that must be understood, of which none is (RFC 7515 §4.1.11).
    #[error("Jwt header [crit] is not supported")]
    Critical,
    /// The payload is no Base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    /// The payload is no JSON object, is too deep, or has a name twice.
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    /// `iss` is no text.
    #[error("Jwt payload [iss] field is not a string")]
    IssuerKind,
    /// `sub` is no text.
    #[error("Jwt payload [sub] field is not a string")]
    SubjectKind,
    /// `aud` is neither text nor a list of texts.
    #[error("Jwt payload [aud] field is not a string or string list")]
    AudienceKind,
    /// `exp` is no time.
    #[error("Jwt payload [exp] field is not an integer")]
    ExpiresKind,
    /// `nbf` is no time.
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBeforeKind,
    /// `iat` is no time.
    #[error("Jwt payload [iat] field is not an integer")]
    IssuedAtKind,
    /// `jti` is no text.
    #[error("Jwt payload [jti] field is not a string")]
    IdKind,
    /// The signature is no Base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    /// Of another issuer.
    #[error("Jwt issuer is not configured")]
    Issuer,
    /// Of another subject than its issuer may speak of.
    #[error("Jwt subject is not allowed")]
    Subject,
    /// Meant for somebody else.
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    /// Its time is over.
    #[error("Jwt is expired")]
    Expired,
    /// Its time has not come.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// It has no end, or its end is too far away.
    #[error("Jwt expiration is missing or too far in the future")]
    Lifetime,
    /// No key is of its name and kind.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    /// Somebody else signed it, or somebody changed it.
    #[error("Jwt verification fails")]
    Signature,
    /// The keys of its issuer could not be fetched.
    #[error("Jwks remote fetch is failed")]
    Fetch,
    /// The keys of its issuer cannot be read.
    #[error("Jwks doesn't have any valid public key")]
    NoKeys,
}

impl Refused {
    /// What metrics call the reasons, each once.
    pub const LABELS: [&str; 15] = [
        "missing",
        "too_large",
        "malformed",
        "algorithm",
        "critical",
        "claims",
        "issuer",
        "subject",
        "audience",
        "expired",
        "not_yet_valid",
        "lifetime",
        "unknown_key",
        "signature",
        "keys",
    ];

    /// What metrics call it: one of [`Self::LABELS`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLarge => "too_large",
            Self::Form
            | Self::HeaderBase64
            | Self::HeaderJson
            | Self::NoAlgorithm
            | Self::KeyId
            | Self::PayloadBase64
            | Self::PayloadJson
            | Self::SignatureBase64 => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::IssuerKind
            | Self::SubjectKind
            | Self::AudienceKind
            | Self::ExpiresKind
            | Self::NotBeforeKind
            | Self::IssuedAtKind
            | Self::IdKind => "claims",
            Self::Issuer => "issuer",
            Self::Subject => "subject",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Lifetime => "lifetime",
            Self::NoKey => "unknown_key",
            Self::Signature => "signature",
            Self::Fetch | Self::NoKeys => "keys",
        }
    }

    /// The status of the answer: 403 for a good token that is meant for others, else 401.
    pub fn status(self) -> u16 {
        match self {
            Self::Audience => 403,
            _ => 401,
        }
    }
}
