//! Reading `AuthorizationPolicy`.

use super::{Fields, Item, Reader, check, reference};
use crate::gateway_api::authorization_policy::{
    AccessOperation, AccessRule, AccessSource, Action, AddressRange, AuthorizationPolicy,
    ClaimCondition, HeaderCondition, Mode, OnRevoke, Wildcard,
};
use crate::gateway_api::policy_target::PolicyTarget;
use crate::route::normalize_path;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::yaml::shorten;

const RULES_MAX: usize = 64;
const PARTS_MAX: usize = 32;
const ENTRIES_MAX: usize = 64;
const CONDITIONS_MAX: usize = 16;

/// Reads the `spec` of an `AuthorizationPolicy`.
pub(crate) fn authorization_policy(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<AuthorizationPolicy> {
    let target_refs = targets(cx, fields);
    let action = fields
        .get("action")
        .and_then(|item| item.choice(cx, &[("Allow", Action::Allow), ("Deny", Action::Deny)]));
    let mode = fields
        .get("mode")
        .and_then(|item| item.choice(cx, &[("Enforce", Mode::Enforce), ("DryRun", Mode::DryRun)]));
    let on_revoke = fields
        .get("onRevoke")
        .and_then(|item| item.choice(cx, &[("Keep", OnRevoke::Keep), ("Close", OnRevoke::Close)]));
    let action = action.unwrap_or_default();
    let rules = fields.require(cx, "rules").map(|list| {
        let rules = list.each(cx, 0, RULES_MAX, rule);
        check::unique(cx, &list, &rules, "the rule", |rule| rule.name.clone());
        if rules.is_empty() && action == Action::Deny && !cx.has_faults() {
            list.fault(
                cx,
                "a policy that denies must have a rule; `rules: [{}]` denies everybody",
            );
        }
        rules
    });
    Some(AuthorizationPolicy {
        target_refs,
        action,
        mode: mode.unwrap_or_default(),
        on_revoke: on_revoke.unwrap_or_default(),
        rules: rules?,
    })
}

/// `targetRefs`: services alone, for it is their side that judges.
pub(super) fn targets(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Vec<PolicyTarget> {
    if fields.get("targetRefs").is_none() {
        if let Some(item) = fields.get("targetRef") {
            item.fault(cx, "is a list here: write `targetRefs: [{…}]`");
        }
        return Vec::new();
    }
    reference::service_target_refs(cx, fields)
}

fn rule(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AccessRule> {
    let mut fields = item.fields(cx)?;
    let name = fields
        .get("name")
        .and_then(|item| check::section(cx, &item));
    let from = fields.get("from");
    let from = from.map(|list| list.each(cx, 1, PARTS_MAX, source));
    let to = fields.get("to");
    let to = to.map(|list| list.each(cx, 1, PARTS_MAX, operation));
    let when = fields
        .get("when")
        .map(|list| list.each(cx, 1, CONDITIONS_MAX, claim));
    fields.finish(cx);
    Some(AccessRule {
        name,
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        when: when.unwrap_or_default(),
    })
}

/// The list `name`, each entry read by `read`; none where it is not given. One that is given has entries: an empty one would fit
/// nothing to one reader and everything to another.
fn entries<T>(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
    read: impl FnMut(&mut Reader<'_>, &Item<'_>) -> Option<T>,
) -> Vec<T> {
    let list = fields.get(name);
    list.map(|list| list.each(cx, 1, ENTRIES_MAX, read))
        .unwrap_or_default()
}

fn source(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AccessSource> {
    let mut fields = item.fields(cx)?;
    let at = &mut fields;
    let source = AccessSource {
        identities: entries(cx, at, "identities", identity),
        not_identities: entries(cx, at, "notIdentities", identity),
        namespaces: entries(cx, at, "namespaces", check::label),
        not_namespaces: entries(cx, at, "notNamespaces", check::label),
        trust_domains: entries(cx, at, "trustDomains", trust_domain),
        not_trust_domains: entries(cx, at, "notTrustDomains", trust_domain),
        addresses: entries(cx, at, "addresses", address),
        not_addresses: entries(cx, at, "notAddresses", address),
    };
    if source == AccessSource::default() && !cx.has_faults() {
        item.fault(
            cx,
            "says nothing of the caller; leave `from` out where anybody is meant",
        );
    }
    fields.finish(cx);
    Some(source)
}

fn operation(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AccessOperation> {
    let mut fields = item.fields(cx)?;
    let at = &mut fields;
    let operation = AccessOperation {
        ports: entries(cx, at, "ports", |cx, item| item.port(cx)),
        not_ports: entries(cx, at, "notPorts", |cx, item| item.port(cx)),
        methods: entries(cx, at, "methods", method),
        not_methods: entries(cx, at, "notMethods", method),
        paths: entries(cx, at, "paths", path),
        not_paths: entries(cx, at, "notPaths", path),
        hosts: entries(cx, at, "hosts", host),
        not_hosts: entries(cx, at, "notHosts", host),
        headers: at
            .get("headers")
            .map(|list| list.each(cx, 1, CONDITIONS_MAX, header))
            .unwrap_or_default(),
    };
    if operation == AccessOperation::default() && !cx.has_faults() {
        item.fault(
            cx,
            "says nothing of the call; leave `to` out where anything is meant",
        );
    }
    fields.finish(cx);
    Some(operation)
}

/// A SPIFFE id, one with `/*` at its end, or `*`.
fn identity(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Wildcard> {
    item.parsed(cx, |text| {
        let wildcard = Wildcard::parse(text)?;
        let id = match &wildcard {
            Wildcard::Any => return Ok(wildcard),
            Wildcard::Exact(id) => id.as_str(),
            // Without its slash, `…/sa/web*` would also be whatever an account is called that begins so.
            Wildcard::Prefix(prefix) => prefix
                .strip_suffix('/')
                .ok_or("must have its `*` behind a `/`, which ends a name")?,
            Wildcard::Suffix(_) => {
                return Err("must begin with spiffe:// and its trust domain, or be `*`".to_owned());
            }
        };
        match SpiffeId::parse(id) {
            Ok(_) => Ok(wildcard),
            Err(error) => Err(format!("is no SPIFFE id: {error}")),
        }
    })
}

fn trust_domain(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| match TrustDomain::parse(text) {
        Ok(domain) => Ok(domain.as_str().to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

fn address(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AddressRange> {
    item.parsed(cx, AddressRange::parse)
}

fn method(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
        match fits {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "must be a method in capitals, got `{}`",
                shorten(text)
            )),
        }
    })
}

/// A path as requests have it when they are judged: one in another form would never be met.
fn path(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Wildcard> {
    item.parsed(cx, |text| {
        let wildcard = Wildcard::parse(text)?;
        let whole = match &wildcard {
            Wildcard::Any => return Ok(wildcard),
            Wildcard::Exact(path) | Wildcard::Prefix(path) => path.clone(),
            Wildcard::Suffix(end) => format!("/-{end}"),
        };
        if !whole.starts_with('/') {
            return Err(format!("must begin with `/` or `*`, got `{}`", shorten(text)));
        }
        if whole.bytes().any(|b| b <= 0x20 || b >= 0x7f || b == b'?' || b == b'#') {
            return Err(format!(
                "must be visible ASCII without `?` and `#`, other bytes percent-encoded, got `{}`",
                shorten(text)
            ));
        }
        let mut normal = Vec::new();
        let normalized = normalize_path(whole.as_bytes(), true, &mut normal);
        if normalized.is_err() || normal != whole.as_bytes() {
            let rule = "can never be met: paths are judged with `//`, `/./` and `/../` resolved, and %-escapes decoded where they need not be, else in capitals";
            return Err(format!("`{}` {rule}", shorten(text)));
        }
        Ok(wildcard)
    })
}

/// A host in lower case, `*.` and one, or `*`.
fn host(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Wildcard> {
    item.parsed(cx, |text| {
        let wildcard = Wildcard::parse(text)?;
        let name = match &wildcard {
            Wildcard::Any => return Ok(wildcard),
            Wildcard::Exact(name) => name.as_str(),
            Wildcard::Suffix(end) => end.strip_prefix('.').unwrap_or_default(),
            Wildcard::Prefix(_) => "",
        };
        if crate::gateway_api::names::is_dns_subdomain(name) {
            return Ok(wildcard);
        }
        Err(format!(
            "must be a host in lower case without port, or `*.` and one, got `{}`",
            shorten(text)
        ))
    })
}

fn header(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<HeaderCondition> {
    let mut fields = item.fields(cx)?;
    let name = fields
        .require(cx, "name")
        .and_then(|item| check::header_name(cx, &item));
    if name
        .as_deref()
        .is_some_and(|name| name.eq_ignore_ascii_case("host"))
    {
        item.fault(cx, "`host` is what `hosts` are for");
    }
    let values = entries(cx, &mut fields, "values", header_value);
    let not_values = entries(cx, &mut fields, "notValues", header_value);
    fields.finish(cx);
    Some(HeaderCondition {
        name: name?.to_ascii_lowercase(),
        values,
        not_values,
    })
}

fn header_value(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Wildcard> {
    check::header_value(cx, item)?;
    item.parsed(cx, Wildcard::parse)
}

fn claim(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ClaimCondition> {
    let mut fields = item.fields(cx)?;
    let claim = fields.require(cx, "claim").and_then(|item| {
        item.parsed(cx, |text| {
            let fits = text.len() <= 256 && text.split('.').all(|part| !part.is_empty());
            match fits {
                true => Ok(text.to_owned()),
                false => Err("must be a claim's name, or names with `.` between them".to_owned()),
            }
        })
    });
    let values = fields.require(cx, "values").map(|list| {
        list.each(cx, 1, ENTRIES_MAX, |cx, item| {
            item.parsed(cx, Wildcard::parse)
        })
    });
    fields.finish(cx);
    Some(ClaimCondition {
        claim: claim?,
        values: values?,
    })
}
