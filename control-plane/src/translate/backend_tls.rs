//! TLS that sidecars begin with endpoints outside of the mesh, as a `BackendTLSPolicy` says.

use weft_config::gateway_api::backend_tls_policy::{
    BackendTlsPolicy, BackendValidation, SubjectAltName,
};
use weft_config::gateway_api::{AppProtocol, Object, ObjectKey, Spec};
use weft_xds_proto::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source::Specifier,
};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, UpstreamTlsContext,
    common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType,
};

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use crate::snapshot::proto::{exact_name, system_roots, tls_socket};

/// Where the roots are that a policy names; nothing for other kinds.
pub(crate) fn roots(policy: &Object) -> Vec<ObjectKey> {
    match &policy.spec {
        Spec::BackendTlsPolicy(tls) => keys(policy, tls),
        _ => Vec::new(),
    }
}

fn keys(object: &Object, policy: &BackendTlsPolicy) -> Vec<ObjectKey> {
    let refs = policy.validation.ca_refs.iter();
    refs.map(|it| it.key(&object.metadata.namespace)).collect()
}

/// How endpoints of a port are spoken to, on which `protocol` is spoken; `None`: without TLS.
pub(super) fn towards(
    inputs: &UnitInputs,
    protocol: AppProtocol,
    policy: &RoutePolicy<'_>,
) -> Option<TransportSocket> {
    let (object, policy) = policy.backend_tls()?;
    let validation = &policy.validation;
    let names = &validation.subject_alt_names;
    let context = CertificateValidationContext {
        match_typed_subject_alt_names: names.iter().map(matcher).collect(),
        ..trust(inputs, validation, &keys(object, policy))
    };
    let context = UpstreamTlsContext {
        sni: validation.hostname.clone(),
        auto_sni_san_validation: names.is_empty(),
        common_tls_context: Some(CommonTlsContext {
            validation_context_type: Some(ValidationContextType::ValidationContext(context)),
            alpn_protocols: alpn(protocol).iter().map(|it| (*it).to_owned()).collect(),
            ..CommonTlsContext::default()
        }),
        ..UpstreamTlsContext::default()
    };
    Some(tls_socket(&context))
}

/// Whom to trust: the system's roots, those of all `keys`, or, where one of these is not there, nobody.
fn trust(
    inputs: &UnitInputs,
    validation: &BackendValidation,
    keys: &[ObjectKey],
) -> CertificateValidationContext {
    if validation.well_known.is_some() {
        return system_roots();
    }
    let pem = |key: &ObjectKey| match &inputs.objects.get(key)?.spec {
        Spec::ConfigMap(map) => map.data.ca.clone(),
        _ => None,
    };
    match keys.iter().map(pem).collect::<Option<Vec<_>>>() {
        Some(roots) if !roots.is_empty() => CertificateValidationContext {
            trusted_ca: Some(DataSource {
                specifier: Some(Specifier::InlineString(roots.join("\n"))),
                ..DataSource::default()
            }),
            ..CertificateValidationContext::default()
        },
        _ => CertificateValidationContext {
            verify_certificate_hash: vec![NOBODY.to_owned()],
            ..system_roots()
        },
    }
}

/// The SHA-256 that no certificate has: whose roots are unknown is not spoken to, least of all in plain (GEP-1897).
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn alpn(protocol: AppProtocol) -> &'static [&'static str] {
    match protocol {
        AppProtocol::Http2 | AppProtocol::Grpc => &["h2"],
        AppProtocol::Http => &["http/1.1"],
        AppProtocol::Tcp | AppProtocol::Detect => &[],
    }
}

fn matcher(name: &SubjectAltName) -> SubjectAltNameMatcher {
    match name {
        SubjectAltName::Hostname { hostname } => exact_name(SanType::Dns, hostname.clone()),
        SubjectAltName::Uri { uri } => exact_name(SanType::Uri, uri.clone()),
    }
}
