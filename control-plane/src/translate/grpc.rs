//! `GRPCRoute` rules as xDS routes.

use std::cmp::Reverse;

use weft_config::gateway_api::grpc_route::{GrpcFilter, GrpcMatch, GrpcMethodMatch, GrpcRule};
use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::{GrpcRoute, Kind, Object};
use weft_xds_proto::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};

use super::http::regex_escape;
use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Ranked, Shares};
use crate::snapshot::proto::duration;

/// All conditions of all rules of one route.
pub(crate) fn routes(
    inputs: &UnitInputs,
    object: &Object,
    route: &GrpcRoute,
    port: u16,
    port_name: Option<&str>,
) -> Vec<Ranked> {
    let everything = [GrpcRule {
        name: None,
        matches: vec![GrpcMatch::default()],
        filters: Vec::new(),
        backend_refs: Vec::new(),
    }];
    let itself = route.rules.is_empty();
    let rules: &[GrpcRule] = if itself { &everything } else { &route.rules };
    let mut ranked = Vec::new();
    for (rule_index, rule) in rules.iter().enumerate() {
        let policy = RoutePolicy::find(inputs, object, rule.name.as_deref(), port_name);
        for (match_index, matches) in rule.matches.iter().enumerate() {
            let name = format!("{}/{rule_index}/{match_index}", object.key()).replace(' ', "/");
            let template = template(inputs, object, rule, matches, &policy, name);
            let shares = match itself {
                true => super::unit::itself(inputs, port),
                false => shares(inputs, object, rule),
            };
            let timeout = policy.request_timeout().map(|span| span.duration());
            let action = RouteAction {
                timeout: Some(duration(timeout.unwrap_or_default())),
                idle_timeout: policy.idle_timeout().map(|span| duration(span.duration())),
                retry_policy: policy.retry(),
                ..RouteAction::default()
            };
            let rank = rank(matches);
            // A gRPC client reads 503 as UNAVAILABLE, which is what the specification asks for.
            let built = rules::forward(template, shares, action, 503);
            ranked.extend(built.into_iter().map(|route| Ranked { rank, route }));
        }
    }
    ranked
}

fn shares(inputs: &UnitInputs, object: &Object, rule: &GrpcRule) -> Shares {
    let backends = rule.backend_refs.iter().map(|backend| {
        let (request, response) = header_filters(&backend.filters);
        (&backend.backend, request, response)
    });
    Shares::new(
        inputs,
        Kind::GrpcRoute,
        &object.metadata.namespace,
        backends,
    )
}

fn template(
    inputs: &UnitInputs,
    object: &Object,
    rule: &GrpcRule,
    matches: &GrpcMatch,
    policy: &RoutePolicy<'_>,
    name: String,
) -> Route {
    let (request, response) = header_filters(&rule.filters);
    let (request_headers_to_add, request_headers_to_remove) = rules::header_edits(&request);
    let (response_headers_to_add, response_headers_to_remove) = rules::header_edits(&response);
    let faults = rule.filters.iter().filter_map(|filter| match filter {
        GrpcFilter::ExtensionRef { reference } => Some(reference.name.as_str()),
        _ => None,
    });
    Route {
        name,
        r#match: Some(RouteMatch {
            path_specifier: Some(path(matches.method.as_ref())),
            headers: rules::header_matchers(&matches.headers),
            grpc: Some(GrpcRouteMatchOptions::default()),
            ..RouteMatch::default()
        }),
        typed_per_filter_config: super::filters::per_route(inputs, object, policy, faults),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        ..Route::default()
    }
}

/// A call's path is `/SERVICE/METHOD`.
fn path(method: Option<&GrpcMethodMatch>) -> PathSpecifier {
    const ANY: &str = "[^/]+";
    match method {
        None => PathSpecifier::Prefix("/".to_owned()),
        Some(GrpcMethodMatch::Exact { service, method }) => match (service, method) {
            (Some(service), Some(method)) => PathSpecifier::Path(format!("/{service}/{method}")),
            (Some(service), None) => PathSpecifier::Prefix(format!("/{service}/")),
            (None, Some(method)) => {
                PathSpecifier::SafeRegex(rules::regex(&format!("/{ANY}/{}", regex_escape(method))))
            }
            (None, None) => PathSpecifier::Prefix("/".to_owned()),
        },
        Some(GrpcMethodMatch::RegularExpression { service, method }) => {
            let part =
                |text: Option<&str>| text.map_or(ANY.to_owned(), |text| format!("(?:{text})"));
            let service = part(service.as_ref().map(|text| text.as_str()));
            let method = part(method.as_ref().map(|text| text.as_str()));
            PathSpecifier::SafeRegex(rules::regex(&format!("/{service}/{method}")))
        }
    }
}

/// Gateway API, `GRPCRouteRule.matches`: the longest service, then the longest method, then the most headers.
fn rank(matches: &GrpcMatch) -> rules::Rank {
    let (kind, service, method) = match &matches.method {
        Some(GrpcMethodMatch::Exact { service, method }) => (
            0,
            service.as_ref().map_or(0, String::len),
            method.as_ref().map_or(0, String::len),
        ),
        Some(GrpcMethodMatch::RegularExpression { service, method }) => (
            1,
            service.as_ref().map_or(0, |text| text.as_str().len()),
            method.as_ref().map_or(0, |text| text.as_str().len()),
        ),
        None => (2, 0, 0),
    };
    (
        0,
        kind,
        Reverse(service),
        Reverse(method),
        Reverse(false),
        Reverse(matches.headers.len()),
        Reverse(0),
    )
}

fn header_filters(filters: &[GrpcFilter]) -> (HeaderModifier, HeaderModifier) {
    let mut edits = (HeaderModifier::default(), HeaderModifier::default());
    for filter in filters {
        match filter {
            GrpcFilter::RequestHeaderModifier { edits: request } => edits.0 = request.clone(),
            GrpcFilter::ResponseHeaderModifier { edits: response } => edits.1 = response.clone(),
            GrpcFilter::ExtensionRef { .. } => {}
        }
    }
    edits
}
