//! Reading `GRPCRoute`, `TCPRoute` and `ReferenceGrant`.

use super::filter::{self, Place};
use super::{Fields, Item, Reader, check, http_route, reference};
use crate::gateway_api::grpc_route::{
    GrpcBackendRef, GrpcMatch, GrpcMethodMatch, GrpcRoute, GrpcRule, every_call,
};
use crate::gateway_api::reference_grant::{GrantFrom, GrantTo, ReferenceGrant};
use crate::gateway_api::tcp_route::{TcpRoute, TcpRule};
use crate::yaml::shorten;

/// Reads the `spec` of a `GRPCRoute`.
pub(crate) fn grpc_route(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<GrpcRoute> {
    let parent_refs = reference::parent_refs(cx, fields);
    let hostnames = http_route::hostnames(cx, fields);
    let list = fields.get("rules");
    let rules = list
        .as_ref()
        .map(|list| list.each(cx, 1, 16, grpc_rule))
        .unwrap_or_default();
    if let Some(list) = &list {
        check::unique(cx, list, &rules, "the rule name", |rule| rule.name.clone());
    }
    fields.refuse(cx, &["useDefaultGateways"]);
    Some(GrpcRoute {
        parent_refs,
        hostnames,
        rules,
    })
}

fn grpc_rule(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<GrpcRule> {
    let mut fields = item.fields(cx)?;
    let name = fields
        .get("name")
        .and_then(|item| check::section(cx, &item));
    let matches = fields
        .get("matches")
        .map(|list| list.each(cx, 0, 64, grpc_match));
    let matches = matches
        .filter(|list| !list.is_empty())
        .unwrap_or_else(every_call);
    let filters = filter::filters(cx, &mut fields, Place::GrpcRule);
    let backend_refs = fields
        .get("backendRefs")
        .map(|list| list.each(cx, 0, 16, grpc_backend));
    for name in ["timeouts", "retry"] {
        if let Some(item) = fields.get(name) {
            item.fault(cx, "a GRPCRoute has none; attach a TrafficPolicy to it");
        }
    }
    fields.refuse(cx, &["sessionPersistence"]);
    fields.finish(cx);
    Some(GrpcRule {
        name,
        matches,
        filters: filters.into_iter().filter_map(filter::for_grpc).collect(),
        backend_refs: backend_refs.unwrap_or_default(),
    })
}

fn grpc_match(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<GrpcMatch> {
    let mut fields = item.fields(cx)?;
    let found = GrpcMatch {
        method: fields
            .get("method")
            .and_then(|item| method_match(cx, &item)),
        headers: http_route::header_matches(cx, &mut fields),
    };
    fields.finish(cx);
    Some(found)
}

fn method_match(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<GrpcMethodMatch> {
    let mut fields = item.fields(cx)?;
    let regex = match fields.get("type") {
        Some(item) => item.choice(cx, &[("Exact", false), ("RegularExpression", true)]),
        None => Some(false),
    };
    let (service, method) = (fields.get("service"), fields.get("method"));
    if service.is_none() && method.is_none() {
        fields.fault(cx, "must have at least one of `service` and `method`");
    }
    fields.finish(cx);
    if regex? {
        return Some(GrpcMethodMatch::RegularExpression {
            service: service.and_then(|item| check::regex(cx, &item)),
            method: method.and_then(|item| check::regex(cx, &item)),
        });
    }
    Some(GrpcMethodMatch::Exact {
        service: service.and_then(|item| grpc_name(cx, &item, Dots::Allowed)),
        method: method.and_then(|item| grpc_name(cx, &item, Dots::Refused)),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Allowed,
    Refused,
}

/// A protobuf name, as Gateway API bounds it: case matters, and services carry their package.
fn grpc_name(cx: &mut Reader<'_>, item: &Item<'_>, dots: Dots) -> Option<String> {
    item.parsed(cx, |text| {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let fits = match dots {
            Dots::Allowed => text.split('.').all(part),
            Dots::Refused => part(text),
        };
        if fits && text.len() <= 1024 {
            return Ok(text.to_owned());
        }
        let example = match dots {
            Dots::Allowed => "a service with its package, such as `shop.v1.Cart`",
            Dots::Refused => "a method, such as `AddItem`",
        };
        Err(format!("must be {example}, got `{}`", shorten(text)))
    })
}

fn grpc_backend(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<GrpcBackendRef> {
    let mut fields = item.fields(cx)?;
    let backend = reference::backend_fields(cx, &mut fields);
    let filters = filter::filters(cx, &mut fields, Place::Backend);
    fields.finish(cx);
    Some(GrpcBackendRef {
        backend: backend?,
        filters: filters.into_iter().filter_map(filter::for_grpc).collect(),
    })
}

/// Reads the `spec` of a `TCPRoute`.
pub(crate) fn tcp_route(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<TcpRoute> {
    let parent_refs = reference::parent_refs(cx, fields);
    let list = fields.require(cx, "rules");
    if list.as_ref().is_some_and(
        |list| matches!(&list.node.data, crate::yaml::Data::List(rules) if rules.len() > 1),
    ) {
        fields.fault(cx, "a TCPRoute has exactly one rule: a connection carries nothing by which rules could be told apart");
    }
    let rules = list
        .map(|list| list.each(cx, 1, 16, tcp_rule))
        .unwrap_or_default();
    fields.refuse(cx, &["useDefaultGateways"]);
    Some(TcpRoute { parent_refs, rules })
}

fn tcp_rule(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<TcpRule> {
    let mut fields = item.fields(cx)?;
    let name = fields
        .get("name")
        .and_then(|item| check::section(cx, &item));
    let backend_refs = fields
        .require(cx, "backendRefs")
        .map(|list| list.each(cx, 1, 16, reference::backend_ref));
    fields.finish(cx);
    Some(TcpRule {
        name,
        backend_refs: backend_refs?,
    })
}

/// Reads the `spec` of a `ReferenceGrant`.
pub(crate) fn reference_grant(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<ReferenceGrant> {
    let from = fields.require(cx, "from").map(|list| {
        list.each(cx, 1, 16, |cx, item| {
            let mut fields = item.fields(cx)?;
            let who = reference::group_and_kind(cx, &mut fields);
            let namespace = fields
                .require(cx, "namespace")
                .and_then(|item| check::label(cx, &item));
            fields.finish(cx);
            let (group, kind) = who?;
            Some(GrantFrom {
                group,
                kind,
                namespace: namespace?,
            })
        })
    });
    let to = fields.require(cx, "to").map(|list| {
        list.each(cx, 1, 16, |cx, item| {
            let mut fields = item.fields(cx)?;
            let what = reference::group_and_kind(cx, &mut fields);
            let name = fields
                .get("name")
                .and_then(|item| check::subdomain(cx, &item));
            fields.finish(cx);
            let (group, kind) = what?;
            Some(GrantTo { group, kind, name })
        })
    });
    Some(ReferenceGrant {
        from: from?,
        to: to?,
    })
}
