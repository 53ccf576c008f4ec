//! Reading load balancing policies, old and new form.

use weft_xds_proto::pb::envoy::config::cluster::v3 as pb;
use weft_xds_proto::pb::envoy::extensions::load_balancing_policies as policies;
use weft_xds_proto::pb::google::protobuf::{Any, UInt32Value};

use super::Balancer;
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{type_name, u32_or, unpack};

/// How deep policies may nest (gRFC A52 sets 16).
const DEPTH_MAX: usize = 16;

impl Balancer {
    pub(super) fn parse(
        proto: &pb::Cluster,
        original_dst: bool,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let balancer = match &proto.load_balancing_policy {
            Some(policy) => {
                let at = at.field("load_balancing_policy");
                Self::from_policies(policy, DEPTH_MAX, &at, diag)?
            }
            None => Self::legacy(proto, at, diag)?,
        };
        if original_dst != (balancer == Self::OriginalDst) {
            let rule = "CLUSTER_PROVIDED and ORIGINAL_DST go only together";
            diag.fault(at.field("lb_policy"), rule);
        }
        Some(balancer)
    }

    fn legacy(proto: &pb::Cluster, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        use pb::cluster::{LbConfig, LbPolicy};
        let refused = match LbPolicy::try_from(proto.lb_policy) {
            Ok(LbPolicy::RoundRobin) => return Some(Self::RoundRobin),
            Ok(LbPolicy::Random) => return Some(Self::Random),
            Ok(LbPolicy::ClusterProvided) => return Some(Self::OriginalDst),
            Ok(LbPolicy::LeastRequest) => {
                let choices = match &proto.lb_config {
                    Some(LbConfig::LeastRequestLbConfig(config)) => &config.choice_count,
                    _ => &None,
                };
                return least_request(choices, &at.field("least_request_lb_config"), diag);
            }
            Ok(LbPolicy::LoadBalancingPolicyConfig) => "needs load_balancing_policy".to_owned(),
            Ok(policy) => format!("{} is not supported yet", policy.as_str_name()),
            Err(_) => format!("has no value {}", proto.lb_policy),
        };
        diag.fault(at.field("lb_policy"), refused);
        None
    }

    /// The first policy that is known counts (gRFC A52).
    fn from_policies(
        proto: &pb::LoadBalancingPolicy,
        depth: usize,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut unknown = Vec::new();
        for (index, policy) in proto.policies.iter().enumerate() {
            let extension = policy.typed_extension_config.as_ref();
            let Some(config) = extension.and_then(|it| it.typed_config.as_ref()) else {
                continue;
            };
            let at = at.field("policies").index(index);
            match Self::from_extension(config, depth, &at, diag) {
                Known::Yes(balancer) => return balancer,
                Known::No => unknown.push(type_name(config)),
            }
        }
        let rule = format!(
            "none of the policies [{}] is supported yet",
            unknown.join(", ")
        );
        diag.fault(at.clone(), rule);
        None
    }

    fn from_extension(config: &Any, depth: usize, at: &FieldPath, diag: &mut Diagnostics) -> Known {
        let name = type_name(config);
        let Some(policy) = name.strip_prefix("envoy.extensions.load_balancing_policies.") else {
            return Known::No;
        };
        Known::Yes(match policy {
            "round_robin.v3.RoundRobin" => Some(Self::RoundRobin),
            "random.v3.Random" => Some(Self::Random),
            "cluster_provided.v3.ClusterProvided" => Some(Self::OriginalDst),
            "least_request.v3.LeastRequest" => {
                let config = unpack::<policies::least_request::v3::LeastRequest>(config, at, diag);
                config.and_then(|it| least_request(&it.choice_count, at, diag))
            }
            "wrr_locality.v3.WrrLocality" => {
                let config = unpack::<policies::wrr_locality::v3::WrrLocality>(config, at, diag);
                let at = at.field("endpoint_picking_policy");
                match (
                    config.map(|it| it.endpoint_picking_policy.unwrap_or_default()),
                    depth,
                ) {
                    (Some(inner), 1..) => Self::from_policies(&inner, depth - 1, &at, diag),
                    (Some(_), 0) => {
                        diag.fault(at, format!("policies nest deeper than {DEPTH_MAX}"));
                        None
                    }
                    (None, _) => None,
                }
            }
            _ => return Known::No,
        })
    }
}

/// Whether a policy is one of ours; what was made of it is `None` where it had a fault.
enum Known {
    Yes(Option<Balancer>),
    No,
}

fn least_request(
    choices: &Option<UInt32Value>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Balancer> {
    let choices = u32_or(choices, 2);
    if choices < 2 {
        let rule = format!("must be at least 2, got {choices}");
        diag.fault(at.field("choice_count"), rule);
    }
    Some(Balancer::LeastRequest { choices })
}
