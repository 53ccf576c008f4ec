//! Reading TLS contexts.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use weft_xds_proto::pb::google::protobuf::Any;

use super::named::{Reference, provider_name};
use super::{
    AwaitedSecret, CertificateSource, DownstreamTls, SecretHolds, ServerResumption, TlsContext,
    TlsParameters, UpstreamTls, ValidationSource,
};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{bool_or, type_name, u32_or, unpack};
use crate::secret::{TlsCertificate, Validation};

const TYPES: &str = "envoy.extensions.transport_sockets";
/// Sockets without configuration that are plain, by name.
const PLAIN_NAMES: [&str; 2] = ["envoy.transport_sockets.raw_buffer", "raw_buffer"];
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `max_session_keys` where nothing is said.
const SESSIONS_MAX: u32 = 1;
/// Longest name of a protocol (RFC 7301 §3.1).
const ALPN_BYTES_MAX: usize = 255;
/// Protocols and certificates of one context.
const ENTRIES_MAX: usize = 64;

/// The TLS context in a transport socket; `None`: it is plain, or there was a fault.
///
/// What is not known is refused: ignored, it would let anybody in, or send in the clear.
fn tls_context<'p>(
    proto: &'p Option<core::TransportSocket>,
    wanted: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<&'p Any> {
    use core::transport_socket::ConfigType;
    let socket = proto.as_ref()?;
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else {
        if !PLAIN_NAMES.contains(&&*socket.name) {
            diag.fault(at.field("typed_config"), "is missing");
        }
        return None;
    };
    match type_name(config).strip_prefix(TYPES) {
        Some(".raw_buffer.v3.RawBuffer") => None,
        Some(name) if name == wanted => Some(config),
        _ => {
            let rule = format!("{} is not supported here", type_name(config));
            diag.fault(at.clone(), rule);
            None
        }
    }
}

impl DownstreamTls {
    /// Reads the transport socket of a filter chain. `None`: it is plain, or there was a fault.
    pub(crate) fn of_socket(
        proto: &Option<core::TransportSocket>,
        handshake_timeout: Option<Duration>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let config = tls_context(proto, ".tls.v3.DownstreamTlsContext", at, diag)?;
        let at = at.field("typed_config");
        let mut tls = Self::parse(&unpack(config, &at, diag)?, &at, diag)?;
        tls.handshake_timeout = handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
        Some(tls)
    }

    /// Reads a context.
    pub fn parse(
        proto: &pb::DownstreamTlsContext,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use pb::downstream_tls_context::SessionTicketKeysType as Keys;
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("ocsp_staple_policy", proto.ocsp_staple_policy != 0);
        let keys = &proto.session_ticket_keys_type;
        refuse(
            "session_ticket_keys",
            matches!(keys, Some(Keys::SessionTicketKeys(_))),
        );
        let by_name = matches!(keys, Some(Keys::SessionTicketKeysSdsSecretConfig(_)));
        refuse("session_ticket_keys_sds_secret_config", by_name);
        let mut ignored = |name: &str, given: bool| {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        };
        ignored("session_timeout", proto.session_timeout.is_some());
        ignored("prefer_client_ciphers", proto.prefer_client_ciphers);
        let full_scan = proto.full_scan_certs_on_sni_mismatch.is_some();
        ignored("full_scan_certs_on_sni_mismatch", full_scan);
        let common = common(&proto.common_tls_context, at, diag)?;
        let require_client_certificate = bool_or(&proto.require_client_certificate, false);
        let at = at.field("common_tls_context");
        let given = proto.common_tls_context.as_ref();
        let given = given.is_some_and(|it| {
            !it.tls_certificates.is_empty()
                || !it.tls_certificate_sds_secret_configs.is_empty()
                || it.tls_certificate_provider_instance.is_some()
        });
        if !given {
            diag.fault(at.field("tls_certificates"), "must not be empty");
        }
        // What a secret tells is judged by when it is there.
        let judges = match &common.validation {
            None => false,
            Some(ValidationSource::Inline(inline)) => inline.judges() || inline.accept_untrusted,
            Some(ValidationSource::Named(_) | ValidationSource::Combined(..)) => true,
        };
        if require_client_certificate && !judges {
            let rule = "must say whom to trust: a certificate is required, and any would do";
            diag.fault(at.field("validation_context"), rule);
        }
        Some(Self {
            common,
            require_client_certificate,
            require_server_name: bool_or(&proto.require_sni, false),
            resumption: ServerResumption {
                tickets: !matches!(keys, Some(Keys::DisableStatelessSessionResumption(true))),
                stateful: !proto.disable_stateful_session_resumption,
            },
            handshake_timeout: HANDSHAKE_TIMEOUT,
        })
    }
}

