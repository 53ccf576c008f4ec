//! Who the workload is in its mesh: a key that is made here and never leaves this process, and the certificate that the mesh's
//! authority signs for it.
//!
//! [`keep`] gets a certificate, puts it where handshakes find it ([`Secrets`](crate::tls::Secrets)), and gets the next one at half
//! of its life, with a new key. What proves who asks is a token at first, and then the certificate itself while it is valid.
//! Handshakes take the new one from then on; connections live on.
//!
//! `request` makes keys, `authority` asks, `renewal` says when. **Nothing here writes a key anywhere.**

mod authority;
mod keep;
mod renewal;
mod request;
mod standing;

use std::path::PathBuf;
use std::sync::Arc;

use weft_config::route::StringMatch;
use weft_config::secret::{
    DataSource, SanKind, SanMatch, SecretBytes, TrustAnchors, TrustBundle, Validation,
};
use weft_config::spiffe::SpiffeId;
use weft_config::tls::{
    CertificateSource, SecretName, TlsContext, TlsParameters, TlsVersion, UpstreamTls,
    ValidationSource,
};

pub use keep::{Keeper, keep};
pub use standing::Standing;

/// Who a workload is and how it proves that.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who it is.
    pub id: SpiffeId,
    /// What proves it while it has no certificate.
    pub proof: Proof,
    /// Who the control plane must be.
    pub control_plane: SpiffeId,
    /// PEM of the roots that are trusted until the control plane tells them.
    pub roots: DataSource,
}

/// What proves to the authority who asks.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A token.
    Token(SecretBytes),
    /// A file with one, read each time: whoever wrote it may replace it.
    File(PathBuf),
}

impl Identity {
    /// Whom the workload trusts at first.
    fn validation(&self) -> Validation {
        Validation {
            anchors: Some(TrustAnchors::Spiffe(vec![TrustBundle {
                trust_domain: self.id.trust_domain().clone(),
                roots: self.roots.clone(),
            }])),
            ..Validation::default()
        }
    }

    /// How the control plane is spoken to, with our certificate or, while there is none, without.
    pub fn towards_control_plane(&self, with: Shown) -> Arc<UpstreamTls> {
        let name = SanMatch {
            kind: Some(SanKind::Uri),
            value: StringMatch::Exact(self.control_plane.to_string().into()),
        };
        let validation = Validation {
            subject_alt_names: vec![name],
            ..Validation::default()
        };
        let own = CertificateSource::Named(SecretName::of_workload());
        Arc::new(UpstreamTls {
            common: TlsContext {
                parameters: TlsParameters {
                    version_min: TlsVersion::Tls13,
                    ..TlsParameters::default()
                },
                certificates: match with {
                    Shown::Certificate => vec![own],
                    Shown::Nothing => Vec::new(),
                },
                validation: Some(ValidationSource::Combined(
                    Arc::new(validation),
                    SecretName::of_workload(),
                )),
                alpn: vec!["h2".into()],
                awaited: Vec::new(),
            },
            server_name: None,
            check_server_name: false,
            sessions_max: 0,
        })
    }
}

/// What the control plane is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Our certificate.
    Certificate,
    /// Nothing; a token says who asks.
    Nothing,
}
