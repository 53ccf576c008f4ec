//! One policy's rules as policies of RBAC.

use weft_config::gateway_api::Object;
use weft_config::gateway_api::authorization_policy::{
    AccessOperation, AccessRule, AccessSource, Action, AddressRange, AuthorizationPolicy,
    ClaimCondition, HeaderCondition, Wildcard,
};
use weft_config::policy::authn::JWT_AUTHN_NAME;
use weft_xds_proto::pb::envoy::config::core::v3::CidrRange;
use weft_xds_proto::pb::envoy::config::rbac::v3 as pb;
use weft_xds_proto::pb::envoy::config::rbac::v3::permission::{self, Rule};
use weft_xds_proto::pb::envoy::config::rbac::v3::principal::{self, Identifier};
use weft_xds_proto::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use weft_xds_proto::pb::envoy::r#type::matcher::v3 as matcher;
use weft_xds_proto::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::Layer;
use super::filters::Policies;
use crate::snapshot::proto::u32_value;
use crate::translate::tokens::PAYLOAD;

/// What every identity begins with.
const SPIFFE: &str = "spiffe://";

/// The rules of `policy` that may match on a port that the service calls one of `ports`, each with its name.
pub(super) fn policies(
    object: &Object,
    policy: &AuthorizationPolicy,
    ports: &[u16],
    layer: Layer,
) -> Policies {
    let rules = policy.rules.iter().enumerate();
    rules
        .filter_map(|(index, rule)| {
            let meta = &object.metadata;
            let rule_name = match &rule.name {
                Some(name) => name.clone(),
                None => format!("rules[{index}]"),
            };
            let name = format!("{}/{}/{rule_name}", meta.namespace, meta.name);
            Some((name, build(rule, policy.action, ports, layer)?))
        })
        .collect()
}

/// One rule; `None`: no call on these ports and this layer can meet it.
pub(super) fn build(
    rule: &AccessRule,
    action: Action,
    ports: &[u16],
    layer: Layer,
) -> Option<pb::Policy> {
    // A connection has no token.
    if layer == Layer::Tcp && action == Action::Allow && !rule.when.is_empty() {
        return None;
    }
    let permissions: Vec<pb::Permission> = match rule.to.as_slice() {
        [] => vec![anything()],
        operations => operations
            .iter()
            .filter_map(|it| operation(it, action, ports, layer))
            .collect(),
    };
    if permissions.is_empty() {
        return None;
    }
    let claims = rule.when.iter().map(claim);
    let claims: Vec<pb::Principal> = match layer {
        Layer::Http => claims.collect(),
        Layer::Tcp => Vec::new(),
    };
    let principals = match rule.from.as_slice() {
        [] => vec![all_of(claims)],
        sources => sources
            .iter()
            .map(|it| {
                all_of(
                    source(it, action)
                        .into_iter()
                        .chain(claims.clone())
                        .collect(),
                )
            })
            .collect(),
    };
    Some(pb::Policy {
        permissions,
        principals,
        ..pb::Policy::default()
    })
}

/// `None`: no call on this port and layer can be meant.
///
/// What asks for requests is never met by a connection: it lets nobody in, and keeps out by the rest that it says.
fn operation(
    operation: &AccessOperation,
    action: Action,
    ports: &[u16],
    layer: Layer,
) -> Option<pb::Permission> {
    let here = |list: &[u16]| list.iter().any(|port| ports.contains(port));
    if !operation.ports.is_empty() && !here(&operation.ports) || here(&operation.not_ports) {
        return None;
    }
    if layer == Layer::Tcp {
        let meant = action == Action::Deny || !operation.is_of_http();
        return meant.then(anything);
    }
    let mut all = Vec::new();
    let mut add = |any: Vec<pb::Permission>, not: Vec<pb::Permission>| {
        all.extend(one_of(any));
        all.extend(one_of(not).map(|not| permission(Rule::NotRule(Box::new(not)))));
    };
    let methods = |list: &[String]| list.iter().map(|it| method(it)).collect();
    add(methods(&operation.methods), methods(&operation.not_methods));
    let paths = |list: &[Wildcard]| list.iter().map(path).collect();
    add(paths(&operation.paths), paths(&operation.not_paths));
    let hosts = |list: &[Wildcard]| list.iter().map(host).collect();
    add(hosts(&operation.hosts), hosts(&operation.not_hosts));
    for condition in &operation.headers {
        let values = |list: &[Wildcard]| -> Vec<pb::Permission> {
            list.iter().map(|it| header(condition, it)).collect()
        };
        let any = match (condition.values.is_empty(), condition.not_values.is_empty()) {
            (true, true) => vec![header(condition, &Wildcard::Any)],
            _ => values(&condition.values),
        };
        add(any, values(&condition.not_values));
    }
    Some(match all.len() {
        0 => anything(),
        _ => permission(Rule::AndRules(permission::Set { rules: all })),
    })
}

