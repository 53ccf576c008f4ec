//! Rules that can never take a request, because another always takes it before.

use std::collections::BTreeMap;

use super::{Remarks, rule_path};
use crate::gateway_api::grpc_route::{GrpcMatch, GrpcRoute};
use crate::gateway_api::http_route::{HeaderMatch, HttpMatch, HttpRoute, PathMatch};
use crate::gateway_api::precedence::{RuleMatch, grpc_order, http_order, route_rank};
use crate::gateway_api::{Kind, Metadata, ObjectKey, ParentRef, ServiceRef, TcpRoute};

pub(super) fn check(found: &mut Remarks<'_>) {
    let resources = found.resources;
    for (parents, routes) in by_parent(resources.http_routes(), |route: &HttpRoute| {
        &route.parent_refs
    }) {
        let shadows = shadowed(
            &http_order(&routes),
            |place| http_match(&routes, place),
            http_covers,
        );
        report(found, Kind::HttpRoute, &routes, shadows, &parents);
    }
    for (parents, routes) in by_parent(resources.grpc_routes(), |route: &GrpcRoute| {
        &route.parent_refs
    }) {
        let shadows = shadowed(
            &grpc_order(&routes),
            |place| grpc_match(&routes, place),
            grpc_covers,
        );
        report(found, Kind::GrpcRoute, &routes, shadows, &parents);
    }
    for (_, mut routes) in by_parent(resources.tcp_routes(), |route: &TcpRoute| {
        &route.parent_refs
    }) {
        routes.sort_by(|a, b| route_rank(a.0).cmp(&route_rank(b.0)));
        let Some((winner, losers)) = routes.split_first() else {
            continue;
        };
        let winner = ObjectKey::new(Kind::TcpRoute, &winner.0.namespace, &winner.0.name);
        for (meta, _) in losers {
            let key = ObjectKey::new(Kind::TcpRoute, &meta.namespace, &meta.name);
            found.warn(key, rule_path(0), format!("never used: {winner} has the same parent and wins, being older or first by name"));
        }
    }
    check_kinds(found);
}

/// The exact part of a service that routes attach to, and the namespace of the routes: those in another namespace than the
/// service's are for downstreams there alone, and do not meet the others (GEP-1294: consumer routes).
type Parent = (ServiceRef, Option<u16>, Option<String>, String);

/// Routes by the parent that they attach to.
fn by_parent<'r, T>(
    routes: impl Iterator<Item = (&'r Metadata, &'r T)>,
    parents: impl Fn(&T) -> &Vec<ParentRef>,
) -> BTreeMap<Parent, Vec<(&'r Metadata, &'r T)>> {
    let mut found: BTreeMap<Parent, Vec<_>> = BTreeMap::new();
    for (meta, route) in routes {
        for parent in parents(route) {
            let key = (
                parent.service.clone(),
                parent.port,
                parent.section_name.clone(),
                meta.namespace.clone(),
            );
            found.entry(key).or_default().push((meta, route));
        }
    }
    found
}

fn http_match<'r>(
    routes: &[(&Metadata, &'r HttpRoute)],
    place: RuleMatch,
) -> Option<&'r HttpMatch> {
    let (_, route) = routes.get(place.route)?;
    route.rules.get(place.rule)?.matches.get(place.matched)
}

fn grpc_match<'r>(
    routes: &[(&Metadata, &'r GrpcRoute)],
    place: RuleMatch,
) -> Option<&'r GrpcMatch> {
    let (_, route) = routes.get(place.route)?;
    route.rules.get(place.rule)?.matches.get(place.matched)
}

/// Pairs of a match and the earlier one that takes all of its requests.
fn shadowed<'r, M: 'r>(
    order: &[RuleMatch],
    get: impl Fn(RuleMatch) -> Option<&'r M>,
    covers: fn(&M, &M) -> bool,
) -> Vec<(RuleMatch, RuleMatch)> {
    let mut pairs = Vec::new();
    for (index, place) in order.iter().enumerate().take(MATCHES_COMPARED_MAX) {
        let Some(later) = get(*place) else { continue };
        let earlier = order.iter().take(index).find(|first| {
            let same_rule = first.route == place.route && first.rule == place.rule;
            !same_rule && get(**first).is_some_and(|earlier| covers(earlier, later))
        });
        if let Some(first) = earlier {
            pairs.push((*place, *first));
        }
    }
    pairs
}

