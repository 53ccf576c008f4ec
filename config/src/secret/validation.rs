//! Reading `CertificateValidationContext`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use super::data::Pem;
use super::{DataSource, SanKind, SanMatch, TrustAnchors, TrustBundle, Validation};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{bool_or, type_name, unpack};
use crate::route::string_match;
use crate::spiffe::TrustDomain;
use crate::tls::check_watched;

const SPIFFE_VALIDATOR: &str =
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// Trust domains listed in one context.
const TRUST_DOMAINS_MAX: usize = 1024;

impl Validation {
    /// Reads what peers are judged by.
    pub(crate) fn parse(
        proto: &pb::CertificateValidationContext,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let validation = Self::parse_part(proto, at, diag)?;
        if validation.anchors.is_none() && !validation.subject_alt_names.is_empty() {
            // Anybody can write any name into a certificate that nobody has to have signed.
            let rule = "are asked for, but nobody is named who must have signed them";
            diag.fault(at.field("match_typed_subject_alt_names"), rule);
        }
        Some(validation)
    }

    /// Reads what a secret adds to.
    pub(crate) fn parse_part(
        proto: &pb::CertificateValidationContext,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        refuse_unsupported(proto, at, diag);
        check_watched(&proto.watched_directory, at, diag);
        let anchors = anchors(proto, at, diag);
        let spki = pins(
            &proto.verify_certificate_spki,
            spki_pin,
            "verify_certificate_spki",
            at,
            diag,
        );
        let hash = pins(
            &proto.verify_certificate_hash,
            hash_pin,
            "verify_certificate_hash",
            at,
            diag,
        );
        let revoked = proto.crl.as_ref().and_then(|crl| {
            let source = DataSource::parse(crl, Pem::RevocationLists);
            diag.keep(at.field("crl"), source)
        });
        Some(Self {
            anchors: anchors?,
            subject_alt_names: subject_alt_names(proto, at, diag),
            spki_sha256: spki,
            certificate_sha256: hash,
            revoked,
            revoked_leaf_only: proto.only_verify_leaf_cert_crl,
            allow_expired: proto.allow_expired_certificate,
            accept_untrusted: diag.keep(
                at.field("trust_chain_verification"),
                accept_untrusted(proto.trust_chain_verification),
            )?,
        })
    }
}

/// Whether peers get in whose certificate does not hold.
fn accept_untrusted(chosen: i32) -> Result<bool, String> {
    use pb::certificate_validation_context::TrustChainVerification as Choice;
    match Choice::try_from(chosen) {
        Ok(Choice::VerifyTrustChain) => Ok(false),
        Ok(Choice::AcceptUntrusted) => Ok(true),
        Err(_) => Err(format!("must be 0 or 1, got {chosen}")),
    }
}

/// What would let somebody in, if it were ignored.
fn refuse_unsupported(
    proto: &pb::CertificateValidationContext,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    let provider = proto.ca_certificate_provider_instance.is_some();
    refuse("ca_certificate_provider_instance", provider);
    let timestamp = bool_or(&proto.require_signed_certificate_timestamp, false);
    refuse("require_signed_certificate_timestamp", timestamp);
    refuse("max_verify_depth", proto.max_verify_depth.is_some());
    if proto.suppress_client_ca_list {
        let rule = "is not supported yet: names of roots are sent";
        diag.warn(at.field("suppress_client_ca_list"), rule);
    }
}

