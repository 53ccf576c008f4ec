//! Reading `ClusterLoadAssignment`.

use weft_xds_proto::pb::envoy::config::endpoint::v3 as pb;

use super::EndpointSet;
use crate::diag::{Diagnostics, FieldPath};

impl EndpointSet {
    /// Reads it from its xDS form, noting every fault and warning in `diag`.
    ///
    /// `None` means that it cannot be used.
    pub fn parse(
        proto: &pb::ClusterLoadAssignment,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let _ = proto;
        diag.fault(at.clone(), "endpoints cannot be read yet");
        None
    }
}
