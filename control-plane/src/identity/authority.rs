//! The authority that signs. It knows no clock: whoever asks says what time it is.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::generate::{GenerateError, generate};
use super::material::{self, Checked, Material, Unusable};
use super::{issuer, pem, request};

/// The longest that [`Lifetimes::max`] may be: what lives longer should be revocable, and nothing here is.
pub const LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Where nothing is asked for. Default 24 h.
    pub default: Duration,
    /// At most; who asks for more gets this, for a workload that renews in time is as well off with less. Default 90 days.
    pub max: Duration,
    /// How long before it was issued a certificate is valid already, for clocks that are behind. Default 60 s.
    pub clock_skew: Duration,
}

/// Lifetimes that certificates cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifetimesFault {
    /// The longest is none, or too long.
    #[error("the longest lifetime must be above 0 s and at most {LIFETIME_MAX:?}, got {max:?}")]
    Max {
        /// What was given.
        max: Duration,
    },
    /// The usual one is none, or above the longest.
    #[error("the lifetime must be above 0 s and at most the longest, {max:?}, got {default:?}")]
    Default {
        /// What was given.
        default: Duration,
        /// The longest.
        max: Duration,
    },
    /// Clocks that are further behind than clocks are.
    #[error("the clock skew must be at most {CLOCK_SKEW_MAX:?}, got {skew:?}")]
    ClockSkew {
        /// What was given.
        skew: Duration,
    },
}

/// The most that [`Lifetimes::clock_skew`] may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);

impl Lifetimes {
    /// Whether certificates can have them.
    ///
    /// # Errors
    /// If not, and why.
    pub fn check(&self) -> Result<(), LifetimesFault> {
        let Self {
            default,
            max,
            clock_skew,
        } = *self;
        if max.is_zero() || max > LIFETIME_MAX {
            return Err(LifetimesFault::Max { max });
        }
        if default.is_zero() || default > max {
            return Err(LifetimesFault::Default { default, max });
        }
        match clock_skew > CLOCK_SKEW_MAX {
            true => Err(LifetimesFault::ClockSkew { skew: clock_skew }),
            false => Ok(()),
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            default: Duration::from_secs(24 * 3600),
            max: LIFETIME_MAX,
            clock_skew: Duration::from_secs(60),
        }
    }
}

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

/// A certificate authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    issuer: Issuer<'static, KeyPair>,
    intermediates: Vec<String>,
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
            roots,
            not_before,
            not_after,
        } = material::check(material, now)?;
        Ok(Self {
            trust_domain,
            lifetimes,
            issuer,
            intermediates,
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

/// Certificates know no fractions of a second.
fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
