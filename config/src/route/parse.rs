//! Reading `RouteConfiguration`: tables and virtual hosts.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are noticed too"
)]

mod action;
mod condition;
mod forward;
mod route;

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::route::v3 as pb;

pub(crate) use self::condition::string_match;
use super::{FilterOverrides, RouteTable, VirtualHost};
use crate::diag::{Diagnostics, FieldPath};
use crate::policy::HeaderEdits;
use crate::proto::u32_or;

impl RouteTable {
    /// Reads a route configuration, noting every fault and warning in `diag`.
    ///
    /// A route that cannot be read is a warning: it answers 500 ([`super::RouteAction::Broken`]) for every request
    /// that it might have been meant for, and its neighbours work. `None` means that the table cannot be used at all.
    pub fn parse(
        proto: &pb::RouteConfiguration,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let mut found = Diagnostics::new();
        refuse_unsupported(proto, at, &mut found);
        let level = Level::of_table(proto, at, &mut found);
        let mut hosts = Vec::with_capacity(proto.virtual_hosts.len());
        for (index, host) in proto.virtual_hosts.iter().enumerate() {
            let at = at.field("virtual_hosts").index(index);
            hosts.push(level.virtual_host(host, &at, &mut found));
        }
        let name = proto.name.as_str().into();
        let ignore_port = proto.ignore_port_in_host_matching;
        let table = Self::build(name, hosts, ignore_port, at, &mut found);
        let refused = found.has_faults();
        diag.extend(found);
        table.filter(|_| !refused)
    }
}

fn refuse_unsupported(proto: &pb::RouteConfiguration, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("vhds", proto.vhds.is_some());
    refuse("vhost_header", !proto.vhost_header.is_empty());
    refuse(
        "internal_only_headers",
        !proto.internal_only_headers.is_empty(),
    );
    refuse(
        "request_mirror_policies",
        !proto.request_mirror_policies.is_empty(),
    );
    refuse("route_specifiers", !proto.route_specifiers.is_empty());
    refuse(
        "ignore_path_parameters_in_path_matching",
        proto.ignore_path_parameters_in_path_matching,
    );
}

/// What the levels above hand down to a route.
pub(super) struct Level<'a> {
    most_specific_wins: bool,
    direct_body_bytes_max: usize,
    request_headers: HeaderEdits,
    response_headers: HeaderEdits,
    overrides: FilterOverrides,
    /// The virtual host; `None` above it.
    host: Option<&'a pb::VirtualHost>,
}

/// Longest body of a direct response where nothing is said.
const DIRECT_BODY_BYTES_MAX: u32 = 4096;

impl<'a> Level<'a> {
    fn of_table(
        proto: &pb::RouteConfiguration,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Level<'static> {
        let (add, remove) = (
            &proto.request_headers_to_add,
            &proto.request_headers_to_remove,
        );
        let request_headers = HeaderEdits::parse(add, remove, "request", at, diag);
        let (add, remove) = (
            &proto.response_headers_to_add,
            &proto.response_headers_to_remove,
        );
        let response_headers = HeaderEdits::parse(add, remove, "response", at, diag);
        let body_max = &proto.max_direct_response_body_size_bytes;
        Level {
            most_specific_wins: proto.most_specific_header_mutations_wins,
            direct_body_bytes_max: usize::try_from(u32_or(body_max, DIRECT_BODY_BYTES_MAX))
                .unwrap_or(usize::MAX),
            request_headers,
            response_headers,
            overrides: FilterOverrides::parse(&proto.typed_per_filter_config, at, diag),
            host: None,
        }
    }

    fn virtual_host(
        &self,
        proto: &pb::VirtualHost,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> VirtualHost {
        refuse_unsupported_of_host(proto, at, diag);
        if proto.domains.is_empty() {
            diag.fault(at.field("domains"), "must not be empty");
        }
        let level = self.of_host(proto, at, diag);
        let mut routes = Vec::with_capacity(proto.routes.len());
        for (index, route) in proto.routes.iter().enumerate() {
            let at = at.field("routes").index(index);
            routes.extend(level.route(route, &at, diag));
        }
        let domains = proto.domains.iter();
        VirtualHost {
            name: proto.name.as_str().into(),
            domains: domains.map(|it| it.to_ascii_lowercase().into()).collect(),
            routes,
        }
    }

    fn of_host<'h>(
        &self,
        proto: &'h pb::VirtualHost,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Level<'h> {
        let (add, remove) = (
            &proto.request_headers_to_add,
            &proto.request_headers_to_remove,
        );
        let request_headers = HeaderEdits::parse(add, remove, "request", at, diag);
        let (add, remove) = (
            &proto.response_headers_to_add,
            &proto.response_headers_to_remove,
        );
        let response_headers = HeaderEdits::parse(add, remove, "response", at, diag);
        let overrides = FilterOverrides::parse(&proto.typed_per_filter_config, at, diag);
        Level {
            most_specific_wins: self.most_specific_wins,
            direct_body_bytes_max: self.direct_body_bytes_max,
            request_headers: self.join(&request_headers, &self.request_headers),
            response_headers: self.join(&response_headers, &self.response_headers),
            overrides: overrides.or(&self.overrides),
            host: Some(proto),
        }
    }

    /// Envoy makes the edits of the most specific level first, so that the least specific has the last word, unless
    /// `most_specific_header_mutations_wins` turns the order round.
    pub(super) fn join(&self, specific: &HeaderEdits, general: &HeaderEdits) -> HeaderEdits {
        match self.most_specific_wins {
            true => general.then(specific),
            false => specific.then(general),
        }
    }
}

fn refuse_unsupported_of_host(proto: &pb::VirtualHost, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("matcher", proto.matcher.is_some());
    refuse("require_tls", proto.require_tls != 0);
    refuse(
        "request_mirror_policies",
        !proto.request_mirror_policies.is_empty(),
    );
    refuse("route_specifiers", !proto.route_specifiers.is_empty());
    refuse(
        "retry_policy_typed_config",
        proto.retry_policy_typed_config.is_some(),
    );
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("rate_limits", !proto.rate_limits.is_empty());
    ignored("cors", proto.cors.is_some());
    ignored("hedge_policy", proto.hedge_policy.is_some());
    let timed_out = proto.include_is_timeout_retry_header;
    ignored("include_is_timeout_retry_header", timed_out);
}

/// A shared empty string, for names that are not given.
pub(super) fn shared(text: &str) -> Arc<str> {
    text.into()
}

#[cfg(test)]
mod tests;