impl UpstreamTls {
    /// Reads the transport socket of a cluster. `None`: it is plain, or there was a fault.
    pub(crate) fn of_socket(
        proto: &Option<core::TransportSocket>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let config = tls_context(proto, ".tls.v3.UpstreamTlsContext", at, diag)?;
        let at = at.field("typed_config");
        Self::parse(&unpack(config, &at, diag)?, &at, diag)
    }

    /// Reads a context.
    pub fn parse(
        proto: &pb::UpstreamTlsContext,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("auto_host_sni", proto.auto_host_sni);
        refuse("allow_renegotiation", proto.allow_renegotiation);
        let common = common(&proto.common_tls_context, at, diag)?;
        if common.certificates.len() > 1 {
            let at = at.field("common_tls_context").field("tls_certificates");
            diag.fault(at, "must be one at most: it is our own side that has it");
        }
        if proto.auto_sni_san_validation && proto.sni.is_empty() {
            diag.fault(at.field("auto_sni_san_validation"), "needs sni");
        }
        if !proto.sni.is_empty() && ServerName::try_from(proto.sni.as_str()).is_err() {
            let rule = format!("must be a host name or an IP address, got {:?}", proto.sni);
            diag.fault(at.field("sni"), rule);
        }
        Some(Self {
            common,
            server_name: (!proto.sni.is_empty()).then(|| proto.sni.as_str().into()),
            check_server_name: proto.auto_sni_san_validation,
            sessions_max: u32_or(&proto.max_session_keys, SESSIONS_MAX),
        })
    }
}

