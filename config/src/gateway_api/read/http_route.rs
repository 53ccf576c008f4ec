//! Reading `HTTPRoute`.

use super::filter::{self, Place};
use super::{Fields, Item, Reader, check, reference};
use crate::gateway_api::http_route::{
    HeaderMatch, HttpBackendRef, HttpFilter, HttpMatch, HttpRetry, HttpRoute, HttpRule,
    HttpTimeouts, Method, PathMatch, PathModifier, QueryParamMatch, ValueMatch, every_request,
};

/// Reads the `spec` of an `HTTPRoute`.
pub(crate) fn http_route(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<HttpRoute> {
    let parent_refs = reference::parent_refs(cx, fields);
    let hostnames = hostnames(cx, fields);
    let list = fields.get("rules");
    let rules = list
        .as_ref()
        .map(|list| list.each(cx, 1, 16, rule))
        .unwrap_or_default();
    if let Some(list) = &list {
        check::unique(cx, list, &rules, "the rule name", |rule| rule.name.clone());
    }
    fields.refuse(cx, &["useDefaultGateways"]);
    Some(HttpRoute {
        parent_refs,
        hostnames,
        rules,
    })
}

/// `hostnames`, which GAMMA leaves without meaning.
pub(crate) fn hostnames(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<String> {
    let Some(list) = fields.get("hostnames") else {
        return Vec::new();
    };
    let hostnames = list.each(cx, 0, 16, check::hostname);
    if !hostnames.is_empty() {
        list.warn(cx, "hostnames have no meaning for a route of a mesh and are not used: requests are matched by their service");
    }
    hostnames
}

fn rule(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HttpRule> {
    let mut fields = item.fields(cx)?;
    let name = fields
        .get("name")
        .and_then(|item| check::section(cx, &item));
    let list = fields.get("matches");
    let matches = list.as_ref().map(|list| list.each(cx, 0, 64, http_match));
    let matches = matches
        .filter(|list| !list.is_empty())
        .unwrap_or_else(every_request);
    let filters = filter::filters(cx, &mut fields, Place::HttpRule);
    let backends = fields.get("backendRefs");
    let backend_refs = backends
        .as_ref()
        .map(|list| list.each(cx, 0, 16, backend))
        .unwrap_or_default();
    let timeouts = fields
        .get("timeouts")
        .and_then(|item| timeouts(cx, &item))
        .unwrap_or_default();
    let retry = fields.get("retry").and_then(|item| retry(cx, &item));
    fields.refuse(cx, &["sessionPersistence"]);
    fields.finish(cx);
    check_prefix_rewrites(cx, item, &filters, &matches);
    let redirects = filters
        .iter()
        .any(|filter| matches!(filter, HttpFilter::RequestRedirect { .. }));
    if let (true, Some(backends)) = (redirects && !backend_refs.is_empty(), &backends) {
        backends.fault(cx, "a rule with a RequestRedirect filter has no backends");
    }
    Some(HttpRule {
        name,
        matches,
        filters,
        backend_refs,
        timeouts,
        retry,
    })
}

/// `ReplacePrefixMatch` needs a prefix to replace.
fn check_prefix_rewrites(
    cx: &mut Reader<'_>,
    item: &Item<'_>,
    filters: &[HttpFilter],
    matches: &[HttpMatch],
) {
    let replaces = filters.iter().any(|filter| {
        let path = match filter {
            HttpFilter::RequestRedirect { redirect } => &redirect.path,
            HttpFilter::UrlRewrite { rewrite } => &rewrite.path,
            _ => return false,
        };
        matches!(path, Some(PathModifier::ReplacePrefixMatch { .. }))
    });
    let prefixes = matches
        .iter()
        .all(|m| matches!(m.path, PathMatch::PathPrefix(_)));
    if replaces && !prefixes {
        item.fault(
            cx,
            "ReplacePrefixMatch needs all matches of its rule to be of the type PathPrefix",
        );
    }
}

fn http_match(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HttpMatch> {
    let mut fields = item.fields(cx)?;
    let found = HttpMatch {
        path: fields
            .get("path")
            .and_then(|item| path_match(cx, &item))
            .unwrap_or_default(),
        headers: header_matches(cx, &mut fields),
        query_params: query_matches(cx, &mut fields),
        method: fields
            .get("method")
            .and_then(|item| item.choice(cx, METHODS)),
    };
    fields.finish(cx);
    Some(found)
}

fn path_match(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<PathMatch> {
    let mut fields = item.fields(cx)?;
    let kind = match fields.get("type") {
        Some(item) => item.choice(
            cx,
            &[
                ("PathPrefix", PathKind::Prefix),
                ("Exact", PathKind::Exact),
                ("RegularExpression", PathKind::Regex),
            ],
        ),
        None => Some(PathKind::Prefix),
    };
    let value = fields.get("value");
    fields.finish(cx);
    let Some(value) = value else {
        return match kind? {
            PathKind::Prefix => Some(PathMatch::default()),
            PathKind::Exact => Some(PathMatch::Exact("/".to_owned())),
            PathKind::Regex => {
                item.fault(cx, "a RegularExpression has a `value`");
                None
            }
        };
    };
    match kind? {
        PathKind::Prefix => check::path(cx, &value).map(PathMatch::PathPrefix),
        PathKind::Exact => check::path(cx, &value).map(PathMatch::Exact),
        PathKind::Regex => check::regex(cx, &value).map(PathMatch::RegularExpression),
    }
}

#[derive(Clone, Copy)]
enum PathKind {
    Prefix,
    Exact,
    Regex,
}

/// `headers` of a match.
pub(crate) fn header_matches(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<HeaderMatch> {
    let build = |name, value| HeaderMatch { name, value };
    let matches = named_matches(cx, fields, "headers", build);
    let Some((list, matches)) = matches else {
        return Vec::new();
    };
    check::unique(cx, &list, &matches, "the header", |m| {
        Some(m.name.to_ascii_lowercase())
    });
    matches
}

fn query_matches(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<QueryParamMatch> {
    let build = |name, value| QueryParamMatch { name, value };
    let matches = named_matches(cx, fields, "queryParams", build);
    let Some((list, matches)) = matches else {
        return Vec::new();
    };
    check::unique(cx, &list, &matches, "the parameter", |m| {
        Some(m.name.clone())
    });
    matches
}

/// A list of names with the value that each must have.
fn named_matches<'n, T>(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'n>,
    field: &'static str,
    build: impl Fn(String, ValueMatch) -> T,
) -> Option<(Item<'n>, Vec<T>)> {
    let list = fields.get(field)?;
    let matches = list.each(cx, 0, 16, |cx, item| {
        let mut fields = item.fields(cx)?;
        let name = fields
            .require(cx, "name")
            .and_then(|item| check::header_name(cx, &item));
        let value = value_match(cx, &mut fields);
        fields.finish(cx);
        Some(build(name?, value?))
    });
    Some((list, matches))
}

fn value_match(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<ValueMatch> {
    let regex = match fields.get("type") {
        Some(item) => item.choice(cx, &[("Exact", false), ("RegularExpression", true)]),
        None => Some(false),
    };
    let value = fields.require(cx, "value")?;
    match regex? {
        false => check::header_value(cx, &value).map(ValueMatch::Exact),
        true => check::regex(cx, &value).map(ValueMatch::RegularExpression),
    }
}

fn backend(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HttpBackendRef> {
    let mut fields = item.fields(cx)?;
    let backend = reference::backend_fields(cx, &mut fields);
    let filters = filter::filters(cx, &mut fields, Place::Backend);
    fields.finish(cx);
    Some(HttpBackendRef {
        backend: backend?,
        filters,
    })
}

fn timeouts(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HttpTimeouts> {
    let mut fields = item.fields(cx)?;
    let request = fields
        .get("request")
        .and_then(|item| check::span(cx, &item));
    let per_try = fields.get("backendRequest");
    let backend_request = per_try.as_ref().and_then(|item| check::span(cx, item));
    fields.finish(cx);
    if let (Some(request), Some(backend), Some(item)) = (request, backend_request, &per_try)
        && !request.is_zero()
        && (backend > request || backend.is_zero())
    {
        item.fault(
            cx,
            format!("must not be longer than `request` ({request}), got {backend}"),
        );
    }
    Some(HttpTimeouts {
        request,
        backend_request,
    })
}

fn retry(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HttpRetry> {
    let mut fields = item.fields(cx)?;
    let retry = HttpRetry {
        codes: codes(cx, &mut fields),
        attempts: fields
            .get("attempts")
            .and_then(|item| item.number(cx, 0, 20)),
        backoff: fields
            .get("backoff")
            .and_then(|item| check::span_above_zero(cx, &item)),
    };
    fields.finish(cx);
    Some(retry)
}

/// `codes` that are worth another attempt.
pub(crate) fn codes(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<u16> {
    let Some(list) = fields.get("codes") else {
        return Vec::new();
    };
    let codes = list.each(cx, 0, 64, |cx, item| item.small(cx, 400, 599));
    check::unique(cx, &list, &codes, "the code", Some);
    codes
}

const METHODS: &[(&str, Method)] = &[
    ("GET", Method::Get),
    ("HEAD", Method::Head),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("DELETE", Method::Delete),
    ("CONNECT", Method::Connect),
    ("OPTIONS", Method::Options),
    ("TRACE", Method::Trace),
    ("PATCH", Method::Patch),
];
