//! What people are told of a rule: what of it a call does not meet.

use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::gateway_api::authorization_policy::{
    AccessOperation, AccessRule, AccessSource, Action,
};
use weft_config::policy::access::{AccessRules, Asked};
use weft_xds_proto::pb::envoy::config::rbac::v3 as pb;

use super::{Layer, rules};

/// What of a rule a call does not meet, by the fields' names; nothing where it meets each of them alone.
pub(crate) fn unmet(
    rule: &AccessRule,
    action: Action,
    ports: &[u16],
    asked: &Asked<'_>,
) -> Vec<String> {
    let layer = match asked.head {
        Some(_) => Layer::Http,
        None => Layer::Tcp,
    };
    let holds = |rule: AccessRule| holds(&rule, action, ports, layer, asked);
    let mut unmet = Vec::new();
    for (index, source) in rule.from.iter().enumerate() {
        let fields = source_fields(source).into_iter();
        let failed = fields.filter(|(_, source)| {
            !holds(AccessRule {
                from: vec![source.clone()],
                ..AccessRule::default()
            })
        });
        unmet.push(
            failed
                .map(|(name, _)| format!("from[{index}].{name}"))
                .collect(),
        );
    }
    let mut told = one_has_to(&unmet);
    unmet.clear();
    for (index, operation) in rule.to.iter().enumerate() {
        let fields = operation_fields(operation).into_iter();
        let failed = fields.filter(|(_, operation)| {
            !holds(AccessRule {
                to: vec![operation.clone()],
                ..AccessRule::default()
            })
        });
        unmet.push(
            failed
                .map(|(name, _)| format!("to[{index}].{name}"))
                .collect(),
        );
    }
    told.extend(one_has_to(&unmet));
    let claims = rule.when.iter().enumerate().filter(|(_, condition)| {
        !holds(AccessRule {
            when: vec![(*condition).clone()],
            ..AccessRule::default()
        })
    });
    told.extend(claims.map(|(index, it)| format!("when[{index}] ({})", it.claim)));
    told
}

/// Of several entries one has to fit: what keeps each of them from it, unless one does.
fn one_has_to(entries: &[Vec<String>]) -> Vec<String> {
    match entries.iter().any(Vec::is_empty) {
        true => Vec::new(),
        false => entries.concat(),
    }
}

fn holds(
    rule: &AccessRule,
    action: Action,
    ports: &[u16],
    layer: Layer,
    asked: &Asked<'_>,
) -> bool {
    let Some(policy) = rules::build(rule, action, ports, layer) else {
        return false;
    };
    let proto = pb::Rbac {
        policies: [(String::new(), policy)].into(),
        ..pb::Rbac::default()
    };
    let parsed = AccessRules::parse(&proto, &FieldPath::root(), &mut Diagnostics::new());
    parsed.is_some_and(|rules| rules.judge(asked).allowed)
}

/// One for each field that says something, with that alone.
macro_rules! fields {
    ($whole:expr, $kind:ident: $($name:literal $field:ident),+ $(,)?) => {{
        let whole = $whole;
        let all = [$(($name, $kind { $field: whole.$field.clone(), ..$kind::default() })),+];
        all.into_iter().filter(|(_, it)| *it != $kind::default()).collect()
    }};
}

fn source_fields(source: &AccessSource) -> Vec<(&'static str, AccessSource)> {
    fields!(source, AccessSource:
        "identities" identities,
        "notIdentities" not_identities,
        "namespaces" namespaces,
        "notNamespaces" not_namespaces,
        "trustDomains" trust_domains,
        "notTrustDomains" not_trust_domains,
        "addresses" addresses,
        "notAddresses" not_addresses,
    )
}

fn operation_fields(operation: &AccessOperation) -> Vec<(&'static str, AccessOperation)> {
    fields!(operation, AccessOperation:
        "ports" ports,
        "notPorts" not_ports,
        "methods" methods,
        "notMethods" not_methods,
        "paths" paths,
        "notPaths" not_paths,
        "hosts" hosts,
        "notHosts" not_hosts,
        "headers" headers,
    )
}
