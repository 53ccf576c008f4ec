//! What certificates are given for.

use std::fmt;

/// What somebody proved with who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A join token, of this id.
    JoinToken(String),
    /// A service-account token of Kubernetes, of this id.
    KubernetesToken(String),
    /// A certificate that is still valid, with this serial number.
    Certificate(String),
}

impl Proof {
    /// What it is, as metrics call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::JoinToken(_) => "join_token",
            Self::KubernetesToken(_) => "kubernetes_token",
            Self::Certificate(_) => "certificate",
        }
    }

    /// All kinds, in the order of [`IssueCounters::issued`].
    pub(crate) const KINDS: [&'static str; 3] = ["join_token", "kubernetes_token", "certificate"];
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken(id) => write!(f, "join token {id}"),
            Self::KubernetesToken(id) => write!(f, "kubernetes token {id}"),
            Self::Certificate(serial) => write!(f, "certificate {serial}"),
        }
    }
}
