//! Servers of xDS streams that a configuration names (`ApiConfigSource`): the clusters through which they are reached.

use weft_xds_proto::pb::envoy::config::core::v3 as core;

use crate::cluster::ClusterName;
use crate::diag::{Diagnostics, FieldPath, near_name};

/// The cluster of a server, and where it is named.
pub(crate) struct NamedCluster {
    pub(crate) name: ClusterName,
    pub(crate) at: FieldPath,
}

/// Reads what all sources with a stream of their own have in common, but for the kind of stream.
pub(crate) fn grpc_servers(
    proto: &core::ApiConfigSource,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<NamedCluster> {
    check_version(
        proto.transport_api_version,
        &at.field("transport_api_version"),
        diag,
    );
    if !proto.config_validators.is_empty() {
        diag.fault(at.field("config_validators"), "is not supported yet");
    }
    if proto.rate_limit_settings.is_some() {
        diag.warn(
            at.field("rate_limit_settings"),
            "is not supported yet and ignored",
        );
    }
    let list = at.field("grpc_services");
    if proto.grpc_services.is_empty() {
        diag.fault(list.clone(), "must not be empty");
    }
    let services = proto.grpc_services.iter().enumerate();
    services
        .filter_map(|(index, service)| cluster_of(service, &list.index(index), diag))
        .collect()
}

#[expect(deprecated, reason = "what is gone must be noticed")]
/// Resources are always v3 here, which `AUTO` may mean; v2 is gone.
pub(crate) fn check_version(version: i32, at: &FieldPath, diag: &mut Diagnostics) {
    if version == core::ApiVersion::V2 as i32 {
        diag.fault(at.clone(), "must be V3");
    }
}

fn cluster_of(
    proto: &core::GrpcService,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<NamedCluster> {
    use core::grpc_service::TargetSpecifier;
    if !proto.initial_metadata.is_empty() {
        diag.fault(at.field("initial_metadata"), "is not supported yet");
    }
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &proto.target_specifier else {
        let rule = "only envoy_grpc is supported: name a static cluster, which may have a pipe as its endpoint";
        diag.fault(at.clone(), rule);
        return None;
    };
    let at = at.field("envoy_grpc");
    if !target.authority.is_empty() {
        diag.warn(at.field("authority"), "is not supported yet and ignored");
    }
    let at = at.field("cluster_name");
    if target.cluster_name.is_empty() {
        diag.fault(at, "must not be empty");
        return None;
    }
    Some(NamedCluster {
        name: target.cluster_name.as_str().into(),
        at,
    })
}

/// Servers are reached through static clusters alone: nobody is left to tell of others.
pub(crate) fn check_static<'a>(
    name: &str,
    clusters: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), String> {
    if clusters.clone().any(|known| known == name) {
        return Ok(());
    }
    let near = near_name(name, clusters);
    let near = near
        .map(|it| format!(", did you mean {it:?}?"))
        .unwrap_or_default();
    Err(format!("{name:?} is not among the static clusters{near}"))
}
