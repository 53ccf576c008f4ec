//! Reading where a cluster's endpoints come from.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::clusters::dns::v3 as dns;
use weft_xds_proto::pb::google::protobuf as wkt;

use super::{Discovery, DnsCluster, DnsFamily};
use crate::diag::{Diagnostics, FieldPath};
use crate::endpoint::{EndpointSet, dns_endpoints};
use crate::proto::{positive_duration, type_name, unpack};

/// Time between look-ups where nothing is said.
const DNS_REFRESH: Duration = Duration::from_secs(5);
const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";

impl Discovery {
    pub(super) fn parse(
        proto: &pb::Cluster,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use pb::cluster::{ClusterDiscoveryType, DiscoveryType};
        let kind = match &proto.cluster_discovery_type {
            None => DiscoveryType::Static,
            Some(ClusterDiscoveryType::Type(kind)) => {
                let kind =
                    DiscoveryType::try_from(*kind).map_err(|_| format!("has no value {kind}"));
                diag.keep(at.field("type"), kind)?
            }
            Some(ClusterDiscoveryType::ClusterType(custom)) => {
                return custom_type(proto, custom, at, diag);
            }
        };
        match kind {
            DiscoveryType::Static => static_endpoints(proto, at, diag),
            DiscoveryType::Eds => eds(proto, at, diag),
            DiscoveryType::StrictDns => Some(Self::StrictDns(legacy_dns(proto, at, diag)?)),
            DiscoveryType::LogicalDns => {
                let cluster = legacy_dns(proto, at, diag)?;
                logical(cluster, at, diag)
            }
            DiscoveryType::OriginalDst => original_dst(proto, at, diag),
        }
    }
}

fn static_endpoints(
    proto: &pb::Cluster,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Discovery> {
    let assignment = proto.load_assignment.clone().unwrap_or_default();
    EndpointSet::parse(&assignment, &at.field("load_assignment"), diag).map(Discovery::Static)
}

fn eds(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Discovery> {
    let config = proto.eds_cluster_config.clone().unwrap_or_default();
    let at = at.field("eds_cluster_config").field("eds_config");
    check_ads(&config.eds_config, &at, diag);
    let service_name = match config.service_name.as_str() {
        "" => proto.name.as_str(),
        given => given,
    };
    Some(Discovery::Eds {
        service_name: service_name.into(),
    })
}

/// Resources that a resource names come from where it came from: the ADS stream.
pub(crate) fn check_ads(
    proto: &Option<core::ConfigSource>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    use core::config_source::ConfigSourceSpecifier;
    let source = proto
        .as_ref()
        .and_then(|it| it.config_source_specifier.as_ref());
    match source {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {}
        Some(_) => diag.fault(at.clone(), "only ads and self are supported"),
        None => diag.fault(at.clone(), "is missing"),
    }
}

fn original_dst(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Discovery> {
    if let Some(pb::cluster::LbConfig::OriginalDstLbConfig(config)) = &proto.lb_config
        && (config.use_http_header
            || config.upstream_port_override.is_some()
            || config.metadata_key.is_some())
    {
        let rule = "use_http_header, upstream_port_override and metadata_key are not supported yet";
        diag.fault(at.field("original_dst_lb_config"), rule);
    }
    if proto.load_assignment.is_some() {
        diag.fault(
            at.field("load_assignment"),
            "must not be given for ORIGINAL_DST",
        );
    }
    Some(Discovery::OriginalDst)
}

fn custom_type(
    proto: &pb::Cluster,
    custom: &pb::cluster::CustomClusterType,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Discovery> {
    let type_at = at.field("cluster_type");
    if let Some(config) = &custom.typed_config
        && type_name(config) == DNS_CLUSTER
    {
        let config: dns::DnsCluster = unpack(config, &type_at.field("typed_config"), diag)?;
        let family = extension_family(config.dns_lookup_family);
        let family = diag.keep(type_at.field("dns_lookup_family"), family)?;
        let cluster = dns_cluster(
            proto,
            &config.dns_refresh_rate,
            config.respect_dns_ttl,
            family,
            at,
            diag,
        );
        return match config.all_addresses_in_single_endpoint {
            true => logical(cluster, at, diag),
            false => Some(Discovery::StrictDns(cluster)),
        };
    }
    match custom.name.as_str() {
        "envoy.clusters.static" | "envoy.cluster.static" => static_endpoints(proto, at, diag),
        "envoy.clusters.eds" | "envoy.cluster.eds" => eds(proto, at, diag),
        "envoy.clusters.original_dst" | "envoy.cluster.original_dst" => {
            original_dst(proto, at, diag)
        }
        name => {
            diag.fault(type_at, format!("{name:?} is not supported"));
            None
        }
    }
}

fn legacy_dns(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<DnsCluster> {
    use pb::cluster::DnsLookupFamily;
    let family = match DnsLookupFamily::try_from(proto.dns_lookup_family) {
        Ok(DnsLookupFamily::Auto) => DnsFamily::Auto,
        Ok(DnsLookupFamily::V4Only) => DnsFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => DnsFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => DnsFamily::All,
        Err(_) => {
            let rule = format!("has no value {}", proto.dns_lookup_family);
            diag.fault(at.field("dns_lookup_family"), rule);
            return None;
        }
    };
    let respect_ttl = proto.respect_dns_ttl;
    Some(dns_cluster(
        proto,
        &proto.dns_refresh_rate,
        respect_ttl,
        family,
        at,
        diag,
    ))
}

/// The DNS cluster extension counts the families from one.
fn extension_family(value: i32) -> Result<DnsFamily, String> {
    use weft_xds_proto::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
    Ok(match DnsLookupFamily::try_from(value) {
        Ok(DnsLookupFamily::Unspecified | DnsLookupFamily::Auto) => DnsFamily::Auto,
        Ok(DnsLookupFamily::V4Only) => DnsFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => DnsFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => DnsFamily::All,
        Err(_) => return Err(format!("has no value {value}")),
    })
}

fn dns_cluster(
    proto: &pb::Cluster,
    refresh: &Option<wkt::Duration>,
    respect_ttl: bool,
    family: DnsFamily,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> DnsCluster {
    let assignment = proto.load_assignment.clone().unwrap_or_default();
    let refresh = positive_duration(refresh, at, "dns_refresh_rate", diag);
    let refresh = refresh.unwrap_or(DNS_REFRESH);
    DnsCluster {
        endpoints: dns_endpoints(&assignment, &at.field("load_assignment"), diag),
        refresh: refresh.max(Duration::from_millis(1)),
        respect_ttl,
        family,
    }
}

fn logical(cluster: DnsCluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Discovery> {
    if cluster.endpoints.len() != 1 {
        let got = cluster.endpoints.len();
        let rule = format!("must have one endpoint for LOGICAL_DNS, got {got}");
        diag.fault(at.field("load_assignment"), rule);
    }
    Some(Discovery::LogicalDns(cluster))
}
