//! `GRPCRoute` rules as xDS routes.

use std::borrow::Cow;

use weft_config::gateway_api::grpc_route::{GrpcFilter, GrpcMatch, GrpcMethodMatch, GrpcRule};
use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::precedence::grpc_order;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{GrpcRoute, Object};
use weft_xds_proto::pb::envoy::config::route::v3::{
    Route, RouteMatch,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Shares};
use super::template;

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
            true => Shares::itself(inputs, view.port),
            false => shares(inputs, object, rule),
        };
        let name = rules::route_name(object, place);
        let policy = RoutePolicy::find(inputs, object, rule.name.as_deref(), view.name.as_deref());
        let edits = header_filters(&rule.filters);
        let extensions = rule.filters.iter().filter_map(GrpcFilter::extension);
        let matches = route_match(matches);
        let template = template::build(inputs, object, &policy, name, matches, &edits, extensions);
        // A gRPC client reads 503 as UNAVAILABLE, which is what the specification asks for.
        built.extend(rules::forward(
            template,
            shares,
            template::action(&policy),
            503,
        ));
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

fn shares(inputs: &UnitInputs, object: &Object, rule: &GrpcRule) -> Shares {
    let backends = rule.backend_refs.iter().map(|backend| {
        let (request, response) = header_filters(&backend.filters);
        (&backend.backend, request, response)
    });
    Shares::new(inputs, object, backends)
}

fn route_match(matches: &GrpcMatch) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(path(matches.method.as_ref())),
        headers: rules::header_matchers(&matches.headers),
        grpc: Some(GrpcRouteMatchOptions::default()),
        ..RouteMatch::default()
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
            (None, Some(method)) => PathSpecifier::SafeRegex(rules::regex(&format!(
                "/{ANY}/{}",
                rules::regex_escape(method)
            ))),
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
