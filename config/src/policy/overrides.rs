//! Reading `typed_per_filter_config`: filters as a route, virtual host or weighted cluster wants them.

use std::collections::HashMap;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::route::v3::FilterConfig;
use weft_xds_proto::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use weft_xds_proto::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
use weft_xds_proto::pb::google::protobuf::Any;

use super::access::HTTP_RBAC;
use super::authn::{JWT_AUTHN_NAME, JWT_PER_ROUTE, JwtOverride};
use super::{Fault, FilterOverrides, LocalRateLimit};
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{type_name, unpack};

/// Type names of the configurations that are known, here and in a listener's filters.
pub(crate) const LOCAL_RATE_LIMIT: &str =
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
pub(crate) const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// Names under which a filter that is only switched off is known.
const LOCAL_RATE_LIMIT_NAME: &str = "envoy.filters.http.local_ratelimit";
const FAULT_NAME: &str = "envoy.filters.http.fault";

impl FilterOverrides {
    /// Reads one level's configurations.
    pub(crate) fn parse(
        proto: &HashMap<String, Any>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let at = at.field("typed_per_filter_config");
        let mut overrides = Self::default();
        let mut names: Vec<_> = proto.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, config) in names {
            overrides.add(name, config, &at.key(name), diag);
        }
        overrides
    }

    /// These, and what they leave open from the less specific `others`.
    pub(crate) fn or(&self, others: &Self) -> Self {
        let either =
            |mine: &Option<Arc<_>>, other: &Option<_>| mine.clone().or_else(|| other.clone());
        Self {
            local_rate_limit: either(&self.local_rate_limit, &others.local_rate_limit),
            fault: self.fault.clone().or_else(|| others.fault.clone()),
            jwt: self.jwt.clone().or_else(|| others.jwt.clone()),
        }
    }

    fn add(&mut self, name: &str, config: &Any, at: &FieldPath, diag: &mut Diagnostics) {
        match type_name(config) {
            LOCAL_RATE_LIMIT => {
                if let Some(proto) = unpack::<local_ratelimit::LocalRateLimit>(config, at, diag) {
                    let limit = LocalRateLimit::parse(&proto, at, diag);
                    self.local_rate_limit = Some(Arc::new(limit));
                }
            }
            FAULT => {
                if let Some(proto) = unpack::<HttpFault>(config, at, diag) {
                    self.fault = Some(Arc::new(Fault::parse(&proto, at, diag)));
                }
            }
            JWT_PER_ROUTE => {
                if let Some(proto) = unpack(config, at, diag) {
                    self.jwt = JwtOverride::parse(&proto, at, diag);
                }
            }
            FILTER_CONFIG => {
                if let Some(proto) = unpack::<FilterConfig>(config, at, diag) {
                    self.add_wrapped(name, &proto, at, diag);
                }
            }
            // Ignored, it would let in whom a route keeps out.
            RBAC_PER_ROUTE | HTTP_RBAC => {
                diag.fault(
                    at.clone(),
                    "RBAC of a route is not supported yet; use that of the listener",
                );
            }
            // Without its filter in the listener it does nothing, and a listener with that filter is refused or
            // answers 500.
            other => diag.warn(at.clone(), format!("{other} is not supported and ignored")),
        }
    }

    fn add_wrapped(
        &mut self,
        name: &str,
        proto: &FilterConfig,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) {
        match (&proto.config, proto.disabled) {
            (_, true) if name == LOCAL_RATE_LIMIT_NAME => {
                self.local_rate_limit = Some(Arc::new(LocalRateLimit::off()));
            }
            (_, true) if name == FAULT_NAME => self.fault = Some(Arc::new(Fault::off())),
            (_, true) if name == JWT_AUTHN_NAME => self.jwt = Some(JwtOverride::Off),
            (_, true) => diag.warn(at.clone(), "disables a filter that is not known"),
            // One level is what Envoy takes, and what keeps hostile input from nesting.
            (Some(config), false) if type_name(config) != FILTER_CONFIG => {
                self.add(name, config, &at.field("config"), diag);
            }
            (_, false) => diag.fault(at.field("config"), "has no filter's configuration"),
        }
    }
}
