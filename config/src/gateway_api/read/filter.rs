//! Reading filters of HTTP and gRPC rules.

use super::{Fields, Item, Reader, check, reference, suggestion};
use crate::gateway_api::grpc_route::GrpcFilter;
use crate::gateway_api::http_route::{
    HeaderModifier, HttpFilter, HttpHeader, PathModifier, RequestRedirect, Scheme, UrlRewrite,
    redirect_status,
};
use crate::yaml::shorten;

/// Where filters stand, which decides what they may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    HttpRule,
    GrpcRule,
    Backend,
}

/// `filters`, as HTTP filters whatever the place; [`for_grpc`] narrows them.
pub(crate) fn filters(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    place: Place,
) -> Vec<HttpFilter> {
    let Some(list) = fields.get("filters") else {
        return Vec::new();
    };
    let filters = list.each(cx, 0, 16, |cx, item| filter(cx, item, place));
    check::unique(
        cx,
        &list,
        &filters,
        "the filter type",
        |filter| match filter {
            HttpFilter::ExtensionRef { .. } => None,
            other => Some(type_name(other)),
        },
    );
    let names = filters.iter().map(type_name);
    let redirects = names.clone().any(|name| name == "RequestRedirect");
    if redirects && names.into_iter().any(|name| name == "URLRewrite") {
        list.fault(
            cx,
            "RequestRedirect and URLRewrite exclude each other in one rule",
        );
    }
    filters
}

/// The same filter of a gRPC rule; those that gRPC does not have were refused while reading.
pub(crate) fn for_grpc(filter: HttpFilter) -> Option<GrpcFilter> {
    match filter {
        HttpFilter::RequestHeaderModifier { edits } => {
            Some(GrpcFilter::RequestHeaderModifier { edits })
        }
        HttpFilter::ResponseHeaderModifier { edits } => {
            Some(GrpcFilter::ResponseHeaderModifier { edits })
        }
        HttpFilter::ExtensionRef { reference } => Some(GrpcFilter::ExtensionRef { reference }),
        HttpFilter::RequestRedirect { .. } | HttpFilter::UrlRewrite { .. } => None,
    }
}

fn filter(cx: &mut Reader<'_>, item: &Item<'_>, place: Place) -> Option<HttpFilter> {
    let mut fields = item.fields(cx)?;
    let kind = fields.require(cx, "type")?;
    let text = kind.text(cx)?;
    let read = match (text, place) {
        ("RequestHeaderModifier", _) => {
            body(cx, &mut fields, "requestHeaderModifier", header_modifier)
                .map(|edits| HttpFilter::RequestHeaderModifier { edits })
        }
        ("ResponseHeaderModifier", _) => {
            body(cx, &mut fields, "responseHeaderModifier", header_modifier)
                .map(|edits| HttpFilter::ResponseHeaderModifier { edits })
        }
        ("RequestRedirect", Place::HttpRule) => body(cx, &mut fields, "requestRedirect", redirect)
            .map(|redirect| HttpFilter::RequestRedirect { redirect }),
        ("URLRewrite", Place::HttpRule) => body(cx, &mut fields, "urlRewrite", rewrite)
            .map(|rewrite| HttpFilter::UrlRewrite { rewrite }),
        ("ExtensionRef", Place::HttpRule | Place::GrpcRule) => {
            body(cx, &mut fields, "extensionRef", reference::extension_ref)
                .map(|reference| HttpFilter::ExtensionRef { reference })
        }
        ("RequestMirror" | "CORS" | "ExternalAuth", _) => {
            kind.fault(cx, format!("the filter {text} is not supported yet"));
            return None;
        }
        ("RequestRedirect" | "URLRewrite" | "ExtensionRef", place) => {
            let what = match place {
                Place::Backend => "a backend's filters",
                Place::GrpcRule | Place::HttpRule => "a GRPCRoute",
            };
            kind.fault(cx, format!("the filter {text} is not supported in {what}"));
            return None;
        }
        (other, _) => {
            let hint = suggestion(other, TYPES);
            let all = TYPES.join(", ");
            kind.fault(
                cx,
                format!("must be one of {all}, got `{}`{hint}", shorten(other)),
            );
            return None;
        }
    };
    fields.finish(cx);
    read
}

fn body<'n, T>(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'n>,
    name: &'static str,
    read: impl FnOnce(&mut Reader<'_>, &Item<'n>) -> Option<T>,
) -> Option<T> {
    let item = fields.require(cx, name)?;
    read(cx, &item)
}

