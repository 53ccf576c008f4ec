//! `HTTPRoute` rules as xDS routes.

use std::borrow::Cow;

use weft_config::gateway_api::http_route::{
    HeaderModifier, HttpFilter, HttpMatch, HttpRetry, HttpRule, HttpTimeouts, PathMatch,
    PathModifier, RequestRedirect, UrlRewrite,
};
use weft_config::gateway_api::precedence::http_order;
use weft_config::gateway_api::resources::PortView;
use weft_config::gateway_api::{HttpRoute, Object};
use weft_xds_proto::pb::envoy::config::route::v3::{
    QueryParameterMatcher, RedirectAction, RetryPolicy, Route, RouteAction, RouteMatch,
    query_parameter_matcher::QueryParameterMatchSpecifier, redirect_action,
    retry_policy::RetryBackOff, route::Action, route_action::HostRewriteSpecifier,
    route_match::PathSpecifier,
};
use weft_xds_proto::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::rules::{self, Shares};
use super::template;
use crate::snapshot::proto::{duration, u32_value};

/// All conditions of all rules of these routes, in the order in which they are tried.
pub(crate) fn routes(
    inputs: &UnitInputs,
    attached: &[(&Object, &HttpRoute)],
    view: &PortView,
) -> Vec<Route> {
    let filled: Vec<(&Object, Cow<'_, HttpRoute>)> = attached
        .iter()
        .map(|(object, route)| (*object, with_rules(route)))
        .collect();
    let by_age: Vec<_> = filled
        .iter()
        .map(|(object, route)| (&object.metadata, &**route))
        .collect();
    let mut built = Vec::new();
    for place in http_order(&by_age) {
        let found = filled.get(place.route).and_then(|(object, route)| {
            let rule = route.rules.get(place.rule)?;
            Some((*object, rule, rule.matches.get(place.matched)?))
        });
        let Some((object, rule, matches)) = found else {
            continue; // The order is made of these very routes.
        };
        let whole = attached.get(place.route);
        let itself = whole.is_some_and(|(_, route)| route.rules.is_empty());
        let name = rules::route_name(object, place);
        let policy = RoutePolicy::find(inputs, object, rule.name.as_deref(), view.name.as_deref());
        let edits = header_filters(&rule.filters);
        let extensions = rule.filters.iter().filter_map(HttpFilter::extension);
        let conditions = route_match(matches);
        let template = template::build(
            inputs, object, &policy, name, conditions, &edits, extensions,
        );
        built.extend(match redirect(rule) {
            Some(redirect) => vec![Route {
                action: Some(Action::Redirect(redirect_action(redirect, &matches.path))),
                ..template
            }],
            None => {
                let action = action(rule, &matches.path, &policy);
                let shares = shares(inputs, object, rule, itself.then_some(view.port));
                rules::forward(template, shares, action, 500)
            }
        });
    }
    built
}

/// A route without rules sends everything to the service itself.
fn with_rules(route: &HttpRoute) -> Cow<'_, HttpRoute> {
    if !route.rules.is_empty() {
        return Cow::Borrowed(route);
    }
    let everything = HttpRule {
        name: None,
        matches: vec![HttpMatch::default()],
        filters: Vec::new(),
        backend_refs: Vec::new(),
        timeouts: HttpTimeouts::default(),
        retry: None,
    };
    Cow::Owned(HttpRoute {
        rules: vec![everything],
        ..route.clone()
    })
}

/// The service itself where the route has no rules, else the rule's backends.
fn shares(inputs: &UnitInputs, object: &Object, rule: &HttpRule, itself: Option<u16>) -> Shares {
    if let Some(port) = itself {
        return Shares::itself(inputs, port);
    }
    let backends = rule.backend_refs.iter().map(|backend| {
        let (request, response) = header_filters(&backend.filters);
        (&backend.backend, request, response)
    });
    Shares::new(inputs, object, backends)
}

fn route_match(matches: &HttpMatch) -> RouteMatch {
    let mut headers = rules::header_matchers(&matches.headers);
    if let Some(method) = matches.method {
        headers.push(rules::header_equals(":method", method.as_str()));
    }
    RouteMatch {
        path_specifier: Some(match &matches.path {
            PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
            PathMatch::RegularExpression(text) => {
                PathSpecifier::SafeRegex(rules::regex(text.as_str()))
            }
            PathMatch::PathPrefix(prefix) => match prefix.trim_end_matches('/') {
                "" => PathSpecifier::Prefix("/".to_owned()),
                prefix => PathSpecifier::PathSeparatedPrefix(prefix.to_owned()),
            },
        }),
        headers,
        query_parameters: matches
            .query_params
            .iter()
            .map(|parameter| QueryParameterMatcher {
                name: parameter.name.clone(),
                query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(
                    rules::string_matcher(&parameter.value),
                )),
            })
            .collect(),
        ..RouteMatch::default()
    }
}

