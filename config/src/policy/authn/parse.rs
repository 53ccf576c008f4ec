//! Reading `JwtAuthentication` and what routes say instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::requirement::Reader;
use super::{JwtAuthn, JwtOverride, Provider, Requirement, Rule};
use crate::diag::{Diagnostics, FieldPath};
use crate::route::RouteMatch;

/// The type name of the filter's configuration.
pub const JWT_AUTHN: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// The type name of what routes say instead.
pub const JWT_PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
/// What the filter is called; rules find what tokens say under this name.
pub const JWT_AUTHN_NAME: &str = "envoy.filters.http.jwt_authn";

/// Each request may have to be looked at for all of them.
const PROVIDERS_MAX: usize = 64;
const RULES_MAX: usize = 1000;

impl JwtAuthn {
    /// Reads the filter.
    ///
    /// `None` means that it cannot be used.
    pub fn parse(
        proto: &pb::JwtAuthentication,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut refuse = |name: &str, given: bool, rule: String| {
            if given {
                diag.fault(at.field(name), rule);
            }
        };
        let rules = proto.filter_state_rules.is_some();
        refuse(
            "filter_state_rules",
            rules,
            "is not supported: nothing here writes filter state".to_owned(),
        );
        let many = proto.providers.len();
        refuse(
            "providers",
            many > PROVIDERS_MAX,
            format!("must be at most {PROVIDERS_MAX}, got {many}"),
        );
        let many = proto.rules.len();
        refuse(
            "rules",
            many > RULES_MAX,
            format!("must be at most {RULES_MAX}, got {many}"),
        );
        let written: BTreeMap<&str, &pb::JwtProvider> = proto
            .providers
            .iter()
            .map(|(name, it)| (name.as_str(), it))
            .collect();
        let at_providers = at.field("providers");
        let providers: Vec<_> = written
            .iter()
            .filter_map(|(name, it)| Provider::parse(name, it, &at_providers.key(name), diag))
            .map(Arc::new)
            .collect();
        let index: BTreeMap<&str, usize> = written
            .keys()
            .enumerate()
            .map(|(index, name)| (*name, index))
            .collect();
        let mut reader = Reader::new(&index);
        let named = named(proto, &mut reader, at, diag);
        let rules: Vec<_> = (0..)
            .zip(&proto.rules)
            .filter_map(|(index, it)| {
                rule(
                    it,
                    proto,
                    &mut reader,
                    &at.field("rules").index(index),
                    diag,
                )
            })
            .collect();
        let complete = providers.len() == written.len()
            && rules.len() == proto.rules.len()
            && named.len() == proto.requirement_map.len();
        complete.then(|| Self {
            name: proto.stat_prefix.as_str().into(),
            providers: providers.into(),
            rules: rules.into(),
            named: named
                .into_iter()
                .filter_map(|(name, it)| Some((name, it?)))
                .collect(),
            bypass_cors_preflight: proto.bypass_cors_preflight,
            strip_failure_response: proto.strip_failure_response,
        })
    }
}

fn named(
    proto: &pb::JwtAuthentication,
    reader: &mut Reader<'_>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> BTreeMap<Arc<str>, Option<Requirement>> {
    let at = at.field("requirement_map");
    let written: BTreeMap<&str, &pb::JwtRequirement> = proto
        .requirement_map
        .iter()
        .map(|(name, it)| (name.as_str(), it))
        .collect();
    let read = written.into_iter().filter_map(|(name, it)| {
        let at = at.key(name);
        let requirement = reader.read(it, &at, diag)?;
        if requirement.is_none() {
            // A route that names it must not be taken for one that names nothing.
            diag.fault(at, "needs nothing; let routes disable the filter");
        }
        Some((Arc::from(name), requirement))
    });
    read.collect()
}

fn rule(
    proto: &pb::RequirementRule,
    filter: &pb::JwtAuthentication,
    reader: &mut Reader<'_>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Rule> {
    use pb::requirement_rule::RequirementType as Type;
    let Some(written) = &proto.r#match else {
        diag.fault(at.field("match"), "is missing");
        return None;
    };
    let at_match = at.field("match");
    let matches = RouteMatch::parse(written, &at_match, diag);
    if matches.runtime_per_million < 1_000_000 {
        diag.fault(
            at_match.field("runtime_fraction"),
            "is not supported: a share of requests would get in",
        );
    }
    let requires = match &proto.requirement_type {
        None => None,
        Some(Type::Requires(requirement)) => {
            reader.read(requirement, &at.field("requires"), diag)?
        }
        Some(Type::RequirementName(name)) => {
            let at = at.field("requirement_name");
            let Some(requirement) = filter.requirement_map.get(name) else {
                diag.fault(
                    at,
                    format!("there is no requirement {name:?} in requirement_map"),
                );
                return None;
            };
            reader.read(requirement, &at, diag)?
        }
    };
    Some(Rule { matches, requires })
}

impl JwtOverride {
    /// Reads what a route says.
    pub(crate) fn parse(
        proto: &pb::PerRouteConfig,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        use pb::per_route_config::RequirementSpecifier as Specifier;
        match &proto.requirement_specifier {
            Some(Specifier::Disabled(true)) => Some(Self::Off),
            Some(Specifier::Disabled(false)) => {
                diag.fault(at.field("disabled"), "must be true");
                None
            }
            Some(Specifier::RequirementName(name)) if !name.is_empty() => {
                Some(Self::Named(name.as_str().into()))
            }
            _ => {
                diag.fault(at.clone(), "must have either disabled or requirement_name");
                None
            }
        }
    }
}