/// `Some(None)`: nobody is named; `None`: what is named cannot be used.
fn anchors(
    proto: &pb::CertificateValidationContext,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Option<TrustAnchors>> {
    if let Some(custom) = &proto.custom_validator_config {
        let at = at.field("custom_validator_config");
        let Some(config) = &custom.typed_config else {
            diag.fault(at.field("typed_config"), "is missing");
            return None;
        };
        let at = at.field("typed_config");
        if type_name(config) != SPIFFE_VALIDATOR {
            diag.fault(at, format!("{} is not supported", type_name(config)));
            return None;
        }
        let config: pb::SpiffeCertValidatorConfig = unpack(config, &at, diag)?;
        return Some(Some(TrustAnchors::Spiffe(bundles(&config, &at, diag))));
    }
    match (&proto.trusted_ca, &proto.system_root_certs) {
        (Some(_), Some(_)) => {
            diag.fault(at.field("system_root_certs"), "excludes trusted_ca");
            None
        }
        (Some(source), None) => {
            let source = DataSource::parse(source, Pem::Certificates);
            let source = diag.keep(at.field("trusted_ca"), source)?;
            Some(Some(TrustAnchors::Pem(source)))
        }
        (None, Some(_)) => Some(Some(TrustAnchors::System)),
        (None, None) => Some(None),
    }
}

fn bundles(
    proto: &pb::SpiffeCertValidatorConfig,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<TrustBundle> {
    if proto.trust_bundles.is_some() {
        diag.fault(at.field("trust_bundles"), "is not supported yet");
    }
    let at = at.field("trust_domains");
    let count = proto.trust_domains.len();
    if !(1..=TRUST_DOMAINS_MAX).contains(&count) {
        let rule = format!("must be from 1 to {TRUST_DOMAINS_MAX}, got {count}");
        diag.fault(at.clone(), rule);
    }
    let mut bundles: Vec<TrustBundle> = Vec::with_capacity(count.min(TRUST_DOMAINS_MAX));
    for (index, domain) in proto.trust_domains.iter().enumerate() {
        let at = at.index(index);
        let source = match &domain.trust_bundle {
            Some(source) => DataSource::parse(source, Pem::Certificates),
            None => Err("is missing".to_owned()),
        };
        let Some(roots) = diag.keep(at.field("trust_bundle"), source) else {
            continue;
        };
        let name = TrustDomain::parse(&domain.name).map_err(|fault| fault.to_string());
        let Some(trust_domain) = diag.keep(at.field("name"), name) else {
            continue;
        };
        if bundles.iter().any(|it| it.trust_domain == trust_domain) {
            diag.fault(at.field("name"), format!("{:?} stands twice", domain.name));
        }
        bundles.push(TrustBundle {
            trust_domain,
            roots,
        });
    }
    bundles
}

#[expect(
    deprecated,
    reason = "the older form is what many control planes still send"
)]
fn subject_alt_names(
    proto: &pb::CertificateValidationContext,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<SanMatch> {
    let mut names = Vec::new();
    for (index, typed) in proto.match_typed_subject_alt_names.iter().enumerate() {
        let at = at.field("match_typed_subject_alt_names").index(index);
        names.extend(diag.keep(at, SanMatch::parse(typed)));
    }
    for (index, untyped) in proto.match_subject_alt_names.iter().enumerate() {
        let at = at.field("match_subject_alt_names").index(index);
        let value = diag.keep(at, string_match(untyped));
        names.extend(value.map(|value| SanMatch { kind: None, value }));
    }
    names
}

impl SanMatch {
    fn parse(proto: &pb::SubjectAltNameMatcher) -> Result<Self, String> {
        use pb::subject_alt_name_matcher::SanType;
        let kind = match SanType::try_from(proto.san_type) {
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::Email) => SanKind::Email,
            Ok(SanType::IpAddress) => SanKind::Ip,
            Ok(SanType::OtherName) => return Err("OTHER_NAME is not supported yet".to_owned()),
            Ok(SanType::Unspecified) | Err(_) => return Err("has no san_type".to_owned()),
        };
        let matcher = proto.matcher.as_ref().ok_or("has no matcher")?;
        Ok(Self {
            kind: Some(kind),
            value: string_match(matcher)?,
        })
    }
}

fn pins(
    given: &[String],
    read: fn(&str) -> Option<[u8; 32]>,
    name: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<[u8; 32]> {
    let mut pins = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        let pin = read(text).ok_or_else(|| format!("{text:?} is no SHA-256"));
        pins.extend(diag.keep(at.field(name).index(index), pin));
    }
    pins
}

/// Base64.
fn spki_pin(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Hexadecimal, with or without colons between the bytes.
fn hash_pin(text: &str) -> Option<[u8; 32]> {
    let mut pin = [0; 32];
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 2 * pin.len() {
        return None;
    }
    for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(pin)
}
