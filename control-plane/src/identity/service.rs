//! The gRPC service that signs: `istio.v1.auth.IstioCertificateService`.

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use weft_xds_proto::istio::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use weft_xds_proto::istio::{IstioCertificateRequest, IstioCertificateResponse};

use super::caller::{Caller, Shown};
use super::issuance::{Ask, Issuance, IssueRefused, RefusalKind};
use crate::accept::Peer;

/// Bytes of one message: a request has some thousand. Strangers may send as much.
const MESSAGE_BYTES_MAX: usize = 24 * 1024;

/// The service.
#[derive(Debug)]
pub(crate) struct Signing {
    issuance: Arc<Issuance>,
}

impl Signing {
    /// Offers `issuance` over gRPC.
    pub(crate) fn serve(issuance: Arc<Issuance>) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(Self { issuance })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Signing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = request.extensions().get::<Peer>();
        let caller = caller.map_or_else(unknown, |peer| peer.caller().clone());
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|it| it.as_encoded_bytes().to_vec());
        let IstioCertificateRequest {
            csr,
            validity_duration,
            metadata: _, // what somebody says of himself proves nothing
        } = request.into_inner();
        let ask = Ask {
            request: csr.into_bytes(),
            seconds: validity_duration,
            authorization,
            caller,
        };
        let issued = self.issuance.issue(ask, Timestamp::now()).await;
        let issued = issued.map_err(|refused| status(&refused))?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: issued.chain,
        }))
    }
}

fn unknown() -> Caller {
    Caller {
        address: None,
        shown: Shown::Plain,
    }
}

fn status(refused: &IssueRefused) -> Status {
    let why = refused.to_string();
    match refused.kind() {
        RefusalKind::Unauthenticated => Status::unauthenticated(why),
        RefusalKind::Denied => Status::permission_denied(why),
        RefusalKind::Invalid => Status::invalid_argument(why),
        RefusalKind::Busy => Status::resource_exhausted(why),
        RefusalKind::Failed => Status::unavailable(why),
    }
}
