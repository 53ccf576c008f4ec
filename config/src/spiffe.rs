//! Names of workloads, as the SPIFFE-ID specification has them: `spiffe://TRUST-DOMAIN/PATH`.
//!
//! Both halves read identities with this code: what the control plane writes into a certificate, the proxy can read, and
//! what the one refuses the other refuses. In this mesh the path says namespace and service account:
//! `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of a whole id (SPIFFE-ID §2.3).
pub const ID_BYTES_MAX: usize = 2048;

/// Bytes of the name of a trust domain (SPIFFE-ID §2.3).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// The namespace of the control plane. What is written there without a target holds for the whole mesh.
pub const ROOT_NAMESPACE: &str = "weft-system";

/// Who the control plane is in its mesh: namespace and service account.
pub const CONTROL_PLANE: (&str, &str) = (ROOT_NAMESPACE, "weft");

const SCHEME: &str = "spiffe://";

/// Why something is no SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeFault {
    /// It is something else altogether.
    #[error("must begin with spiffe://")]
    Scheme,
    /// More bytes than there may be.
    #[error("has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// There is no trust domain.
    #[error("the trust domain must not be empty")]
    NoTrustDomain,
    /// A trust domain with a character that it must not have; ports and user names are among these.
    #[error("a trust domain has a-z, 0-9, '.', '-' and '_' alone, got {found:?}")]
    TrustDomainCharacter {
        /// The first of them.
        found: char,
    },
    /// The path has an empty segment, or ends in `/`.
    #[error("a path has no empty segment and does not end in '/'")]
    EmptySegment,
    /// The path has a segment that leads elsewhere.
    #[error("a path has no segment \".\" or \"..\"")]
    DotSegment,
    /// A path with a character that it must not have; `%`, `?` and `#` are among these.
    #[error("a path has a-z, A-Z, 0-9, '.', '-' and '_' between '/' alone, got {found:?}")]
    PathCharacter {
        /// The first of them.
        found: char,
    },
    /// It names no workload of this mesh.
    #[error("must be spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")]
    NotAWorkload,
    /// A namespace or a service account that cannot be one.
    #[error("{what} {name:?} is no name: one segment of a-z, A-Z, 0-9, '.', '-' and '_' is")]
    Name {
        /// Which of the two.
        what: &'static str,
        /// What was given.
        name: String,
    },
}

/// The name of a trust domain (SPIFFE-ID §2.1): lower case, so that equal names are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads the name of a trust domain, without a scheme.
    ///
    /// # Errors
    /// If it is empty, too long, or has a character that it must not have.
    pub fn parse(name: &str) -> Result<Self, SpiffeFault> {
        if name.is_empty() {
            return Err(SpiffeFault::NoTrustDomain);
        }
        check_length(name, TRUST_DOMAIN_BYTES_MAX)?;
        let wrong = |c: &char| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
        match name.chars().find(wrong) {
            Some(found) => Err(SpiffeFault::TrustDomainCharacter { found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `cluster.local`, as Istio has it.
impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeFault;

    fn from_str(name: &str) -> Result<Self, SpiffeFault> {
        Self::parse(name)
    }
}

/// A SPIFFE id: a trust domain, or a workload of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    /// Empty, or `/` and segments.
    path: Arc<str>,
}

impl SpiffeId {
    /// Reads an id. Nothing is normalised: two ids are equal if, and only if, their bytes are.
    ///
    /// # Errors
    /// If it is not exactly what SPIFFE-ID §2 describes.
    pub fn parse(id: &str) -> Result<Self, SpiffeFault> {
        check_length(id, ID_BYTES_MAX)?;
        let rest = id.strip_prefix(SCHEME).ok_or(SpiffeFault::Scheme)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_path(path)?;
        Ok(Self {
            trust_domain: TrustDomain::parse(domain)?,
            path: path.into(),
        })
    }

    /// The id of a workload: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
    ///
    /// # Errors
    /// If one of the names is not exactly one segment of a path, or the whole is too long.
    pub fn workload(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeFault> {
        check_name("namespace", namespace)?;
        check_name("service account", service_account)?;
        Self::parse(&format!(
            "{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}"
        ))
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its path: empty for a trust domain itself, else with its leading `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Namespace and service account, where it is a workload of a mesh.
    ///
    /// # Errors
    /// If its path has another form.
    pub fn as_workload(&self) -> Result<(&str, &str), SpiffeFault> {
        let mut segments = self.path.split('/');
        let parts: [Option<&str>; 6] = std::array::from_fn(|_| segments.next());
        match parts {
            [
                Some(""),
                Some("ns"),
                Some(namespace),
                Some("sa"),
                Some(account),
                None,
            ] => Ok((namespace, account)),
            _ => Err(SpiffeFault::NotAWorkload),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeFault;

    fn from_str(id: &str) -> Result<Self, SpiffeFault> {
        Self::parse(id)
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), SpiffeFault> {
    match text.len() {
        bytes if bytes > limit => Err(SpiffeFault::TooLong { bytes, limit }),
        _ => Ok(()),
    }
}

/// Checks a path (SPIFFE-ID §2.2): empty, or segments with a `/` before each.
fn check_path(path: &str) -> Result<(), SpiffeFault> {
    match path.strip_prefix('/') {
        Some(segments) => segments.split('/').try_for_each(check_segment),
        None => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), SpiffeFault> {
    let wrong = |c: &char| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_');
    match segment {
        "" => Err(SpiffeFault::EmptySegment),
        "." | ".." => Err(SpiffeFault::DotSegment),
        segment => match segment.chars().find(wrong) {
            Some(found) => Err(SpiffeFault::PathCharacter { found }),
            None => Ok(()),
        },
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), SpiffeFault> {
    check_segment(name).map_err(|_| SpiffeFault::Name {
        what,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
