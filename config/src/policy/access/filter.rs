//! Reading the RBAC filters: rules, their shadow, and what becomes of what is under way.

use weft_xds_proto::pb::envoy::config::rbac::v3 as rbac;
use weft_xds_proto::pb::envoy::extensions::filters::http::rbac::v3 as http;
use weft_xds_proto::pb::envoy::extensions::filters::network::rbac::v3 as network;

use super::{AccessAction, AccessFilter, AccessRules};
use crate::diag::{Diagnostics, FieldPath};

/// The type name of the HTTP filter's configuration.
pub const HTTP_RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
/// The type name of the network filter's configuration.
pub const NETWORK_RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// How the name of an HTTP filter ends whose rules are judged again whenever they change, for requests that are under way: what
/// `enforcement_type: CONTINUOUS` says of a network filter, and RBAC of HTTP has no field for.
pub const CONTINUOUS: &str = ".continuous";

/// What becomes of a request or connection that is under way when the rules no longer allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnRevoke {
    /// It goes on to its end.
    #[default]
    Keep,
    /// It is cut.
    Close,
}

impl AccessFilter {
    /// Reads the HTTP filter called `name`.
    pub fn parse_http(
        proto: &http::Rbac,
        name: &str,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        refuse_matchers(
            [proto.matcher.is_some(), proto.shadow_matcher.is_some()],
            at,
            diag,
        );
        if proto.track_per_rule_stats {
            let why = "is not supported yet and ignored";
            diag.warn(at.field("track_per_rule_stats"), why);
        }
        let rules = rules(&proto.rules, &at.field("rules"), diag);
        let shadow = rules_of_shadow(&proto.shadow_rules, at, diag);
        Some(Self {
            name: proto.rules_stat_prefix.as_str().into(),
            rules: rules?,
            shadow: shadow?,
            shadow_name: proto.shadow_rules_stat_prefix.as_str().into(),
            on_revoke: match name.ends_with(CONTINUOUS) {
                true => OnRevoke::Close,
                false => OnRevoke::Keep,
            },
        })
    }

    /// Reads the network filter.
    pub fn parse_network(
        proto: &network::Rbac,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use network::rbac::EnforcementType;
        refuse_matchers(
            [proto.matcher.is_some(), proto.shadow_matcher.is_some()],
            at,
            diag,
        );
        if proto.delay_deny.is_some() {
            let why = "is not supported yet: connections are closed at once";
            diag.warn(at.field("delay_deny"), why);
        }
        let on_revoke = match EnforcementType::try_from(proto.enforcement_type) {
            Ok(EnforcementType::OneTimeOnFirstByte) => Ok(OnRevoke::Keep),
            Ok(EnforcementType::Continuous) => Ok(OnRevoke::Close),
            Err(_) => Err(format!("has no value {}", proto.enforcement_type)),
        };
        let on_revoke = diag.keep(at.field("enforcement_type"), on_revoke);
        let (rules, shadow) = (
            rules(&proto.rules, &at.field("rules"), diag)?,
            rules_of_shadow(&proto.shadow_rules, at, diag)?,
        );
        refuse_headers(&rules, at.field("rules"), diag);
        refuse_headers(&shadow, at.field("shadow_rules"), diag);
        Some(Self {
            name: proto.stat_prefix.as_str().into(),
            rules,
            shadow,
            shadow_name: proto.shadow_rules_stat_prefix.as_str().into(),
            on_revoke: on_revoke?,
        })
    }
}

/// The other form of rules, a matching tree, is not built.
fn refuse_matchers(given: [bool; 2], at: &FieldPath, diag: &mut Diagnostics) {
    for (name, given) in ["matcher", "shadow_matcher"].into_iter().zip(given) {
        if given {
            diag.fault(at.field(name), "is not supported yet; use rules");
        }
    }
}

/// A connection has no headers: what would be decided by their absence alone is not what anybody meant (Envoy).
fn refuse_headers(rules: &Option<AccessRules>, at: FieldPath, diag: &mut Diagnostics) {
    let policies = rules.iter().flat_map(|rules| &rules.policies);
    let mut conditions = policies.flat_map(|it| it.permissions.iter().chain(&it.principals));
    if conditions.any(|condition| condition.asks_headers()) {
        diag.fault(at, "has a condition on a header, and connections have none");
    }
}

/// The outer `None` is a fault; the inner one says that there are no rules, which lets everything pass.
fn rules(
    proto: &Option<rbac::Rbac>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Option<AccessRules>> {
    let Some(proto) = proto else {
        return Some(None);
    };
    let rules = AccessRules::parse(proto, at, diag)?;
    if rules.action == AccessAction::Log {
        let why =
            "LOG lets everything pass and is not told to access logs; nothing else comes of it";
        diag.warn(at.field("action"), why);
    }
    Some(Some(rules))
}

fn rules_of_shadow(
    proto: &Option<rbac::Rbac>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Option<AccessRules>> {
    rules(proto, &at.field("shadow_rules"), diag)
}
