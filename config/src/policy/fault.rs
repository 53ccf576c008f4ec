//! Reading the fault filter's configuration.

use weft_xds_proto::pb::envoy::extensions::filters::common::fault::v3 as common;
use weft_xds_proto::pb::envoy::extensions::filters::http::fault::v3 as pb;
use weft_xds_proto::pb::envoy::r#type::v3::FractionalPercent;

use super::{Fault, FaultAbort, FaultDelay};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{duration, per_million};

impl Fault {
    /// A filter that does nothing.
    pub fn off() -> Self {
        Self {
            delay: None,
            abort: None,
            active_max: None,
        }
    }

    /// Reads `HTTPFault`. What narrows it down to some requests and is not built is a fault: ignored, requests would
    /// be held or answered that nobody asked for.
    pub(crate) fn parse(proto: &pb::HttpFault, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("upstream_cluster", !proto.upstream_cluster.is_empty());
        refuse("headers", !proto.headers.is_empty());
        refuse("downstream_nodes", !proto.downstream_nodes.is_empty());
        refuse("response_rate_limit", proto.response_rate_limit.is_some());
        let delay = proto.delay.as_ref().map(FaultDelay::parse);
        let abort = proto.abort.as_ref().map(FaultAbort::parse);
        Self {
            delay: delay.and_then(|it| diag.keep(at.field("delay"), it)),
            abort: abort.and_then(|it| diag.keep(at.field("abort"), it)),
            active_max: proto.max_active_faults.as_ref().map(|it| it.value),
        }
    }
}

impl FaultDelay {
    fn parse(proto: &common::FaultDelay) -> Result<Self, String> {
        use common::fault_delay::FaultDelaySecifier;
        let given = match &proto.fault_delay_secifier {
            Some(FaultDelaySecifier::FixedDelay(given)) => duration(given)?,
            Some(FaultDelaySecifier::HeaderDelay(_)) => {
                return Err("header_delay is not supported yet".to_owned());
            }
            None => return Err("has no fixed_delay".to_owned()),
        };
        if given.is_zero() {
            return Err("fixed_delay must be above 0s, got 0s".to_owned());
        }
        Ok(Self {
            duration: given,
            per_million: share(&proto.percentage)?,
        })
    }
}

impl FaultAbort {
    fn parse(proto: &pb::FaultAbort) -> Result<Self, String> {
        use pb::fault_abort::ErrorType;
        let (http_status, grpc_status) = match &proto.error_type {
            Some(ErrorType::HttpStatus(status)) => (*status, None),
            Some(ErrorType::GrpcStatus(status)) => {
                let code = u8::try_from(*status)
                    .ok()
                    .filter(|code| (1..=16).contains(code));
                let rule = || format!("grpc_status must be from 1 to 16, got {status}");
                (200, Some(code.ok_or_else(rule)?))
            }
            Some(ErrorType::HeaderAbort(_)) => {
                return Err("header_abort is not supported yet".to_owned());
            }
            None => return Err("has neither http_status nor grpc_status".to_owned()),
        };
        let http_status = u16::try_from(http_status)
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or_else(|| format!("http_status must be from 200 to 599, got {http_status}"))?;
        Ok(Self {
            http_status,
            grpc_status,
            per_million: share(&proto.percentage)?,
        })
    }
}

/// Not given, it is none of the requests.
fn share(proto: &Option<FractionalPercent>) -> Result<u32, String> {
    proto.as_ref().map_or(Ok(0), per_million)
}
