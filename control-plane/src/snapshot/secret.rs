//! The one secret that is served, which is none: whom to trust. Keys never leave the workload that made them.

use weft_config::secret::ROOT_CA;
use weft_xds_proto::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, secret::Type,
};

use super::resource::{Resource, ResourceType};

/// The trust bundle, from PEM of all roots.
pub fn root_ca(pem: &str) -> Resource {
    let bundle = DataSource {
        specifier: Some(Specifier::InlineBytes(pem.as_bytes().to_vec())),
        ..DataSource::default()
    };
    let context = CertificateValidationContext {
        trusted_ca: Some(bundle),
        ..CertificateValidationContext::default()
    };
    let secret = Secret {
        name: ROOT_CA.to_owned(),
        r#type: Some(Type::ValidationContext(context)),
    };
    Resource::new(ResourceType::Secret, ROOT_CA, &secret)
}
