//! Rules of HTTP and gRPC routes on their common ground: shares, and what xDS says of both.

use weft_config::gateway_api::http_route::{HeaderMatch, HeaderModifier, ValueMatch};
use weft_config::gateway_api::precedence::RuleMatch;
use weft_config::gateway_api::{BackendRef, Object};
use weft_xds_proto::pb::envoy::config::core::v3::{DataSource, data_source};
use weft_xds_proto::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
    header_value_option::HeaderAppendAction,
};
use weft_xds_proto::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteMatch, WeightedCluster,
    header_matcher, route::Action, route_action::ClusterSpecifier, weighted_cluster::ClusterWeight,
};
use weft_xds_proto::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use weft_xds_proto::pb::envoy::r#type::v3::{
    FractionalPercent, fractional_percent::DenominatorType,
};

use super::backend;
use super::inputs::UnitInputs;
use crate::snapshot::proto::u32_value;

/// Names the route of one condition after the object that it comes from: `HTTPRoute/NAMESPACE/NAME/RULE/MATCH`.
pub(crate) fn route_name(object: &Object, place: RuleMatch) -> String {
    let RuleMatch { rule, matched, .. } = place;
    format!("{}/{rule}/{matched}", object.key()).replace(' ', "/")
}

/// A share of a rule's traffic.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) cluster: String,
    pub(crate) weight: u32,
    pub(crate) request: HeaderModifier,
    pub(crate) response: HeaderModifier,
}

/// Where a rule's traffic goes.
#[derive(Debug)]
pub(crate) struct Shares {
    pub(crate) valid: Vec<Share>,
    /// Weight of the backends that cannot be sent to: that share is refused.
    pub(crate) broken: u64,
    /// Why, for people.
    pub(crate) why: String,
}

impl Shares {
    /// Sorts a rule's backends into those that can be sent to and those that cannot.
    pub(crate) fn new<'a>(
        inputs: &UnitInputs,
        route: &Object,
        backends: impl Iterator<Item = (&'a BackendRef, HeaderModifier, HeaderModifier)>,
    ) -> Self {
        let mut shares = Self {
            valid: Vec::new(),
            broken: 0,
            why: "the rule has no backend that takes traffic".to_owned(),
        };
        for (backend, request, response) in backends {
            match backend::check(&inputs.objects, route, backend) {
                Ok(()) if backend.weight > 0 => shares.valid.push(Share {
                    cluster: inputs.resource_name(&backend.service.name, backend.port),
                    weight: backend.weight,
                    request,
                    response,
                }),
                Ok(()) => {}
                Err(fault) => {
                    shares.broken += u64::from(backend.weight);
                    shares.why = fault.to_string();
                }
            }
        }
        shares
    }

    /// The service's own cluster, all of it.
    pub(crate) fn itself(inputs: &UnitInputs, port: u16) -> Self {
        Self {
            valid: vec![Share {
                cluster: inputs.resource_name(&inputs.service.name, port),
                weight: 1,
                request: HeaderModifier::default(),
                response: HeaderModifier::default(),
            }],
            broken: 0,
            why: String::new(),
        }
    }

    /// Parts per million that are refused; `None`: none at all.
    fn refused_per_million(&self) -> Option<u32> {
        let valid: u64 = self.valid.iter().map(|share| u64::from(share.weight)).sum();
        match (valid, self.broken) {
            (0, _) => Some(1_000_000),
            (_, 0) => None,
            (valid, broken) => u32::try_from(broken * 1_000_000 / (valid + broken)).ok(),
        }
    }

    fn specifier(self) -> ClusterSpecifier {
        if let [only] = self.valid.as_slice()
            && only.request == HeaderModifier::default()
            && only.response == HeaderModifier::default()
        {
            return ClusterSpecifier::Cluster(only.cluster.clone());
        }
        let clusters = self.valid.into_iter().map(|share| {
            let (request_headers_to_add, request_headers_to_remove) = header_edits(&share.request);
            let (response_headers_to_add, response_headers_to_remove) =
                header_edits(&share.response);
            ClusterWeight {
                name: share.cluster,
                weight: Some(u32_value(share.weight)),
                request_headers_to_add,
                request_headers_to_remove,
                response_headers_to_add,
                response_headers_to_remove,
                ..ClusterWeight::default()
            }
        });
        ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
            ..WeightedCluster::default()
        })
    }
}

