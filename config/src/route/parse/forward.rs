//! Reading `RouteAction`: where requests go, and how.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::route::v3 as pb;

use super::action::regex_rewrite;
use super::{Level, shared};
use crate::diag::{Diagnostics, FieldPath};
use crate::policy::{HeaderEdits, RetryPolicy};
use crate::proto::{bool_or, duration, optional_duration, u32_or};
use crate::route::{
    FilterOverrides, Forward, GrpcTimeout, HostRewrite, PathRewrite, RouteTimeout, WeightedCluster,
    WeightedClusters,
};

/// Bound of a request where the route says nothing (`RouteAction.timeout`).
const TIMEOUT: Duration = Duration::from_secs(15);

impl Level<'_> {
    /// `edits` are the route's, request then response, in which those of the levels above are.
    pub(super) fn forward(
        &self,
        route: &pb::Route,
        proto: &pb::RouteAction,
        edits: [&HeaderEdits; 2],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Forward> {
        refuse_unsupported(proto, at, diag);
        let mut forward = Forward::to(shared(""));
        let clusters = self.clusters(proto, edits, at, diag);
        forward.timeout = match optional_duration(&proto.timeout, at, "timeout", diag) {
            Some(timeout) => Some(timeout).filter(|it| !it.is_zero()),
            None => Some(TIMEOUT),
        };
        forward.idle_timeout = optional_duration(&proto.idle_timeout, at, "idle_timeout", diag);
        stream_bounds(&mut forward, proto, at, diag);
        forward.retry = self.retry(route, proto, at, diag).map(Arc::new);
        forward.path_rewrite = path_rewrite(proto, at, diag);
        forward.host_rewrite = host_rewrite(proto, at, diag);
        upgrades(&mut forward, proto, at, diag);
        let host = self.host;
        forward.include_request_attempt_count =
            host.is_some_and(|it| it.include_request_attempt_count);
        forward.include_attempt_count_in_response =
            host.is_some_and(|it| it.include_attempt_count_in_response);
        forward.clusters = clusters?;
        Some(forward)
    }

    fn clusters(
        &self,
        proto: &pb::RouteAction,
        edits: [&HeaderEdits; 2],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<WeightedClusters> {
        use pb::route_action::ClusterSpecifier;
        let refused = match &proto.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
                return Some(Forward::to(shared(name)).clusters);
            }
            Some(ClusterSpecifier::Cluster(_)) => "cluster must not be empty",
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let at = at.field("weighted_clusters");
                return self.weighted(weighted, edits, &at, diag);
            }
            Some(ClusterSpecifier::ClusterHeader(_)) => "cluster_header is not supported yet",
            Some(
                ClusterSpecifier::ClusterSpecifierPlugin(_)
                | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
            ) => "cluster specifier plugins are not supported",
            None => "has no cluster_specifier",
        };
        diag.fault(at.clone(), refused);
        None
    }

    fn weighted(
        &self,
        proto: &pb::WeightedCluster,
        edits: [&HeaderEdits; 2],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<WeightedClusters> {
        if proto.random_value_specifier.is_some() {
            diag.fault(
                at.clone(),
                "choosing a cluster by header or hash is not supported yet",
            );
        }
        let mut clusters = Vec::with_capacity(proto.clusters.len());
        for (index, cluster) in proto.clusters.iter().enumerate() {
            let at = at.field("clusters").index(index);
            clusters.push(self.weighted_cluster(cluster, edits, &at, diag));
        }
        let total: u64 = clusters.iter().map(|it| u64::from(it.weight)).sum();
        match u32::try_from(total) {
            Ok(total @ 1..) => Some(WeightedClusters { clusters, total }),
            _ => {
                let rule = format!("weights must add up to 1 to 4294967295, got {total}");
                diag.fault(at.field("clusters"), rule);
                None
            }
        }
    }

    fn weighted_cluster(
        &self,
        proto: &pb::weighted_cluster::ClusterWeight,
        [request, response]: [&HeaderEdits; 2],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> WeightedCluster {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("cluster_header", !proto.cluster_header.is_empty());
        refuse("metadata_match", proto.metadata_match.is_some());
        refuse(
            "host_rewrite_literal",
            proto.host_rewrite_specifier.is_some(),
        );
        if proto.name.is_empty() {
            diag.fault(at.field("name"), "must not be empty");
        }
        let (add, remove) = (
            &proto.request_headers_to_add,
            &proto.request_headers_to_remove,
        );
        let mine = HeaderEdits::parse(add, remove, "request", at, diag);
        let request_headers = self.behind(mine, request);
        let (add, remove) = (
            &proto.response_headers_to_add,
            &proto.response_headers_to_remove,
        );
        let mine = HeaderEdits::parse(add, remove, "response", at, diag);
        WeightedCluster {
            name: shared(&proto.name),
            weight: u32_or(&proto.weight, 0),
            request_headers,
            response_headers: self.behind(mine, response),
            overrides: FilterOverrides::parse(&proto.typed_per_filter_config, at, diag),
        }
    }

    /// A cluster's edits as they must be to be made after the route's: where the route has the last word, only what
    /// it leaves.
    fn behind(&self, mine: HeaderEdits, route: &HeaderEdits) -> HeaderEdits {
        match self.most_specific_wins {
            true => mine,
            false => mine.yielding_to(route),
        }
    }

    fn retry(
        &self,
        route: &pb::Route,
        proto: &pb::RouteAction,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<RetryPolicy> {
        let limits = [
            route.request_body_buffer_limit.as_ref().map(|it| it.value),
            route
                .per_request_buffer_limit_bytes
                .as_ref()
                .map(|it| it.value.into()),
            self.host?
                .request_body_buffer_limit
                .as_ref()
                .map(|it| it.value),
            self.host?
                .per_request_buffer_limit_bytes
                .as_ref()
                .map(|it| it.value.into()),
        ];
        let limit = limits.into_iter().flatten().next();
        let limit = limit.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let host_policy = self.host.and_then(|host| host.retry_policy.as_ref());
        let policy = proto.retry_policy.as_ref().or(host_policy)?;
        Some(RetryPolicy::parse(
            policy,
            limit,
            &at.field("retry_policy"),
            diag,
        ))
    }
}

fn refuse_unsupported(proto: &pb::RouteAction, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("metadata_match", proto.metadata_match.is_some());
    refuse(
        "request_mirror_policies",
        !proto.request_mirror_policies.is_empty(),
    );
    refuse(
        "retry_policy_typed_config",
        proto.retry_policy_typed_config.is_some(),
    );
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    // Balancers that need a hash are refused with their cluster; the others do not read it.
    ignored("hash_policy", !proto.hash_policy.is_empty());
    ignored("hedge_policy", proto.hedge_policy.is_some());
    ignored("rate_limits", !proto.rate_limits.is_empty());
    ignored("cors", proto.cors.is_some());
    ignored("priority", proto.priority != 0);
    ignored("append_x_forwarded_host", proto.append_x_forwarded_host);
    ignored(
        "internal_redirect_policy",
        proto.internal_redirect_policy.is_some(),
    );
    ignored(
        "cluster_not_found_response_code",
        proto.cluster_not_found_response_code != 0,
    );
}

/// `max_stream_duration` and its older forms.
fn stream_bounds(
    forward: &mut Forward,
    proto: &pb::RouteAction,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    let above_zero = |it: &Duration| !it.is_zero();
    let bounds = proto.max_stream_duration.unwrap_or_default();
    let below = at.field("max_stream_duration");
    let max = optional_duration(
        &bounds.max_stream_duration,
        &below,
        "max_stream_duration",
        diag,
    );
    forward.max_stream_duration = max.filter(above_zero);
    let (grpc_max, offset, timeout) = match &bounds.grpc_timeout_header_max {
        Some(max) => (max, &bounds.grpc_timeout_header_offset, RouteTimeout::Holds),
        None => match &proto.max_grpc_timeout {
            Some(max) => (max, &proto.grpc_timeout_offset, RouteTimeout::Replaced),
            None => return,
        },
    };
    let max = diag.keep(below.field("grpc_timeout_header_max"), duration(grpc_max));
    let offset = optional_duration(offset, &below, "grpc_timeout_header_offset", diag);
    forward.grpc_timeout = Some(GrpcTimeout {
        max: max.filter(above_zero),
        offset: offset.unwrap_or_default(),
        timeout,
    });
}

fn path_rewrite(proto: &pb::RouteAction, at: &FieldPath, diag: &mut Diagnostics) -> PathRewrite {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("path_rewrite_policy", proto.path_rewrite_policy.is_some());
    refuse("path_rewrite", !proto.path_rewrite.is_empty());
    match (&proto.regex_rewrite, proto.prefix_rewrite.as_str()) {
        (None, "") => PathRewrite::Keep,
        (None, prefix) => PathRewrite::Prefix(shared(prefix)),
        (Some(rewrite), "") => {
            let rewrite = regex_rewrite(rewrite);
            diag.keep(at.field("regex_rewrite"), rewrite)
                .unwrap_or_default()
        }
        (Some(_), _) => {
            diag.fault(at.clone(), "has both prefix_rewrite and regex_rewrite");
            PathRewrite::Keep
        }
    }
}

fn host_rewrite(proto: &pb::RouteAction, at: &FieldPath, diag: &mut Diagnostics) -> HostRewrite {
    use pb::route_action::HostRewriteSpecifier as Specifier;
    let refused = match &proto.host_rewrite_specifier {
        None => return HostRewrite::Keep,
        Some(Specifier::HostRewriteLiteral(host)) if !host.is_empty() => {
            return HostRewrite::Literal(shared(host));
        }
        Some(Specifier::HostRewriteLiteral(_)) => return HostRewrite::Keep,
        Some(Specifier::AutoHostRewrite(auto)) => {
            return match auto.value {
                true => HostRewrite::EndpointHostname,
                false => HostRewrite::Keep,
            };
        }
        Some(Specifier::HostRewriteHeader(name)) if !name.is_empty() => {
            return HostRewrite::Header(name.to_ascii_lowercase().into());
        }
        Some(Specifier::HostRewriteHeader(_)) => "host_rewrite_header must not be empty",
        Some(Specifier::HostRewritePathRegex(_)) => "host_rewrite_path_regex is not supported yet",
        Some(Specifier::HostRewrite(_)) => "host_rewrite with substitutions is not supported yet",
    };
    diag.fault(at.clone(), refused);
    HostRewrite::Keep
}

fn upgrades(
    forward: &mut Forward,
    proto: &pb::RouteAction,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    for (index, config) in proto.upgrade_configs.iter().enumerate() {
        let at = at.field("upgrade_configs").index(index);
        let kind = config.upgrade_type.to_ascii_lowercase();
        if let Some(connect) = &config.connect_config {
            forward.terminate_connect |= kind == "connect";
            if connect.allow_post || connect.proxy_protocol_config.is_some() {
                let rule = "allow_post and proxy_protocol_config are not supported yet";
                diag.fault(at.field("connect_config"), rule);
            }
        }
        let enabled = bool_or(&config.enabled, true);
        forward.upgrades.push((kind.into(), enabled));
    }
}