fn permission(rule: Rule) -> pb::Permission {
    pb::Permission { rule: Some(rule) }
}

fn anything() -> pb::Permission {
    permission(Rule::Any(true))
}

fn one_of(rules: Vec<pb::Permission>) -> Option<pb::Permission> {
    (!rules.is_empty()).then(|| permission(Rule::OrRules(permission::Set { rules })))
}

fn method(name: &str) -> pb::Permission {
    on_header(
        ":method",
        HeaderMatchSpecifier::StringMatch(text(MatchPattern::Exact(name.to_owned()))),
    )
}

fn path(wanted: &Wildcard) -> pb::Permission {
    permission(Rule::UrlPath(matcher::PathMatcher {
        rule: Some(matcher::path_matcher::Rule::Path(wildcard(wanted))),
    }))
}

/// A host in any case, whatever port it comes with, an empty one too (RFC 3986 §3.2.3), and with the dot that ends a full name.
fn host(wanted: &Wildcard) -> pb::Permission {
    let regex = match wanted {
        Wildcard::Any => ".*".to_owned(),
        Wildcard::Exact(name) | Wildcard::Prefix(name) => format!("(?i){}", escaped(name)),
        Wildcard::Suffix(end) => format!("(?i)[^:]+{}", escaped(end)),
    };
    let regex = matcher::RegexMatcher {
        regex: format!(r"{regex}\.?(:[0-9]*)?"),
        ..matcher::RegexMatcher::default()
    };
    on_header(
        ":authority",
        HeaderMatchSpecifier::StringMatch(text(MatchPattern::SafeRegex(regex))),
    )
}

/// Names of hosts have no other characters that mean something.
fn escaped(name: &str) -> String {
    name.replace('.', r"\.")
}

fn header(condition: &HeaderCondition, wanted: &Wildcard) -> pb::Permission {
    let specifier = match wanted {
        Wildcard::Any => HeaderMatchSpecifier::PresentMatch(true),
        wanted => HeaderMatchSpecifier::StringMatch(wildcard(wanted)),
    };
    on_header(&condition.name, specifier)
}

fn on_header(name: &str, specifier: HeaderMatchSpecifier) -> pb::Permission {
    permission(Rule::Header(HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }))
}

fn wildcard(wanted: &Wildcard) -> matcher::StringMatcher {
    text(match wanted {
        Wildcard::Any => MatchPattern::Prefix(String::new()),
        Wildcard::Exact(it) => MatchPattern::Exact(it.clone()),
        Wildcard::Prefix(it) => MatchPattern::Prefix(it.clone()),
        Wildcard::Suffix(it) => MatchPattern::Suffix(it.clone()),
    })
}

fn text(pattern: MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..matcher::StringMatcher::default()
    }
}