fn common(
    proto: &Option<pb::CommonTlsContext>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<TlsContext> {
    let at = &at.field("common_tls_context");
    let Some(proto) = proto else {
        diag.fault(at.clone(), "is missing");
        return None;
    };
    refuse_unsupported(proto, at, diag);
    let parameters = proto.tls_params.as_ref();
    let parameters = parameters.map(|it| TlsParameters::parse(it, &at.field("tls_params"), diag));
    let mut awaited = Vec::new();
    Some(TlsContext {
        parameters: parameters.unwrap_or_default(),
        certificates: certificates(proto, at, &mut awaited, diag),
        validation: validation(proto, at, &mut awaited, diag)?,
        alpn: alpn(&proto.alpn_protocols, at, diag),
        awaited,
    })
}

#[expect(deprecated, reason = "what would be ignored must be noticed")]
fn refuse_unsupported(proto: &pb::CommonTlsContext, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    for (name, given) in [
        (
            "custom_tls_certificate_selector",
            proto.custom_tls_certificate_selector.is_some(),
        ),
        (
            "tls_certificate_certificate_provider",
            proto.tls_certificate_certificate_provider.is_some(),
        ),
        (
            "tls_certificate_certificate_provider_instance",
            proto
                .tls_certificate_certificate_provider_instance
                .is_some(),
        ),
        ("custom_handshaker", proto.custom_handshaker.is_some()),
    ] {
        refuse(name, given);
    }
    if proto.key_log.is_some() {
        diag.fault(
            at.field("key_log"),
            "is not supported: keys are never written",
        );
    }
}

fn certificates(
    proto: &pb::CommonTlsContext,
    at: &FieldPath,
    awaited: &mut Vec<AwaitedSecret>,
    diag: &mut Diagnostics,
) -> Vec<CertificateSource> {
    let mut certificates = Vec::new();
    for (index, certificate) in proto.tls_certificates.iter().enumerate() {
        let at = at.field("tls_certificates").index(index);
        let read = TlsCertificate::parse(certificate, &at, diag);
        certificates.extend(read.map(|it| CertificateSource::Inline(Arc::new(it))));
    }
    let named = "tls_certificate_sds_secret_configs";
    for (index, config) in proto.tls_certificate_sds_secret_configs.iter().enumerate() {
        let at = at.field(named).index(index);
        if let Some(reference) = Reference::parse(config, &at, diag) {
            awaited.extend(reference.awaited(SecretHolds::Certificate));
            certificates.push(CertificateSource::Named(reference.name));
        }
    }
    if let Some(provider) = &proto.tls_certificate_provider_instance {
        let at = at.field("tls_certificate_provider_instance");
        let named = diag.keep(at, provider_name(provider, "certificate_name"));
        certificates.extend(named.map(CertificateSource::Named));
    }
    if certificates.len() > ENTRIES_MAX {
        let rule = format!("must be at most {ENTRIES_MAX}, got {}", certificates.len());
        diag.fault(at.field("tls_certificates"), rule);
    }
    certificates
}

/// `Some(None)`: nothing is said; `None`: there was a fault.
#[expect(deprecated, reason = "what would be ignored must be noticed")]
fn validation(
    proto: &pb::CommonTlsContext,
    at: &FieldPath,
    awaited: &mut Vec<AwaitedSecret>,
    diag: &mut Diagnostics,
) -> Option<Option<ValidationSource>> {
    use pb::common_tls_context::ValidationContextType as Type;
    let unsupported = match &proto.validation_context_type {
        None => return Some(None),
        Some(Type::ValidationContext(proto)) => {
            let at = at.field("validation_context");
            if let Some(provider) = &proto.ca_certificate_provider_instance {
                return provided(proto, provider, &at, diag).map(Some);
            }
            let read = Validation::parse(proto, &at, diag)?;
            return Some(Some(ValidationSource::Inline(Arc::new(read))));
        }
        Some(Type::ValidationContextSdsSecretConfig(config)) => {
            let at = at.field("validation_context_sds_secret_config");
            let reference = Reference::parse(config, &at, diag)?;
            awaited.extend(reference.awaited(SecretHolds::Validation));
            return Some(Some(ValidationSource::Named(reference.name)));
        }
        Some(Type::CombinedValidationContext(proto)) => {
            let at = at.field("combined_validation_context");
            return combined(proto, &at, awaited, diag).map(Some);
        }
        Some(Type::ValidationContextCertificateProvider(_)) => {
            "validation_context_certificate_provider"
        }
        Some(Type::ValidationContextCertificateProviderInstance(_)) => {
            "validation_context_certificate_provider_instance"
        }
    };
    diag.fault(at.field(unsupported), "is not supported yet");
    None
}

fn combined(
    proto: &pb::common_tls_context::CombinedCertificateValidationContext,
    at: &FieldPath,
    awaited: &mut Vec<AwaitedSecret>,
    diag: &mut Diagnostics,
) -> Option<ValidationSource> {
    let default = proto.default_validation_context.clone().unwrap_or_default();
    let at_default = at.field("default_validation_context");
    let named = proto.validation_context_sds_secret_config.as_ref();
    if let (Some(provider), None) = (&default.ca_certificate_provider_instance, named) {
        return provided(&default, provider, &at_default, diag);
    }
    let default = Validation::parse_part(&default, &at_default, diag);
    let at = at.field("validation_context_sds_secret_config");
    let Some(config) = named else {
        diag.fault(at, "is missing");
        return None;
    };
    let reference = Reference::parse(config, &at, diag)?;
    awaited.extend(reference.awaited(SecretHolds::Validation));
    Some(ValidationSource::Combined(
        Arc::new(default?),
        reference.name,
    ))
}

/// A context whose roots a certificate provider tells (gRFC A29).
fn provided(
    proto: &pb::CertificateValidationContext,
    provider: &pb::CertificateProviderPluginInstance,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<ValidationSource> {
    let rest = pb::CertificateValidationContext {
        ca_certificate_provider_instance: None,
        ..proto.clone()
    };
    let rest = Validation::parse_part(&rest, at, diag);
    let at_provider = at.field("ca_certificate_provider_instance");
    let named = diag.keep(
        at_provider,
        provider_name(provider, "root_certificate_name"),
    );
    let rest = rest?;
    if rest.anchors.is_some() {
        let rule = "excludes ca_certificate_provider_instance";
        diag.fault(at.field("trusted_ca"), rule);
    }
    Some(ValidationSource::Combined(Arc::new(rest), named?))
}

fn alpn(given: &[String], at: &FieldPath, diag: &mut Diagnostics) -> Vec<Arc<str>> {
    let at = at.field("alpn_protocols");
    if given.len() > ENTRIES_MAX {
        let rule = format!("must be at most {ENTRIES_MAX}, got {}", given.len());
        diag.fault(at.clone(), rule);
    }
    let mut protocols = Vec::with_capacity(given.len().min(ENTRIES_MAX));
    for (index, name) in given.iter().enumerate() {
        // Envoy takes lists within one entry as well.
        for name in name.split(',') {
            if (1..=ALPN_BYTES_MAX).contains(&name.len()) {
                protocols.push(name.into());
            } else {
                let rule = format!(
                    "must have from 1 to {ALPN_BYTES_MAX} bytes, got {}",
                    name.len()
                );
                diag.fault(at.index(index), rule);
            }
        }
    }
    protocols
}
