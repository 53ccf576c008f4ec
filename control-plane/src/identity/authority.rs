//! The authority that signs. It knows no clock: whoever asks says what time it is.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use weft_config::spiffe::{CONTROL_PLANE, SpiffeId, TrustDomain};

use super::generate::{GenerateError, generate};
use super::lifetimes::{LIFETIME_MAX, Lifetimes};
use super::material::{self, Checked, Material, Unusable};
use super::{issuer, pem, request};

/// Why no certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is too long to be a request.
    #[error("the request has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// It is something else.
    #[error("it is not one certificate signing request (PKCS #10), as PEM or DER")]
    NotARequest,
    /// A key that is too weak, or of a kind that peers may not understand.
    #[error("the key must be ECDSA P-256 or P-384, or RSA with 2048 to 8192 bits")]
    Key,
    /// A signature that can be forged.
    #[error("the request is signed with SHA-1")]
    WeakSignature,
    /// Whoever sent it does not have the private key.
    #[error("the request is not signed with the key that it is for")]
    NoPossession,
    /// It asks for more than its sender may have.
    #[error("the request asks {what}")]
    AsksForMore {
        /// For what.
        what: String,
    },
    /// A name of somebody else's mesh.
    #[error("this authority is of the trust domain {own}, not of {asked}")]
    ForeignTrustDomain {
        /// Its own.
        own: TrustDomain,
        /// That of the identity.
        asked: TrustDomain,
    },
    /// A name of no workload.
    #[error("{identity} is no workload: ns/NAMESPACE/sa/SERVICE-ACCOUNT is the form")]
    NotAWorkload {
        /// The name.
        identity: SpiffeId,
    },
    /// The authority itself has no time left, or none yet.
    #[error("the authority is valid from {not_before} to {not_after}")]
    AuthorityOutOfTime {
        /// From when on.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
    },
    /// The cryptographic library refuses, or the system has no random bytes.
    #[error("signing failed")]
    Signing,
}

impl Refused {
    /// Whether the one who asked cannot help it.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::AuthorityOutOfTime { .. } | Self::Signing)
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// PEM: the certificate, then those that lead from it towards a root, without that.
    pub chain: Vec<String>,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Whom it names.
    pub identity: SpiffeId,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// A certificate of the control plane itself, with its key.
pub(super) struct OwnCertificate {
    /// The certificate, then those that lead from it towards a root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Its key, which is nowhere else.
    pub(super) key: PrivateKeyDer<'static>,
    /// Its serial number in hexadecimal.
    pub(super) serial: String,
    /// Until when it is valid.
    pub(super) not_after: Timestamp,
}

/// A certificate authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    issuer: Issuer<'static, KeyPair>,
    intermediates: Vec<String>,
    root: String,
    roots: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive() // it has a key
    }
}

impl Authority {
    /// An authority that is nowhere but in memory, for tests and demonstrations.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn in_memory(
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, GenerateError> {
        let material = generate(&trust_domain, now)?;
        Self::build(&material, trust_domain, lifetimes, now).map_err(|_| GenerateError::System)
    }

