//! A service port as a cluster.

use std::collections::HashMap;

use weft_config::gateway_api::AppProtocol;
use weft_config::gateway_api::traffic_policy::{LoadBalancer, OutlierDetection};
use weft_xds_proto::pb::envoy::config::cluster::v3::circuit_breakers::{
    Thresholds, thresholds::RetryBudget,
};
use weft_xds_proto::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy, LeastRequestLbConfig,
};
use weft_xds_proto::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection as PbOutlierDetection, UpstreamConnectionOptions,
};
use weft_xds_proto::pb::envoy::config::core::v3::{
    HttpProtocolOptions as CommonOptions, TcpKeepalive,
};
use weft_xds_proto::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use weft_xds_proto::pb::envoy::r#type::v3::Percent;
use weft_xds_proto::pb::google::protobuf::Any;

use super::policies::RoutePolicy;
use crate::snapshot::proto::{ads, duration, protocol_options, u32_value, upstream_protocol};

/// The cluster `name`, whose endpoints EDS tells under the same name.
pub(crate) fn cluster(name: &str, protocol: AppProtocol, policy: &RoutePolicy<'_>) -> Cluster {
    let connect = policy
        .first(|policy| policy.timeouts.connect)
        .filter(|span| !span.is_zero());
    let (lb_policy, lb_config) = load_balancer(policy.first(|policy| policy.load_balancer));
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        lb_policy: lb_policy.into(),
        lb_config,
        connect_timeout: connect.map(|span| duration(span.duration())),
        circuit_breakers: circuit_breakers(policy),
        outlier_detection: policy.first(|policy| policy.outlier_detection).map(outlier),
        upstream_connection_options: keepalive(policy),
        typed_extension_protocol_options: http_options(upstream_protocol(protocol), policy),
        ..Cluster::default()
    }
}

fn load_balancer(balancer: Option<LoadBalancer>) -> (LbPolicy, Option<LbConfig>) {
    match balancer {
        None | Some(LoadBalancer::RoundRobin) => (LbPolicy::RoundRobin, None),
        Some(LoadBalancer::Random) => (LbPolicy::Random, None),
        Some(LoadBalancer::LeastRequest { choices }) => {
            let config = LeastRequestLbConfig {
                choice_count: Some(u32_value(choices)),
                ..LeastRequestLbConfig::default()
            };
            (
                LbPolicy::LeastRequest,
                Some(LbConfig::LeastRequestLbConfig(config)),
            )
        }
    }
}

fn circuit_breakers(policy: &RoutePolicy<'_>) -> Option<CircuitBreakers> {
    let field =
        |pick: fn(&weft_config::gateway_api::traffic_policy::CircuitBreakers) -> Option<u32>| {
            policy.first(|policy| pick(&policy.circuit_breakers))
        };
    let thresholds = Thresholds {
        max_connections: field(|it| it.max_connections).map(u32_value),
        max_pending_requests: field(|it| it.max_pending_requests).map(u32_value),
        max_requests: field(|it| it.max_requests).map(u32_value),
        retry_budget: policy
            .first(|policy| policy.retry_budget)
            .map(|budget| RetryBudget {
                budget_percent: Some(Percent {
                    value: budget.percent.into(),
                }),
                min_retry_concurrency: Some(u32_value(budget.min_retries)),
                ..RetryBudget::default()
            }),
        ..Thresholds::default()
    };
    (thresholds != Thresholds::default()).then(|| CircuitBreakers {
        thresholds: vec![thresholds],
        ..CircuitBreakers::default()
    })
}

fn outlier(detection: OutlierDetection) -> PbOutlierDetection {
    let gateway = detection.consecutive_gateway_failures.unwrap_or(0);
    PbOutlierDetection {
        consecutive_5xx: detection.consecutive_5xx.map(u32_value),
        consecutive_gateway_failure: Some(u32_value(gateway)),
        // Envoy counts gateway failures but acts on them only where it is told to.
        enforcing_consecutive_gateway_failure: (gateway > 0).then(|| u32_value(100)),
        // Success rates are not part of the policy, and Envoy would act on them by default.
        enforcing_success_rate: Some(u32_value(0)),
        interval: detection.interval.map(|span| duration(span.duration())),
        base_ejection_time: detection
            .base_ejection_time
            .map(|span| duration(span.duration())),
        max_ejection_time: detection
            .max_ejection_time
            .map(|span| duration(span.duration())),
        max_ejection_percent: detection
            .max_ejection_percent
            .map(|percent| u32_value(percent.into())),
        ..PbOutlierDetection::default()
    }
}

fn keepalive(policy: &RoutePolicy<'_>) -> Option<UpstreamConnectionOptions> {
    let keepalive = policy.first(|policy| policy.connection.keepalive)?;
    let seconds = |span: weft_config::gateway_api::Span| {
        u32_value(u32::try_from(span.duration().as_secs()).unwrap_or(u32::MAX))
    };
    Some(UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive {
            keepalive_probes: Some(u32_value(keepalive.probes)),
            keepalive_time: Some(seconds(keepalive.time)),
            keepalive_interval: Some(seconds(keepalive.interval)),
        }),
        ..UpstreamConnectionOptions::default()
    })
}

fn http_options(
    protocol: Option<UpstreamProtocolOptions>,
    policy: &RoutePolicy<'_>,
) -> HashMap<String, Any> {
    let idle = policy.first(|policy| policy.connection.idle_timeout);
    let requests = policy.first(|policy| policy.connection.max_requests);
    let common = (idle.is_some() || requests.is_some()).then(|| CommonOptions {
        idle_timeout: idle.map(|span| duration(span.duration())),
        max_requests_per_connection: requests.map(u32_value),
        ..CommonOptions::default()
    });
    let Some(protocol) = protocol else {
        return HashMap::new(); // TCP knows neither requests nor, in a cluster, idleness.
    };
    protocol_options(protocol, common)
}
