//! Reading `RouteConfiguration`.

use weft_xds_proto::pb::envoy::config::route::v3 as pb;

use super::RouteTable;
use crate::diag::{Diagnostics, FieldPath};

impl RouteTable {
    /// Reads a route configuration, noting every fault and warning in `diag`.
    ///
    /// `None` means that it cannot be used at all.
    pub fn parse(
        proto: &pb::RouteConfiguration,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let _ = proto;
        diag.fault(at.clone(), "route configurations cannot be read yet");
        None
    }
}