fn report<T>(
    found: &mut Remarks<'_>,
    kind: Kind,
    routes: &[(&Metadata, &T)],
    shadows: Vec<(RuleMatch, RuleMatch)>,
    parent: &Parent,
) {
    let key = |place: &RuleMatch| {
        routes
            .get(place.route)
            .map(|(meta, _)| ObjectKey::new(kind, &meta.namespace, &meta.name))
    };
    for (place, first) in shadows {
        let (Some(object), Some(winner)) = (key(&place), key(&first)) else {
            continue;
        };
        let by = match object == winner {
            true => format!("`{}` of this route", rule_path(first.rule)),
            false => format!("`{}` of {winner}", rule_path(first.rule)),
        };
        let path = rule_path(place.rule).field("matches").index(place.matched);
        let service = &parent.0;
        found.warn(
            object,
            path,
            format!("never used for {service}: {by} takes all these requests first"),
        );
    }
}

/// Whether every request that `b` matches is matched by `a`.
fn http_covers(a: &HttpMatch, b: &HttpMatch) -> bool {
    let path = match (&a.path, &b.path) {
        (PathMatch::PathPrefix(a), PathMatch::PathPrefix(b)) => is_below(b, a),
        (PathMatch::PathPrefix(a), PathMatch::Exact(b)) => is_below(b, a),
        (PathMatch::RegularExpression(regex), b) => {
            matches!(regex.as_str(), ".*" | "/.*" | "^.*$" | "^/.*$") || a.path == *b
        }
        (a, b) => a == b,
    };
    path && a.method.is_none_or(|method| b.method == Some(method))
        && headers_within(&a.headers, &b.headers)
        && a.query_params
            .iter()
            .all(|query| b.query_params.contains(query))
}

fn grpc_covers(a: &GrpcMatch, b: &GrpcMatch) -> bool {
    (a.method.is_none() || a.method == b.method) && headers_within(&a.headers, &b.headers)
}

fn headers_within(few: &[HeaderMatch], many: &[HeaderMatch]) -> bool {
    few.iter().all(|header| {
        many.iter().any(|other| {
            other.name.eq_ignore_ascii_case(&header.name) && other.value == header.value
        })
    })
}

/// Whether `path` is `prefix` or below it, by segments.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Routes of several kinds on one parent: the more specific kind wins (GEP-1294: gRPC before HTTP before TCP).
fn check_kinds(found: &mut Remarks<'_>) {
    let mut kinds: BTreeMap<Parent, BTreeMap<u8, ObjectKey>> = BTreeMap::new();
    let mut losers = Vec::new();
    for (rank, kind) in (0u8..).zip([Kind::GrpcRoute, Kind::HttpRoute, Kind::TcpRoute]) {
        for object in found.resources.of_kind(kind) {
            for (index, parent) in super::parents_of(object).iter().enumerate() {
                let key = (
                    parent.service.clone(),
                    parent.port,
                    parent.section_name.clone(),
                    object.metadata.namespace.clone(),
                );
                let there = kinds.entry(key).or_default();
                if let Some((_, winner)) = there.range(..rank).next() {
                    losers.push((object.key(), index, winner.clone()));
                }
                there.entry(rank).or_insert_with(|| object.key());
            }
        }
    }
    for (loser, index, winner) in losers {
        let path = super::spec().field("parentRefs").index(index);
        found.warn(
            loser,
            path,
            format!("{winner} has the same parent and is of a more specific kind, so it wins"),
        );
    }
}

/// Bounds the comparison of all with all.
const MATCHES_COMPARED_MAX: usize = 5_000;