/// What a caller has to be, all of it.
fn source(source: &AccessSource, action: Action) -> Vec<pb::Principal> {
    let mut all = Vec::new();
    let mut add = |any: Vec<pb::Principal>, not: Vec<pb::Principal>| {
        all.extend(either(any));
        all.extend(either(not).map(|not| principal(Identifier::NotId(Box::new(not)))));
    };
    let ids = |list: &[Wildcard]| list.iter().map(identity).collect();
    add(ids(&source.identities), ids(&source.not_identities));
    let namespaces = |list: &[String]| list.iter().map(|it| namespace(it)).collect();
    add(
        namespaces(&source.namespaces),
        namespaces(&source.not_namespaces),
    );
    let domains = |list: &[String]| list.iter().map(|it| trust_domain(it)).collect();
    add(
        domains(&source.trust_domains),
        domains(&source.not_trust_domains),
    );
    let addresses = |list: &[AddressRange]| list.iter().map(address).collect();
    add(
        addresses(&source.addresses),
        addresses(&source.not_addresses),
    );
    let excludes = !source.not_identities.is_empty()
        || !source.not_namespaces.is_empty()
        || !source.not_trust_domains.is_empty();
    if action == Action::Allow && excludes {
        // Who does not say who he is, is not somebody else.
        all.push(identity(&Wildcard::Any));
    }
    all
}

fn principal(identifier: Identifier) -> pb::Principal {
    pb::Principal {
        identifier: Some(identifier),
    }
}

fn all_of(mut ids: Vec<pb::Principal>) -> pb::Principal {
    match ids.len() {
        0 => principal(Identifier::Any(true)),
        1 => ids.remove(0),
        _ => principal(Identifier::AndIds(principal::Set { ids })),
    }
}

fn either(ids: Vec<pb::Principal>) -> Option<pb::Principal> {
    (!ids.is_empty()).then(|| principal(Identifier::OrIds(principal::Set { ids })))
}

fn named(pattern: MatchPattern) -> pb::Principal {
    principal(Identifier::Authenticated(principal::Authenticated {
        principal_name: Some(text(pattern)),
    }))
}

fn identity(wanted: &Wildcard) -> pb::Principal {
    named(match wanted {
        Wildcard::Exact(id) => MatchPattern::Exact(id.clone()),
        Wildcard::Prefix(prefix) => MatchPattern::Prefix(prefix.clone()),
        Wildcard::Any | Wildcard::Suffix(_) => MatchPattern::Prefix(SPIFFE.to_owned()),
    })
}

fn namespace(name: &str) -> pb::Principal {
    named(MatchPattern::SafeRegex(matcher::RegexMatcher {
        regex: format!("{SPIFFE}[^/]+/ns/{name}/sa/[^/]+"),
        ..matcher::RegexMatcher::default()
    }))
}

fn trust_domain(name: &str) -> pb::Principal {
    named(MatchPattern::Prefix(format!("{SPIFFE}{name}/")))
}

fn address(range: &AddressRange) -> pb::Principal {
    principal(Identifier::DirectRemoteIp(CidrRange {
        address_prefix: range.0.address.to_string(),
        prefix_len: Some(u32_value(range.0.length.into())),
    }))
}

/// A value of the claim, or an element of it where it is a list.
fn claim(condition: &ClaimCondition) -> pb::Principal {
    let keys = std::iter::once(PAYLOAD).chain(condition.claim.split('.'));
    let path = keys.map(|key| matcher::metadata_matcher::PathSegment {
        segment: Some(matcher::metadata_matcher::path_segment::Segment::Key(
            key.to_owned(),
        )),
    });
    let value = |pattern| matcher::ValueMatcher {
        match_pattern: Some(pattern),
    };
    let either = condition.values.iter().flat_map(|wanted| {
        let one = || {
            value(matcher::value_matcher::MatchPattern::StringMatch(wildcard(
                wanted,
            )))
        };
        let list = matcher::ListMatcher {
            match_pattern: Some(matcher::list_matcher::MatchPattern::OneOf(Box::new(one()))),
        };
        let list = matcher::value_matcher::MatchPattern::ListMatch(Box::new(list));
        [one(), value(list)]
    });
    let either = matcher::OrMatcher {
        value_matchers: either.collect(),
    };
    let metadata = matcher::MetadataMatcher {
        filter: JWT_AUTHN_NAME.to_owned(),
        path: path.collect(),
        value: Some(value(matcher::value_matcher::MatchPattern::OrMatch(either))),
        ..matcher::MetadataMatcher::default()
    };
    principal(Identifier::SourcedMetadata(pb::SourcedMetadata {
        metadata_matcher: Some(metadata),
        ..pb::SourcedMetadata::default()
    }))
}