fn action(rule: &HttpRule, path: &PathMatch, policy: &RoutePolicy<'_>) -> RouteAction {
    let request = rule.timeouts.request.or(policy.request_timeout());
    let attempt = rule.timeouts.backend_request.filter(|span| !span.is_zero());
    let mut retry = rule.retry.as_ref().map(retry_policy).or(policy.retry());
    let mut timeout = request.map(|span| span.duration()).unwrap_or_default();
    match (attempt, &mut retry) {
        (Some(attempt), Some(retry)) => retry.per_try_timeout = Some(duration(attempt.duration())),
        // With one attempt the bound of an attempt is that of the request.
        (Some(attempt), None) if timeout.is_zero() || attempt.duration() < timeout => {
            timeout = attempt.duration();
        }
        _ => {}
    }
    let mut action = RouteAction {
        timeout: Some(duration(timeout)),
        retry_policy: retry,
        ..template::action(policy)
    };
    for filter in &rule.filters {
        if let HttpFilter::UrlRewrite { rewrite } = filter {
            rewrite_url(&mut action, rewrite, path);
        }
    }
    action
}

fn retry_policy(retry: &HttpRetry) -> RetryPolicy {
    let backoff = retry.backoff.filter(|span| !span.is_zero());
    RetryPolicy {
        retry_on: match retry.codes.is_empty() {
            true => "connect-failure,refused-stream".to_owned(),
            false => "connect-failure,refused-stream,retriable-status-codes".to_owned(),
        },
        retriable_status_codes: retry.codes.iter().copied().map(u32::from).collect(),
        num_retries: Some(u32_value(retry.attempts.unwrap_or(1))),
        retry_back_off: backoff.map(|backoff| RetryBackOff {
            base_interval: Some(duration(backoff.duration())),
            max_interval: None,
        }),
        ..RetryPolicy::default()
    }
}

fn rewrite_url(action: &mut RouteAction, rewrite: &UrlRewrite, path: &PathMatch) {
    if let Some(host) = &rewrite.hostname {
        action.host_rewrite_specifier =
            Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
    }
    match rewrite
        .path
        .as_ref()
        .map(|modifier| PathChange::new(modifier, path))
    {
        None => {}
        Some(PathChange::Prefix(prefix)) => action.prefix_rewrite = prefix,
        Some(PathChange::Regex(rewrite)) => action.regex_rewrite = Some(rewrite),
    }
}

/// How xDS says a path modifier.
enum PathChange {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

impl PathChange {
    fn new(modifier: &PathModifier, path: &PathMatch) -> Self {
        match modifier {
            PathModifier::ReplaceFullPath { path } => Self::regex("^/.*$", path),
            PathModifier::ReplacePrefixMatch { prefix: new } => {
                let old = match path {
                    PathMatch::PathPrefix(old) => old.trim_end_matches('/'),
                    PathMatch::Exact(_) | PathMatch::RegularExpression(_) => "",
                };
                match (old, new.trim_end_matches('/')) {
                    ("", "") => Self::Prefix("/".to_owned()),
                    // The prefix that is matched is the slash itself: it has to come back.
                    ("", new) => Self::Prefix(format!("{new}/")),
                    // `/old/rest` must become `/rest`, not `//rest`, and `/old` must become `/`.
                    (old, "") => Self::regex(&format!("^{}/*", rules::regex_escape(old)), "/"),
                    (_, new) => Self::Prefix(new.to_owned()),
                }
            }
        }
    }

    fn regex(pattern: &str, substitution: &str) -> Self {
        Self::Regex(RegexMatchAndSubstitute {
            pattern: Some(rules::regex(pattern)),
            substitution: substitution.replace('\\', "\\\\"),
        })
    }
}

fn redirect(rule: &HttpRule) -> Option<&RequestRedirect> {
    rule.filters.iter().find_map(|filter| match filter {
        HttpFilter::RequestRedirect { redirect } => Some(redirect),
        _ => None,
    })
}

fn redirect_action(redirect: &RequestRedirect, path: &PathMatch) -> RedirectAction {
    use redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let default_port = redirect.scheme.map(|scheme| match scheme.as_str() {
        "https" => 443,
        _ => 80,
    });
    RedirectAction {
        scheme_rewrite_specifier: redirect
            .scheme
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.as_str().to_owned())),
        host_redirect: redirect.hostname.clone().unwrap_or_default(),
        port_redirect: redirect.port.or(default_port).map_or(0, u32::from),
        path_rewrite_specifier: redirect.path.as_ref().map(|modifier| match modifier {
            PathModifier::ReplaceFullPath { path } => {
                PathRewriteSpecifier::PathRedirect(path.clone())
            }
            modifier => match PathChange::new(modifier, path) {
                PathChange::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
                PathChange::Regex(rewrite) => PathRewriteSpecifier::RegexRewrite(rewrite),
            },
        }),
        response_code: match redirect.status_code {
            301 => RedirectResponseCode::MovedPermanently,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::Found,
        }
        .into(),
        ..RedirectAction::default()
    }
}

/// The header edits among filters: of the request, of the response.
fn header_filters(filters: &[HttpFilter]) -> (HeaderModifier, HeaderModifier) {
    let mut edits = (HeaderModifier::default(), HeaderModifier::default());
    for filter in filters {
        match filter {
            HttpFilter::RequestHeaderModifier { edits: request } => edits.0 = request.clone(),
            HttpFilter::ResponseHeaderModifier { edits: response } => edits.1 = response.clone(),
            _ => {}
        }
    }
    edits
}
