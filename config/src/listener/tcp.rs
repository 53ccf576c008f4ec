//! Reading `TcpProxy`.

use std::time::Duration;

use weft_xds_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3 as pb;

use super::{AccessLog, TcpProxy};
use crate::cluster::ClusterName;
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{optional_duration, u32_or};

/// The type name of the filter's configuration.
pub(super) const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

impl TcpProxy {
    pub(super) fn parse(
        proto: &pb::TcpProxy,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("on_demand", proto.on_demand.is_some());
        refuse("metadata_match", proto.metadata_match.is_some());
        refuse("tunneling_config", proto.tunneling_config.is_some());
        let mut ignored = |name: &str, given: bool| {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        };
        ignored("hash_policy", !proto.hash_policy.is_empty());
        ignored("backoff_options", proto.backoff_options.is_some());
        let bounded = proto.max_downstream_connection_duration.is_some();
        ignored("max_downstream_connection_duration", bounded);
        let idle = optional_duration(&proto.idle_timeout, at, "idle_timeout", diag);
        let attempts = u32_or(&proto.max_connect_attempts, 1);
        if attempts == 0 {
            diag.fault(at.field("max_connect_attempts"), "must be above 0");
        }
        let access_log = AccessLog::parse_all(&proto.access_log, at, diag);
        Some(Self {
            stat_prefix: proto.stat_prefix.as_str().into(),
            clusters: clusters(proto, at, diag)?,
            idle_timeout: idle.unwrap_or(IDLE_TIMEOUT),
            connect_attempts_max: attempts,
            access_log,
        })
    }
}

fn clusters(
    proto: &pb::TcpProxy,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Vec<(ClusterName, u32)>> {
    use pb::tcp_proxy::ClusterSpecifier;
    let clusters: Vec<(ClusterName, u32)> = match &proto.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name.as_str().into(), 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            if weighted
                .clusters
                .iter()
                .any(|it| it.metadata_match.is_some())
            {
                let at = at.field("weighted_clusters").field("clusters");
                diag.fault(at, "metadata_match is not supported yet");
            }
            let all = weighted.clusters.iter();
            all.map(|it| (it.name.as_str().into(), it.weight)).collect()
        }
        None => Vec::new(),
    };
    let total: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let named = clusters
        .iter()
        .all(|(name, weight)| !name.is_empty() && *weight > 0);
    if clusters.is_empty() || !named || total > u64::from(u32::MAX) {
        let rule = "must name a cluster, or several with weights above 0 that add up to at most 4294967295";
        diag.fault(at.clone(), rule);
        return None;
    }
    Some(clusters)
}
