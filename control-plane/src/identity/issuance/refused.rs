//! Why no certificate was issued.

use weft_config::spiffe::SpiffeId;

use super::WAITING_MAX;
use crate::identity::authority::Refused;
use crate::identity::caller::CertificateLost;
use crate::identity::kept::RedeemRefused;
use crate::identity::kubernetes::JwtRefused;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueRefused {
    /// Nothing was shown that says who it is.
    #[error(
        "nothing proves who asks: send `authorization: Bearer TOKEN`, or show a certificate that is still valid"
    )]
    NoProof,
    /// It is no token that was sent.
    #[error("authorization must be: Bearer TOKEN")]
    Authorization,
    /// A time that goes backwards.
    #[error("validity_duration must not be below 0, got {seconds}")]
    Lifetime {
        /// What was asked for.
        seconds: i64,
    },
    /// The token does not do.
    #[error(transparent)]
    Token(#[from] RedeemRefused),
    /// The token of a cluster is not to be believed.
    #[error(transparent)]
    Kubernetes(#[from] JwtRefused),
    /// The certificate was good when the connection was made, and is so no longer.
    #[error("the certificate {serial} that was shown {why}")]
    Certificate {
        /// Its serial number.
        serial: String,
        /// What is wrong with it now.
        why: CertificateLost,
    },
    /// A name that nobody else may have.
    #[error("{identity} is the control plane itself")]
    Reserved {
        /// The name.
        identity: SpiffeId,
    },
    /// What is asked for cannot be.
    #[error(transparent)]
    Request(#[from] Refused),
    /// Too many ask at once.
    #[error("{WAITING_MAX} requests wait for a signature: try again")]
    Busy,
}

impl IssueRefused {
    /// What it is, as metrics call it.
    pub(crate) fn kind(&self) -> RefusalKind {
        match self {
            Self::Lifetime { .. } => RefusalKind::Invalid,
            Self::NoProof
            | Self::Authorization
            | Self::Kubernetes(_)
            | Self::Certificate { .. } => RefusalKind::Unauthenticated,
            Self::Token(RedeemRefused::Token(_)) => RefusalKind::Unauthenticated,
            Self::Token(RedeemRefused::Busy) | Self::Busy => RefusalKind::Busy,
            Self::Token(RedeemRefused::NotStored) => RefusalKind::Failed,
            Self::Reserved { .. } => RefusalKind::Denied,
            Self::Request(refused) if refused.is_ours() => RefusalKind::Failed,
            Self::Request(
                Refused::AsksForMore { .. }
                | Refused::ForeignTrustDomain { .. }
                | Refused::NotAWorkload { .. },
            ) => RefusalKind::Denied,
            Self::Request(_) => RefusalKind::Invalid,
        }
    }
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// Who asks did not prove who he is.
    Unauthenticated,
    /// He asks for what he may not have.
    Denied,
    /// It is no request that could be signed.
    Invalid,
    /// Too many ask.
    Busy,
    /// It is our fault.
    Failed,
}

impl RefusalKind {
    /// All of them with their names in metrics, in the order of [`IssueCounters::refused`].
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Unauthenticated, "unauthenticated"),
        (Self::Denied, "denied"),
        (Self::Invalid, "invalid"),
        (Self::Busy, "busy"),
        (Self::Failed, "failed"),
    ];
}
