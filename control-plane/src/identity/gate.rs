//! The door of the port with TLS: what the control plane shows there, and whom it believes.
//!
//! What is shown is a certificate of its own authority, renewed at half of its life and whenever the authority is another.
//! Handshakes take what is in force when they begin; connections that are open stay open.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::authority::{OwnCertificate, Refused};
use super::bundle::TrustBundle;
use super::caller::{ClientCertificate, Shown};
use super::live::LiveAuthority;

/// How long until a certificate that could not be made is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How soon after the last a certificate is renewed at the earliest.
const RENEW_MIN: Duration = Duration::from_secs(1);

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The authority does not sign.
    #[error("making the certificate of the control plane")]
    Certificate(#[from] Refused),
    /// The TLS library refuses.
    #[error("preparing TLS")]
    Tls(#[from] rustls::Error),
}

/// Why a client that has a certificate is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotLetIn {
    /// It says something else than one workload.
    #[error("its certificate names no one SPIFFE id")]
    NoIdentity,
    /// It is of another mesh.
    #[error("its certificate is of another trust domain")]
    ForeignTrustDomain,
}

/// The door.
pub(crate) struct Gate {
    authority: Arc<LiveAuthority>,
    names: Vec<ServerName<'static>>,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Gate {
    /// With a certificate that has these names besides the SPIFFE id; the future renews it.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub(crate) fn open(
        authority: Arc<LiveAuthority>,
        names: Vec<ServerName<'static>>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), GateError> {
        // Before anything is made: what changes meanwhile is seen.
        let (bundle, watch) = (authority.bundle(), authority.watch());
        let (config, renew_after) = make(&authority, &names)?;
        let gate = Arc::new(Self {
            authority,
            names,
            config: watch::Sender::new(config),
        });
        let renew = gate.clone().renew(bundle, watch, renew_after);
        Ok((gate, renew))
    }

    /// What the next handshake is made with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.borrow().clone()
    }

    /// What a client has shown in a handshake that was completed.
    ///
    /// # Errors
    /// If it is nobody of this mesh.
    pub(crate) fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Shown, NotLetIn> {
        let Some(chain) = chain.filter(|chain| !chain.is_empty()) else {
            return Ok(Shown::Nothing);
        };
        let certificate =
            ClientCertificate::read(chain, self.authority.bundle()).ok_or(NotLetIn::NoIdentity)?;
        let own = self.authority.current();
        match certificate.identity.trust_domain() == own.trust_domain() {
            true => Ok(Shown::Certificate(Arc::new(certificate))),
            false => Err(NotLetIn::ForeignTrustDomain),
        }
    }

    async fn renew(
        self: Arc<Self>,
        mut bundle: watch::Receiver<TrustBundle>,
        mut authority: watch::Receiver<Arc<super::Authority>>,
        first: Duration,
    ) {
        let mut next = Instant::now() + first;
        loop {
            let changed = tokio::select! {
                changed = bundle.changed() => changed,
                changed = authority.changed() => changed,
                () = sleep_until(next) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
            bundle.mark_unchanged();
            authority.mark_unchanged();
            match make(&self.authority, &self.names) {
                Ok((config, renew_after)) => {
                    self.config.send_replace(config);
                    next = Instant::now() + renew_after;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the certificate of the control plane is not renewed");
                    next = Instant::now() + RETRY_AFTER;
                }
            }
        }
    }
}

/// A new certificate with what belongs to it, and after what time it is to be renewed.
fn make(
    authority: &LiveAuthority,
    names: &[ServerName<'static>],
) -> Result<(Arc<ServerConfig>, Duration), GateError> {
    let now = Timestamp::now();
    let bundle = authority.bundle().borrow().clone();
    let authority = authority.current();
    let own = authority.own_certificate(names, now)?;
    let OwnCertificate {
        chain,
        key,
        serial,
        not_after,
    } = own;
    let lifetime = Duration::try_from(not_after.duration_since(now)).unwrap_or_default();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(bundle.verifier())
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Whoever comes again shows his certificate again: it is judged by what is trusted then.
    config.send_tls13_tickets = 0;
    tracing::info!(serial, %not_after, "the control plane has a certificate");
    Ok((Arc::new(config), (lifetime / 2).max(RENEW_MIN)))
}
