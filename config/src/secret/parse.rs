//! Reading `Secret` and `TlsCertificate`.

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use super::data::Pem;
use super::{DataSource, Secret, SecretKind, TlsCertificate, Validation};
use crate::diag::{Diagnostics, FieldPath};
use crate::tls::check_watched;

impl Secret {
    /// Reads a secret, noting every fault and warning in `diag`.
    ///
    /// `None` means that it cannot be used.
    pub fn parse(proto: &pb::Secret, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let kind = kind(proto, at, &mut found);
        if proto.name.is_empty() {
            found.fault(at.field("name"), "must not be empty");
        }
        let refused = found.has_faults();
        diag.extend(found);
        Some(Self {
            name: proto.name.as_str().into(),
            kind: kind?,
        })
        .filter(|_| !refused)
    }
}

fn kind(proto: &pb::Secret, at: &FieldPath, diag: &mut Diagnostics) -> Option<SecretKind> {
    use pb::secret::Type;
    let unsupported = match &proto.r#type {
        Some(Type::TlsCertificate(proto)) => {
            let read = TlsCertificate::parse(proto, &at.field("tls_certificate"), diag)?;
            return Some(SecretKind::Certificate(Arc::new(read)));
        }
        Some(Type::ValidationContext(proto)) => {
            let read = Validation::parse(proto, &at.field("validation_context"), diag)?;
            return Some(SecretKind::Validation(Arc::new(read)));
        }
        Some(Type::SessionTicketKeys(_)) => "session_ticket_keys",
        Some(Type::GenericSecret(_)) => "generic_secret",
        None => {
            diag.fault(at.clone(), "holds nothing");
            return None;
        }
    };
    diag.fault(at.field(unsupported), "is not supported yet");
    None
}

impl TlsCertificate {
    /// Reads a certificate with its key.
    pub(crate) fn parse(
        proto: &pb::TlsCertificate,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("pkcs12", proto.pkcs12.is_some());
        refuse("private_key_provider", proto.private_key_provider.is_some());
        refuse("password", proto.password.is_some());
        refuse("ocsp_staple", proto.ocsp_staple.is_some());
        let timestamps = !proto.signed_certificate_timestamp.is_empty();
        refuse("signed_certificate_timestamp", timestamps);
        refuse("tls_params", proto.tls_params.is_some());
        check_watched(&proto.watched_directory, at, diag);
        let name = "certificate_chain";
        let chain = required(&proto.certificate_chain, Pem::Certificates, name, at, diag);
        let key = required(&proto.private_key, Pem::PrivateKey, "private_key", at, diag);
        Some(Self {
            chain: chain?,
            key: key?,
        })
    }
}

fn required(
    proto: &Option<core::DataSource>,
    pem: Pem,
    name: &str,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<DataSource> {
    let source = match proto {
        Some(proto) => DataSource::parse(proto, pem),
        None => Err("is missing".to_owned()),
    };
    diag.keep(at.field(name), source)
}
