//! Reading what becomes of `x-forwarded-client-cert`.

use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::{ClientCertDetails, ForwardClientCert};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::bool_or;

impl ForwardClientCert {
    pub(super) fn parse(
        proto: &pb::HttpConnectionManager,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use pb::http_connection_manager::ForwardClientCertDetails as Proto;
        let details = ClientCertDetails::parse(proto, at, diag);
        let at = at.field("forward_client_cert_details");
        let value = proto.forward_client_cert_details;
        let read = match Proto::try_from(value) {
            Ok(Proto::Sanitize) => Ok(Self::Sanitize),
            Ok(Proto::ForwardOnly) => Ok(Self::ForwardOnly),
            Ok(Proto::AppendForward) => Ok(Self::Append(details)),
            Ok(Proto::SanitizeSet) => Ok(Self::Set(details)),
            // From anybody, over any connection: it would let in whoever writes the field.
            Ok(Proto::AlwaysForwardOnly) => Err("ALWAYS_FORWARD_ONLY is not supported".to_owned()),
            Err(_) => Err(format!("has no value {value}")),
        };
        diag.keep(at, read)
    }
}

impl ClientCertDetails {
    fn parse(proto: &pb::HttpConnectionManager, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let at = at.field("set_current_client_cert_details");
        let given = proto.set_current_client_cert_details.unwrap_or_default();
        for (name, given) in [("cert", given.cert), ("chain", given.chain)] {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        }
        Self {
            subject: bool_or(&given.subject, false),
            uri: given.uri,
            dns: given.dns,
        }
    }
}
