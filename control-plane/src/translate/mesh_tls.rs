//! TLS between sidecars: who shows what to whom, and how its connections are told from those of applications.
//!
//! Certificates and roots are those of the proxy's own certificate provider `default` (gRFC A29): nothing secret is served. Who is
//! on the other side says so by ALPN (`weft_config::tls::mesh_alpn`).

use std::collections::BTreeSet;

use weft_config::gateway_api::mesh_service::MeshDiscovery;
use weft_config::gateway_api::{MeshService, Resources, ServiceRef, Spec};
use weft_config::spiffe::{SpiffeId, TrustDomain};
use weft_config::tls::{WORKLOAD_PROVIDER, mesh_alpn};
use weft_xds_proto::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use weft_xds_proto::pb::envoy::config::core::v3::{Metadata, TransportSocket};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    DownstreamTlsContext, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
    common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};
use weft_xds_proto::pb::google::protobuf::{BoolValue, Struct, Value, value::Kind};

use super::index::Index;
use crate::snapshot::proto::{exact_name, tls_socket, u32_value};

/// The label of endpoints that are sidecars with an identity.
const LABEL: (&str, &str) = ("weft", "mesh");
/// Where clusters look for it.
const LABELS: &str = "envoy.transport_socket_match";

/// Sessions that a sidecar keeps of each service, so that connections after the first are cheap.
const SESSIONS: u32 = 16;

/// The metadata of an endpoint that is a sidecar with an identity.
pub(crate) fn label() -> Metadata {
    Metadata {
        filter_metadata: [(LABELS.to_owned(), label_fields())].into(),
        ..Metadata::default()
    }
}

fn label_fields() -> Struct {
    let (name, value) = LABEL;
    let value = Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    };
    Struct {
        fields: [(name.to_owned(), value)].into(),
    }
}

/// How sidecars that may be any of `accounts` in the service's namespace are spoken to.
pub(crate) fn towards(identities: &[SpiffeId]) -> TransportSocketMatch {
    let names = identities.iter();
    let names = names.map(|id| exact_name(SanType::Uri, id.to_string()));
    let context = UpstreamTlsContext {
        common_tls_context: Some(common(&[mesh_alpn::MESH], names.collect())),
        max_session_keys: Some(u32_value(SESSIONS)),
        ..UpstreamTlsContext::default()
    };
    TransportSocketMatch {
        name: "mesh".to_owned(),
        r#match: Some(label_fields()),
        transport_socket: Some(tls_socket(&context)),
    }
}

/// How a filter chain takes connections of sidecars, inside of which one of `alpn` is spoken.
pub(crate) fn from_sidecars(alpn: &[&str]) -> TransportSocket {
    let context = DownstreamTlsContext {
        common_tls_context: Some(common(alpn, Vec::new())),
        require_client_certificate: Some(BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    };
    tls_socket(&context)
}

fn common(alpn: &[&str], names: Vec<SubjectAltNameMatcher>) -> CommonTlsContext {
    let provider = || CertificateProviderPluginInstance {
        instance_name: WORKLOAD_PROVIDER.to_owned(),
        ..CertificateProviderPluginInstance::default()
    };
    let validation = CertificateValidationContext {
        ca_certificate_provider_instance: Some(provider()),
        match_typed_subject_alt_names: names,
        ..CertificateValidationContext::default()
    };
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
            ..TlsParameters::default()
        }),
        tls_certificate_provider_instance: Some(provider()),
        validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
        alpn_protocols: alpn.iter().map(|it| (*it).to_owned()).collect(),
        ..CommonTlsContext::default()
    }
}

/// The service accounts whose workloads a service may be: those that it lists, else the one that has its name and the one that its
/// selector asks for as `app`. Empty: it is no service of sidecars.
pub(crate) fn accounts(index: &Index, service: &ServiceRef) -> BTreeSet<String> {
    let listed = listed(index.resources(), service);
    if !listed.is_empty() {
        return listed.iter().cloned().collect();
    }
    let selector = match index.resources().get(&service.key()).map(|it| &it.spec) {
        Some(Spec::MeshService(MeshService {
            discovery: MeshDiscovery::Workloads(workloads),
            ..
        })) => &workloads.selector,
        Some(Spec::Service(service)) => &service.selector,
        _ => return BTreeSet::new(),
    };
    let app = selector.get("app");
    std::iter::once(&service.name.name)
        .chain(app)
        .cloned()
        .collect()
}

/// The service accounts that a service lists.
pub(crate) fn listed<'a>(resources: &'a Resources, service: &ServiceRef) -> &'a [String] {
    match resources.get(&service.key()).map(|it| &it.spec) {
        Some(Spec::MeshService(MeshService {
            discovery: MeshDiscovery::Workloads(workloads),
            ..
        })) => &workloads.service_accounts,
        _ => &[],
    }
}

/// The identities of [`accounts`].
pub(crate) fn identities(
    index: &Index,
    service: &ServiceRef,
    trust_domain: &TrustDomain,
) -> Vec<SpiffeId> {
    let accounts = accounts(index, service);
    // A label may have characters that no account has: nobody has such a certificate.
    let id = |account: &String| SpiffeId::workload(trust_domain, &service.name.namespace, account);
    accounts.iter().filter_map(|it| id(it).ok()).collect()
}
