//! Whom to trust: a peer's certificate is judged by anchors, names and pins.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, anchor_from_trusted_cert,
};
use weft_config::secret::{DataSource, SanKind, SanMatch, TrustAnchors, Validation, pem_fault};
use weft_config::spiffe::TrustDomain;

use super::error::Refusal;
use super::peer::PeerCertificate;
use super::slot::{LoadError, Material, bytes, certificates, file};

/// What peers are judged by, ready for handshakes.
#[derive(Debug)]
pub struct Trust {
    anchors: Anchors,
    names: Vec<SanMatch>,
    spki_sha256: Vec<[u8; 32]>,
    certificate_sha256: Vec<[u8; 32]>,
    revoked: Vec<CertRevocationList<'static>>,
    revoked_leaf_only: bool,
    allow_expired: bool,
    accept_untrusted: bool,
    algorithms: WebPkiSupportedAlgorithms,
    /// What the anchors say, but for the machine's own, which are many and everybody's.
    pub(super) roots: Vec<PeerCertificate>,
    /// Names of the anchors, which a server sends with its request for a certificate.
    pub(super) hints: Vec<rustls::DistinguishedName>,
}

#[derive(Debug)]
enum Anchors {
    /// Nobody in particular.
    None,
    /// Any of these.
    Any(Vec<TrustAnchor<'static>>),
    /// Those of the trust domain of the SPIFFE id.
    ByTrustDomain(Vec<(TrustDomain, Vec<TrustAnchor<'static>>)>),
}

/// Whose certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Downstream,
    Upstream,
}

impl Trust {
    /// Whether a downstream is asked for its certificate although it need not have one.
    pub(super) fn wants_certificate(&self) -> bool {
        self.judges() || self.accept_untrusted
    }

    /// Whether there is anything that a certificate is judged by.
    fn judges(&self) -> bool {
        !matches!(self.anchors, Anchors::None) || !self.names.is_empty() || self.pins()
    }

    /// Judges the certificate that a peer has shown.
    pub(super) fn judge(
        &self,
        side: Side,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        match self.judge_strictly(side, end_entity, intermediates, now) {
            Err(_) if self.accept_untrusted => Ok(()),
            judged => judged,
        }
    }

    fn judge_strictly(
        &self,
        side: Side,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if side == Side::Downstream && !self.judges() {
            return Err(Refusal::NoTrust);
        }
        let facts = PeerCertificate::read(end_entity).ok_or(Refusal::Malformed)?;
        let parsed = EndEntityCert::try_from(end_entity).map_err(|error| Refusal::of(&error))?;
        match &self.anchors {
            // Names that nobody vouches for prove nothing.
            Anchors::None if !self.names.is_empty() => return Err(Refusal::UnknownIssuer),
            Anchors::None => {}
            Anchors::Any(anchors) => {
                self.chain(side, &parsed, anchors, intermediates, now)?;
            }
            Anchors::ByTrustDomain(domains) => {
                let id = facts.spiffe_id().ok_or(Refusal::WrongTrustDomain)?;
                let anchors = domains.iter().find(|(name, _)| name == id.trust_domain());
                let (_, anchors) = anchors.ok_or(Refusal::WrongTrustDomain)?;
                self.chain(side, &parsed, anchors, intermediates, now)?;
            }
        }
        if self.pins() && !self.is_pinned(&parsed, end_entity) {
            return Err(Refusal::NotPinned);
        }
        let fits = |(kind, name): &(SanKind, Arc<str>)| {
            self.names.iter().any(|wanted| wanted.matches(*kind, name))
        };
        if !self.names.is_empty() && !facts.names.iter().any(fits) {
            return Err(Refusal::WrongName);
        }
        Ok(())
    }

    /// Whether somebody among `anchors` vouches for it (RFC 5280 §6).
    fn chain(
        &self,
        side: Side,
        certificate: &EndEntityCert<'_>,
        anchors: &[TrustAnchor<'_>],
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let usage = || match side {
            Side::Downstream => KeyUsage::client_auth(),
            Side::Upstream => KeyUsage::server_auth(),
        };
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        let verify = |at: UnixTime| {
            let revocation = self.revocation(&lists);
            let verified = certificate.verify_for_usage(
                self.algorithms.all,
                anchors,
                intermediates,
                at,
                usage(),
                revocation,
                None,
            );
            verified.map(drop)
        };
        let verified = match verify(now) {
            Err(webpki::Error::CertExpired { not_after, .. }) if self.allow_expired => {
                verify(not_after)
            }
            verified => verified,
        };
        verified.map_err(|error| match Refusal::of(&error) {
            Refusal::UnknownIssuer if certificate.issuer() == certificate.subject() => {
                Refusal::SelfSigned
            }
            refusal => refusal,
        })
    }

    fn revocation<'l>(
        &self,
        lists: &'l [&'l CertRevocationList<'l>],
    ) -> Option<RevocationOptions<'l>> {
        let depth = match self.revoked_leaf_only {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        let options = RevocationOptionsBuilder::new(lists).ok()?;
        Some(options.with_depth(depth).build())
    }

    fn pins(&self) -> bool {
        !self.spki_sha256.is_empty() || !self.certificate_sha256.is_empty()
    }

    fn is_pinned(&self, parsed: &EndEntityCert<'_>, der: &CertificateDer<'_>) -> bool {
        let spki = parsed.subject_public_key_info();
        let is_in = |pins: &[[u8; 32]], bytes: &[u8]| {
            let hash = digest(&SHA256, bytes);
            pins.iter().any(|pin| pin == hash.as_ref())
        };
        is_in(&self.spki_sha256, spki.as_ref()) || is_in(&self.certificate_sha256, der)
    }
}

impl Material for Trust {
    type Config = Arc<Validation>;

    fn load(config: &Self::Config, provider: &CryptoProvider) -> Result<Self, LoadError> {
        let anchors = match &config.anchors {
            None => Anchors::None,
            Some(TrustAnchors::Pem(source)) => Anchors::Any(anchors(source)?),
            Some(TrustAnchors::System) => Anchors::Any(system()?),
            Some(TrustAnchors::Spiffe(bundles)) => {
                let read = bundles
                    .iter()
                    .map(|bundle| Ok((bundle.trust_domain.clone(), anchors(&bundle.roots)?)));
                Anchors::ByTrustDomain(read.collect::<Result<_, LoadError>>()?)
            }
        };
        Ok(Self {
            hints: hints(&anchors),
            roots: roots(config)?,
            anchors,
            names: config.subject_alt_names.clone(),
            spki_sha256: config.spki_sha256.clone(),
            certificate_sha256: config.certificate_sha256.clone(),
            revoked: match &config.revoked {
                Some(source) => revocation_lists(source)?,
                None => Vec::new(),
            },
            revoked_leaf_only: config.revoked_leaf_only,
            allow_expired: config.allow_expired,
            accept_untrusted: config.accept_untrusted,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn files(config: &Self::Config) -> Vec<Arc<str>> {
        let anchors: Vec<&DataSource> = match &config.anchors {
            Some(TrustAnchors::Pem(source)) => vec![source],
            Some(TrustAnchors::Spiffe(bundles)) => bundles.iter().map(|it| &it.roots).collect(),
            Some(TrustAnchors::System) | None => Vec::new(),
        };
        anchors
            .into_iter()
            .chain(&config.revoked)
            .filter_map(file)
            .collect()
    }
}

fn anchors(source: &DataSource) -> Result<Vec<TrustAnchor<'static>>, LoadError> {
    let read = certificates(source)?;
    let anchor = |der: &CertificateDer<'static>| {
        anchor_from_trusted_cert(der)
            .map(|anchor| anchor.to_owned())
            .map_err(|error| LoadError::Unreadable {
                place: source.place(),
                why: error.to_string(),
            })
    };
    read.iter().map(anchor).collect()
}

/// What the certificates say that are named as anchors.
fn roots(config: &Validation) -> Result<Vec<PeerCertificate>, LoadError> {
    let sources: Vec<&DataSource> = match &config.anchors {
        Some(TrustAnchors::Pem(source)) => vec![source],
        Some(TrustAnchors::Spiffe(bundles)) => bundles.iter().map(|it| &it.roots).collect(),
        Some(TrustAnchors::System) | None => Vec::new(),
    };
    let mut roots = Vec::new();
    for source in sources {
        roots.extend(
            certificates(source)?
                .iter()
                .filter_map(PeerCertificate::read),
        );
    }
    Ok(roots)
}

/// The machine's own anchors; those that cannot be read are left out, as every program does with them.
fn system() -> Result<Vec<TrustAnchor<'static>>, LoadError> {
    let found = rustls_native_certs::load_native_certs();
    let anchors: Vec<_> = found
        .certs
        .iter()
        .filter_map(|der| anchor_from_trusted_cert(der).ok())
        .map(|anchor| anchor.to_owned())
        .collect();
    match anchors.is_empty() {
        true => Err(LoadError::Unreadable {
            place: "the system's trust store".to_owned(),
            why: "holds no certificate".to_owned(),
        }),
        false => Ok(anchors),
    }
}

fn revocation_lists(source: &DataSource) -> Result<Vec<CertRevocationList<'static>>, LoadError> {
    let unreadable = |why: String| LoadError::Unreadable {
        place: source.place(),
        why,
    };
    let bytes = bytes(source)?;
    let mut lists = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(&bytes) {
        let der = der.map_err(|error| unreadable(format!("is not PEM: {}", pem_fault(&error))))?;
        let list = BorrowedCertRevocationList::from_der(&der)
            .and_then(|list| list.to_owned())
            .map_err(|error| unreadable(error.to_string()))?;
        lists.push(CertRevocationList::from(list));
    }
    match lists.is_empty() {
        true => Err(unreadable("holds no revocation list in PEM".to_owned())),
        false => Ok(lists),
    }
}

/// A client with several certificates chooses by these; with many they would only make the handshake long.
const HINTS_MAX: usize = 16;

fn hints(anchors: &Anchors) -> Vec<rustls::DistinguishedName> {
    let all: Vec<&TrustAnchor<'_>> = match anchors {
        Anchors::None => Vec::new(),
        Anchors::Any(anchors) => anchors.iter().collect(),
        Anchors::ByTrustDomain(domains) => domains.iter().flat_map(|(_, it)| it).collect(),
    };
    if all.len() > HINTS_MAX {
        return Vec::new();
    }
    all.iter()
        .map(|anchor| rustls::DistinguishedName::in_sequence(&anchor.subject))
        .collect()
}
