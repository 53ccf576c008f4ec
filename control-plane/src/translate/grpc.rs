//! `GRPCRoute` rules as xDS routes.

use std::borrow::Cow;

use weft_config::gateway_api::grpc_route::{GrpcFilter, GrpcMatch, GrpcMethodMatch, GrpcRule};
use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::precedence::grpc_order;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{GrpcRoute, Object};
use weft_xds_proto::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};

use super::http::regex_escape;
use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Shares};
use crate::snapshot::proto::duration;

/// All conditions of all rules of these routes, in the order in which they are tried.
pub(crate) fn routes(
    inputs: &UnitInputs,
    attached: &[(&Object, &GrpcRoute)],
    view: &PortView,
) -> Vec<Route> {
    let filled: Vec<(&Object, Cow<'_, GrpcRoute>)> = attached
        .iter()
        .map(|(object, route)| (*object, with_rules(route)))
        .collect();
    let by_age: Vec<_> = filled
        .iter()
        .map(|(object, route)| (&object.metadata, &**route))
        .collect();
    let mut built = Vec::new();
    for place in grpc_order(&by_age) {
        let found = filled.get(place.route).and_then(|(object, route)| {
            let rule = route.rules.get(place.rule)?;
            Some((*object, rule, rule.matches.get(place.matched)?))
        });
        let Some((object, rule, matches)) = found else {
            continue; // The order is made of these very routes.
        };
        let whole = attached.get(place.route);
        let shares = match whole.is_some_and(|(_, route)| route.rules.is_empty()) {
            true => super::unit::itself(inputs, view.port),
            false => shares(inputs, object, rule),
        };
        let name = rules::route_name(object, place);
        let policy = RoutePolicy::find(inputs, object, rule.name.as_deref(), view.name.as_deref());
        let template = template(inputs, object, rule, matches, &policy, name);
        // A gRPC client reads 503 as UNAVAILABLE, which is what the specification asks for.
        built.extend(rules::forward(template, shares, action(&policy), 503));
    }
    built
}

/// A route without rules sends everything to the service itself.
fn with_rules(route: &GrpcRoute) -> Cow<'_, GrpcRoute> {
    if !route.rules.is_empty() {
        return Cow::Borrowed(route);
    }
    let everything = GrpcRule {
        name: None,
        matches: vec![GrpcMatch::default()],
        filters: Vec::new(),
        backend_refs: Vec::new(),
    };
    Cow::Owned(GrpcRoute {
        rules: vec![everything],
        ..route.clone()
    })
}

fn action(policy: &RoutePolicy<'_>) -> RouteAction {
    let timeout = policy.request_timeout().map(|span| span.duration());
    RouteAction {
        timeout: Some(duration(timeout.unwrap_or_default())),
        idle_timeout: policy.idle_timeout().map(|span| duration(span.duration())),
        retry_policy: policy.retry(),
        ..RouteAction::default()
    }
}

fn shares(inputs: &UnitInputs, object: &Object, rule: &GrpcRule) -> Shares {
    let backends = rule.backend_refs.iter().map(|backend| {
        let (request, response) = header_filters(&backend.filters);
        (&backend.backend, request, response)
    });
    Shares::new(inputs, object, backends)
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
