//! Reading where dynamic resources come from.

#![expect(deprecated, reason = "older forms that are still written are read too")]

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::bootstrap::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;

use super::{AdsConfig, ConfigSource, DynamicResources};
use crate::cluster::{Cluster, ClusterName};
use crate::diag::{Diagnostics, FieldPath};

impl DynamicResources {
    pub(super) fn parse(
        proto: &pb::bootstrap::DynamicResources,
        clusters: &[Arc<Cluster>],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse(
            "lds_resources_locator",
            !proto.lds_resources_locator.is_empty(),
        );
        refuse(
            "cds_resources_locator",
            !proto.cds_resources_locator.is_empty(),
        );
        let ads = proto.ads_config.as_ref();
        let ads_at = at.field("ads_config");
        let dynamic = Self {
            lds: source(&proto.lds_config, &at.field("lds_config"), diag),
            cds: source(&proto.cds_config, &at.field("cds_config"), diag),
            ads: ads.and_then(|it| AdsConfig::parse(it, clusters, &ads_at, diag)),
        };
        let wants_ads = [&dynamic.lds, &dynamic.cds].contains(&&Some(ConfigSource::Ads));
        if wants_ads && ads.is_none() {
            diag.fault(ads_at, "is missing, and a source wants it");
        }
        dynamic
    }
}

fn source(
    proto: &Option<core::ConfigSource>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<ConfigSource> {
    use core::config_source::ConfigSourceSpecifier;
    let proto = proto.as_ref()?;
    check_version(
        proto.resource_api_version,
        &at.field("resource_api_version"),
        diag,
    );
    let refused = match &proto.config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_)) => return Some(ConfigSource::Ads),
        Some(ConfigSourceSpecifier::PathConfigSource(source)) if !source.path.is_empty() => {
            return Some(ConfigSource::Path(source.path.as_str().into()));
        }
        Some(ConfigSourceSpecifier::Path(path)) if !path.is_empty() => {
            return Some(ConfigSource::Path(path.as_str().into()));
        }
        Some(ConfigSourceSpecifier::Path(_) | ConfigSourceSpecifier::PathConfigSource(_)) => {
            "path must not be empty"
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => {
            "streams of their own are not supported yet, use ads"
        }
        Some(ConfigSourceSpecifier::Self_(_)) => "self is for sources inside resources",
        None => "names no source",
    };
    diag.fault(at.clone(), refused);
    None
}

/// Resources are always v3 here, which `AUTO` may mean; v2 is gone.
fn check_version(version: i32, at: &FieldPath, diag: &mut Diagnostics) {
    if version == core::ApiVersion::V2 as i32 {
        diag.fault(at.clone(), "must be V3");
    }
}

impl AdsConfig {
    fn parse(
        proto: &core::ApiConfigSource,
        clusters: &[Arc<Cluster>],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use core::api_config_source::ApiType;
        let delta = match ApiType::try_from(proto.api_type) {
            Ok(ApiType::Grpc | ApiType::AggregatedGrpc) => Some(false),
            Ok(ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc) => Some(true),
            _ => {
                diag.fault(at.field("api_type"), "must be GRPC or DELTA_GRPC");
                None
            }
        };
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
        let mut names = Vec::with_capacity(proto.grpc_services.len());
        for (index, service) in proto.grpc_services.iter().enumerate() {
            names.extend(ads_cluster(service, clusters, &list.index(index), diag));
        }
        Some(Self {
            delta: delta?,
            clusters: names,
        })
    }
}

fn ads_cluster(
    proto: &core::GrpcService,
    clusters: &[Arc<Cluster>],
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<ClusterName> {
    use core::grpc_service::TargetSpecifier;
    if !proto.initial_metadata.is_empty() {
        diag.fault(at.field("initial_metadata"), "is not supported yet");
    }
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &proto.target_specifier else {
        diag.fault(at.clone(), "only envoy_grpc is supported");
        return None;
    };
    let at = at.field("envoy_grpc");
    if !target.authority.is_empty() {
        diag.warn(at.field("authority"), "is not supported yet and ignored");
    }
    let known = |it: &Arc<Cluster>| *it.name == *target.cluster_name;
    if !clusters.iter().any(known) {
        let names = clusters.iter().map(|it| &*it.name);
        let near = crate::diag::near_name(&target.cluster_name, names);
        let near = near
            .map(|it| format!(", did you mean {it:?}?"))
            .unwrap_or_default();
        let rule = format!(
            "{:?} is not among the static clusters{near}",
            target.cluster_name
        );
        diag.fault(at.field("cluster_name"), rule);
    }
    Some(target.cluster_name.as_str().into())
}