fn header_modifier(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HeaderModifier> {
    let mut fields = item.fields(cx)?;
    let given = ["set", "add", "remove"]
        .into_iter()
        .any(|name| fields.get(name).is_some());
    if !given {
        item.fault(cx, "must have at least one of `set`, `add` and `remove`");
    }
    let set = headers(cx, &mut fields, "set");
    let add = headers(cx, &mut fields, "add");
    let remove = fields
        .get("remove")
        .map(|list| list.each(cx, 0, 16, editable_name))
        .unwrap_or_default();
    fields.finish(cx);
    let modifier = HeaderModifier { set, add, remove };
    let named = modifier
        .set
        .iter()
        .chain(&modifier.add)
        .map(|header| &header.name);
    let names: Vec<String> = named
        .chain(&modifier.remove)
        .map(|name| name.to_ascii_lowercase())
        .collect();
    check::unique(cx, item, &names, "the header", Some);
    Some(modifier)
}

fn headers(cx: &mut Reader<'_>, fields: &mut Fields<'_>, name: &'static str) -> Vec<HttpHeader> {
    let Some(list) = fields.get(name) else {
        return Vec::new();
    };
    list.each(cx, 0, 16, |cx, item| {
        let mut fields = item.fields(cx)?;
        let name = fields
            .require(cx, "name")
            .and_then(|item| editable_name(cx, &item));
        let value = fields
            .require(cx, "value")
            .and_then(|item| check::header_value(cx, &item));
        fields.finish(cx);
        Some(HttpHeader {
            name: name?,
            value: value?,
        })
    })
}

/// A header that may be edited: not one that frames the message.
fn editable_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let name = check::header_name(cx, item)?;
    let framing = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if framing.contains(&name.to_ascii_lowercase().as_str()) {
        let hint = match name.eq_ignore_ascii_case("host") {
            true => "; use a URLRewrite filter with `hostname`",
            false => "",
        };
        item.fault(
            cx,
            format!("`{name}` frames the message and cannot be edited{hint}"),
        );
        return None;
    }
    Some(name)
}

fn redirect(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<RequestRedirect> {
    let mut fields = item.fields(cx)?;
    let redirect = RequestRedirect {
        scheme: fields
            .get("scheme")
            .and_then(|item| item.choice(cx, &[("http", Scheme::Http), ("https", Scheme::Https)])),
        hostname: fields
            .get("hostname")
            .and_then(|item| check::precise_host(cx, &item)),
        path: fields.get("path").and_then(|item| path_modifier(cx, &item)),
        port: fields.get("port").and_then(|item| item.port(cx)),
        status_code: fields
            .get("statusCode")
            .and_then(|item| status_code(cx, &item))
            .unwrap_or_else(redirect_status),
    };
    fields.finish(cx);
    Some(redirect)
}

fn status_code(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<u16> {
    let status = item.small(cx, 0, 999)?;
    if ![301, 302, 303, 307, 308].contains(&status) {
        item.fault(
            cx,
            format!("must be 301, 302, 303, 307 or 308, got {status}"),
        );
        return None;
    }
    Some(status)
}

fn rewrite(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<UrlRewrite> {
    let mut fields = item.fields(cx)?;
    let hostname = fields
        .get("hostname")
        .and_then(|item| check::precise_host(cx, &item));
    let path_item = fields.get("path");
    if hostname.is_none() && path_item.is_none() {
        fields.fault(cx, "must have at least one of `hostname` and `path`");
    }
    let path = path_item.and_then(|item| path_modifier(cx, &item));
    fields.finish(cx);
    Some(UrlRewrite { hostname, path })
}

fn path_modifier(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<PathModifier> {
    let mut fields = item.fields(cx)?;
    let kind = fields.require(cx, "type").and_then(|item| {
        item.choice(
            cx,
            &[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)],
        )
    })?;
    let modifier = match kind {
        true => body(cx, &mut fields, "replaceFullPath", check::path)
            .map(|path| PathModifier::ReplaceFullPath { path }),
        false => body(cx, &mut fields, "replacePrefixMatch", prefix)
            .map(|prefix| PathModifier::ReplacePrefixMatch { prefix }),
    };
    fields.finish(cx);
    modifier
}

/// A prefix that replaces another may also be empty, which means `/`.
fn prefix(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    match item.text(cx)? {
        "" => Some("/".to_owned()),
        _ => check::path(cx, item),
    }
}

fn type_name(filter: &HttpFilter) -> &'static str {
    match filter {
        HttpFilter::RequestHeaderModifier { .. } => "RequestHeaderModifier",
        HttpFilter::ResponseHeaderModifier { .. } => "ResponseHeaderModifier",
        HttpFilter::RequestRedirect { .. } => "RequestRedirect",
        HttpFilter::UrlRewrite { .. } => "URLRewrite",
        HttpFilter::ExtensionRef { .. } => "ExtensionRef",
    }
}

const TYPES: [&str; 5] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "URLRewrite",
    "ExtensionRef",
];
