//! Callers of other trust domains, whom TLS of the mesh does not take.

use super::{Remark, spec};
use crate::diag::{FieldPath, Finding, Severity};
use crate::gateway_api::authorization_policy::{AccessSource, Action, Wildcard};
use crate::gateway_api::{Object, Spec};
use crate::spiffe::{SpiffeId, TrustDomain};

/// What of an `AuthorizationPolicy` can be met by nobody, because he would be of another trust domain than `own`, the mesh's.
pub fn foreign_callers(object: &Object, own: &TrustDomain) -> Vec<Remark> {
    let Spec::AuthorizationPolicy(policy) = &object.spec else {
        return Vec::new();
    };
    let rules = policy.rules.iter().enumerate();
    let places = rules.flat_map(|(rule, it)| {
        let path = spec().field("rules").index(rule).field("from");
        let sources = it.from.iter().enumerate();
        sources.flat_map(move |(index, source)| foreign(&path.index(index), source, own))
    });
    let consequence = match policy.action {
        Action::Allow => "it lets nobody in",
        Action::Deny => "it keeps nobody out",
    };
    let remarks = places.map(|(path, domain)| Remark {
        object: object.key(),
        finding: Finding {
            severity: Severity::Warning,
            path,
            location: None,
            message: format!(
                "`{domain}` is another trust domain than the mesh's, `{own}`, and TLS of the mesh does not take it: {consequence}"
            ),
        },
    });
    remarks.collect()
}

fn foreign(path: &FieldPath, source: &AccessSource, own: &TrustDomain) -> Vec<(FieldPath, String)> {
    let mut found = Vec::new();
    for (index, wildcard) in source.identities.iter().enumerate() {
        let text = match wildcard {
            Wildcard::Exact(text) => text.as_str(),
            Wildcard::Prefix(text) => text.trim_end_matches('/'),
            Wildcard::Any | Wildcard::Suffix(_) => continue,
        };
        if let Ok(id) = SpiffeId::parse(text)
            && id.trust_domain() != own
        {
            let domain = id.trust_domain().to_string();
            found.push((path.field("identities").index(index), domain));
        }
    }
    for (index, domain) in source.trust_domains.iter().enumerate() {
        if domain != own.as_str() {
            found.push((path.field("trustDomains").index(index), domain.clone()));
        }
    }
    found
}
