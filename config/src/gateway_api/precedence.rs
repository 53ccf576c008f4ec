//! Which rule takes a request when several match: the order of Gateway API, the same for `translate`, `lint` and `explain`.

use std::cmp::Reverse;

use super::grpc_route::{GrpcMatch, GrpcMethodMatch, GrpcRoute};
use super::http_route::{HttpMatch, HttpRoute, PathMatch};
use super::metadata::Metadata;

/// One match of one rule, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleMatch {
    /// Index of the route among those given.
    pub route: usize,
    /// Index of the rule in the route.
    pub rule: usize,
    /// Index of the match in the rule.
    pub matched: usize,
}

/// All matches of `routes`, the one that takes a request before the others first.
///
/// Exact paths, then regular expressions, then prefixes, the longer first; then those with a method, with more headers, with
/// more query parameters; then the older route, then by namespace and name, then as written (`HTTPRouteRule.matches`, which
/// leaves the place of regular expressions open).
pub fn http_order(routes: &[(&Metadata, &HttpRoute)]) -> Vec<RuleMatch> {
    in_order(routes.iter().map(|(meta, route)| {
        let rules = route.rules.iter();
        let ranks = rules.map(|rule| rule.matches.iter().map(http_rank).collect());
        (*meta, ranks.collect())
    }))
}

/// The same for gRPC: exact names before expressions, the longer service first, then the longer method, then more headers;
/// then the older route, then by namespace and name, then as written (`GRPCRouteRule.matches`).
pub fn grpc_order(routes: &[(&Metadata, &GrpcRoute)]) -> Vec<RuleMatch> {
    in_order(routes.iter().map(|(meta, route)| {
        let rules = route.rules.iter();
        let ranks = rules.map(|rule| rule.matches.iter().map(grpc_rank).collect());
        (*meta, ranks.collect())
    }))
}

/// The matches of routes, each given as the ranks of its matches by rule: by rank, then by route, then as written.
fn in_order<'r, R: Ord>(
    routes: impl Iterator<Item = (&'r Metadata, Vec<Vec<R>>)>,
) -> Vec<RuleMatch> {
    let mut all = Vec::new();
    for (route, (meta, rules)) in routes.enumerate() {
        for (rule, ranks) in rules.into_iter().enumerate() {
            for (matched, rank) in ranks.into_iter().enumerate() {
                let place = RuleMatch {
                    route,
                    rule,
                    matched,
                };
                all.push((rank, route_rank(meta), place));
            }
        }
    }
    all.sort();
    all.into_iter().map(|(_, _, place)| place).collect()
}

/// Older objects first, those without a time last, then by namespace and name. Of two that conflict, the first wins.
pub fn route_rank(meta: &Metadata) -> (bool, Option<&str>, &str, &str) {
    let created = meta.creation_timestamp.as_deref();
    (created.is_none(), created, &meta.namespace, &meta.name)
}

type HttpRank = (u8, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

fn http_rank(m: &HttpMatch) -> HttpRank {
    let (kind, length) = match &m.path {
        PathMatch::Exact(path) => (0, path.len()),
        PathMatch::RegularExpression(regex) => (1, regex.as_str().len()),
        PathMatch::PathPrefix(path) => (2, path.trim_end_matches('/').len()),
    };
    (
        kind,
        Reverse(length),
        m.method.is_none(),
        Reverse(m.headers.len()),
        Reverse(m.query_params.len()),
    )
}

type GrpcRank = (u8, Reverse<usize>, Reverse<usize>, Reverse<usize>);

fn grpc_rank(m: &GrpcMatch) -> GrpcRank {
    let (kind, service, method) = match &m.method {
        Some(GrpcMethodMatch::Exact { service, method }) => {
            let length = |name: &Option<String>| name.as_ref().map_or(0, String::len);
            (0, length(service), length(method))
        }
        Some(GrpcMethodMatch::RegularExpression { service, method }) => {
            let length =
                |name: &Option<super::RegexText>| name.as_ref().map_or(0, |n| n.as_str().len());
            (1, length(service), length(method))
        }
        None => (2, 0, 0),
    };
    (
        kind,
        Reverse(service),
        Reverse(method),
        Reverse(m.headers.len()),
    )
}
