//! Reading where dynamic resources come from.

#![expect(deprecated, reason = "older forms that are still written are read too")]

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::bootstrap::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;

use super::{AdsConfig, ConfigSource, DynamicResources};
use crate::cluster::Cluster;
use crate::diag::{Diagnostics, FieldPath};
use crate::grpc_servers::{check_static, check_version, grpc_servers};
use crate::tls::check_watched;

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
            check_watched(
                &source.watched_directory,
                &at.field("path_config_source"),
                diag,
            );
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
        let servers = grpc_servers(proto, at, diag);
        let names = clusters.iter().map(|it| &*it.name);
        for server in &servers {
            diag.keep(server.at.clone(), check_static(&server.name, names.clone()));
        }
        Some(Self {
            delta: delta?,
            clusters: servers.into_iter().map(|it| it.name).collect(),
        })
    }
}