    /// An authority made of `material`.
    pub(super) fn build(
        material: &Material,
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Self, Unusable> {
        let Checked {
            issuer,
            intermediates,
            root,
            roots,
            not_before,
            not_after,
        } = material::check(material, now)?;
        Ok(Self {
            trust_domain,
            lifetimes,
            issuer,
            intermediates,
            root,
            roots,
            not_before,
            not_after,
        })
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// How long what it signs lives.
    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// PEM of each root: what whoever trusts this authority has to know.
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// PEM of the root to which its own certificates lead.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What the control plane itself is called.
    pub fn control_plane_id(&self) -> SpiffeId {
        let (namespace, account) = CONTROL_PLANE;
        SpiffeId::workload(&self.trust_domain, namespace, account)
            .expect("these are names, and a trust domain is short")
    }

    /// Until when it can sign.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a certificate for the key of a request (PKCS #10, as PEM or DER) to `identity`, which its sender has proved
    /// to be.
    ///
    /// It says that identity and nothing else, for the time that is asked for, at most [`Lifetimes::max`], and never
    /// longer than the authority itself lives (X.509-SVID §4, RFC 5280).
    ///
    /// # Errors
    /// If the sender does not have the key, asks for more than that, or the key is too weak.
    pub fn sign(
        &self,
        request: &[u8],
        identity: &SpiffeId,
        lifetime: Option<Duration>,
        now: Timestamp,
    ) -> Result<Issued, Refused> {
        self.check_identity(identity)?;
        let key = request::read(request, identity)?;
        let (not_before, not_after) = self.validity(lifetime, now)?;
        let params = leaf(identity, not_before, not_after).ok_or(Refused::Signing)?;
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.map_err(|_| Refused::Signing)?;
        let mut chain = vec![pem::certificate(certificate.der())];
        chain.extend_from_slice(&self.intermediates);
        let serial = params.serial_number.as_ref();
        Ok(Issued {
            chain,
            serial: serial.map(issuer::serial_text).ok_or(Refused::Signing)?,
            identity: identity.clone(),
            not_before,
            not_after,
        })
    }

    /// Issues a certificate to the control plane itself, for a new key and with these names besides its SPIFFE id.
    ///
    /// # Errors
    /// If the authority has no time left, or the cryptographic library refuses.
    pub(super) fn own_certificate(
        &self,
        names: &[ServerName<'_>],
        now: Timestamp,
    ) -> Result<OwnCertificate, Refused> {
        let (not_before, not_after) = self.validity(None, now)?;
        let params = leaf(&self.control_plane_id(), not_before, not_after);
        let mut params = params.ok_or(Refused::Signing)?;
        params
            .subject_alt_names
            .extend(names.iter().filter_map(san));
        let key = KeyPair::generate().map_err(|_| Refused::Signing)?;
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.map_err(|_| Refused::Signing)?;
        let above = self.intermediates.iter();
        let above = above.filter_map(|it| CertificateDer::from_pem_slice(it.as_bytes()).ok());
        let serial = params.serial_number.as_ref();
        Ok(OwnCertificate {
            chain: std::iter::once(certificate.der().clone())
                .chain(above)
                .collect(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            serial: serial.map(issuer::serial_text).ok_or(Refused::Signing)?,
            not_after,
        })
    }

    fn check_identity(&self, identity: &SpiffeId) -> Result<(), Refused> {
        if *identity.trust_domain() != self.trust_domain {
            return Err(Refused::ForeignTrustDomain {
                own: self.trust_domain.clone(),
                asked: identity.trust_domain().clone(),
            });
        }
        identity
            .as_workload()
            .map(drop)
            .map_err(|_| Refused::NotAWorkload {
                identity: identity.clone(),
            })
    }

    /// First and last second of a certificate.
    fn validity(
        &self,
        lifetime: Option<Duration>,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), Refused> {
        let lifetime = lifetime.unwrap_or(self.lifetimes.default);
        let lifetime = lifetime.min(self.lifetimes.max).min(LIFETIME_MAX);
        let not_before = now.checked_sub(self.lifetimes.clock_skew).unwrap_or(now);
        let not_after = now.checked_add(lifetime).unwrap_or(now);
        let not_before = to_the_second(not_before.max(self.not_before));
        let not_after = to_the_second(not_after.min(self.not_after));
        match self.not_before <= now && now < not_after {
            true => Ok((not_before, not_after)),
            false => Err(Refused::AuthorityOutOfTime {
                not_before: self.not_before,
                not_after: self.not_after,
            }),
        }
    }
}

/// What a workload's certificate says (X.509-SVID §4).
fn leaf(
    identity: &SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Option<CertificateParams> {
    let mut params = issuer::blank(not_before, not_after)?;
    // The subject is empty, so this extension is critical.
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().ok()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Some(params)
}

fn san(name: &ServerName<'_>) -> Option<SanType> {
    match name {
        ServerName::DnsName(name) => Some(SanType::DnsName(name.as_ref().try_into().ok()?)),
        ServerName::IpAddress(ip) => Some(SanType::IpAddress((*ip).into())),
        _ => None,
    }
}

/// Certificates know no fractions of a second.
fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