/// Turns a route without an action into one that forwards by `shares`, before it one that refuses the broken share.
pub(crate) fn forward(
    template: Route,
    shares: Shares,
    action: RouteAction,
    refusal: u32,
) -> Vec<Route> {
    let mut routes = Vec::new();
    if let Some(per_million) = shares.refused_per_million() {
        let mut matches = template.r#match.clone().unwrap_or_default();
        if per_million < 1_000_000 {
            matches.runtime_fraction = Some(fraction(per_million));
        }
        routes.push(Route {
            name: format!("{}/refused", template.name),
            r#match: Some(matches),
            action: Some(direct(refusal, &shares.why)),
            ..Route::default()
        });
        if per_million == 1_000_000 {
            return routes;
        }
    }
    routes.push(Route {
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(shares.specifier()),
            ..action
        })),
        ..template
    });
    routes
}

/// An answer given by the proxy itself.
pub(crate) fn direct(status: u32, why: &str) -> Action {
    Action::DirectResponse(DirectResponseAction {
        status,
        body: Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(why.to_owned())),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    })
}

/// A share of all requests.
pub(crate) fn fraction(per_million: u32) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(percent(per_million)),
        runtime_key: String::new(),
    }
}

/// A share in parts per million.
pub(crate) fn percent(per_million: u32) -> FractionalPercent {
    FractionalPercent {
        numerator: per_million,
        denominator: DenominatorType::Million.into(),
    }
}

/// `*_headers_to_add` and `*_headers_to_remove`.
pub(crate) fn header_edits(edits: &HeaderModifier) -> (Vec<HeaderValueOption>, Vec<String>) {
    let option = |action: HeaderAppendAction| {
        move |header: &weft_config::gateway_api::http_route::HttpHeader| HeaderValueOption {
            header: Some(HeaderValue {
                key: header.name.clone(),
                // A percent sign begins a command operator in xDS, and is itself when doubled.
                value: header.value.replace('%', "%%"),
                ..HeaderValue::default()
            }),
            append_action: action.into(),
            ..HeaderValueOption::default()
        }
    };
    let set = edits
        .set
        .iter()
        .map(option(HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = edits
        .add
        .iter()
        .map(option(HeaderAppendAction::AppendIfExistsOrAdd));
    (set.chain(add).collect(), edits.remove.clone())
}

/// The conditions on headers.
pub(crate) fn header_matchers(headers: &[HeaderMatch]) -> Vec<HeaderMatcher> {
    headers
        .iter()
        .map(|header| HeaderMatcher {
            name: header.name.to_ascii_lowercase(),
            header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(
                string_matcher(&header.value),
            )),
            ..HeaderMatcher::default()
        })
        .collect()
}

/// A condition on a header of this exact value.
pub(crate) fn header_equals(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(
            StringMatcher {
                match_pattern: Some(MatchPattern::Exact(value.to_owned())),
                ..StringMatcher::default()
            },
        )),
        ..HeaderMatcher::default()
    }
}

/// A condition on a text.
pub(crate) fn string_matcher(value: &ValueMatch) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(match value {
            ValueMatch::Exact(text) => MatchPattern::Exact(text.clone()),
            ValueMatch::RegularExpression(text) => MatchPattern::SafeRegex(regex(text.as_str())),
        }),
        ..StringMatcher::default()
    }
}

/// A regular expression for the whole value.
pub(crate) fn regex(text: &str) -> RegexMatcher {
    RegexMatcher {
        regex: text.to_owned(),
        ..RegexMatcher::default()
    }
}

/// A route that sends everything to the service itself: what applies where no route is attached.
pub(crate) fn everything(name: &str) -> Route {
    Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(
                weft_xds_proto::pb::envoy::config::route::v3::route_match::PathSpecifier::Prefix(
                    "/".to_owned(),
                ),
            ),
            ..RouteMatch::default()
        }),
        ..Route::default()
    }
}

/// `text` as an expression that matches only itself.
pub(crate) fn regex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() && !matches!(character, '/' | '-' | '_') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
