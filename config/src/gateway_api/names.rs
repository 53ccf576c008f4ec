//! Names of services in all their forms.

use std::fmt;

/// The domain of service hosts where nothing else is configured.
pub const DEFAULT_CLUSTER_DOMAIN: &str = "cluster.local";

/// A service's namespace and name: `reviews`, `reviews.default`, `reviews.default.svc` and
/// `reviews.default.svc.cluster.local` are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceName {
    /// Qualifies `text`, in any of its forms and any case, as seen from `namespace`. `None` where it cannot name a service
    /// of this mesh, such as `example.com.`, an address, or a host below another domain than `domain`.
    pub fn qualify(text: &str, namespace: &str, domain: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        let mut parts = text.splitn(3, '.');
        let name = parts.next()?;
        let namespace = parts.next().unwrap_or(namespace);
        match parts.next() {
            None | Some("svc") => {}
            Some(rest) if rest.strip_prefix("svc.") == Some(domain) => {}
            Some(_) => return None,
        }
        if !is_dns_label(name) || !is_dns_label(namespace) {
            return None;
        }
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The canonical host: `reviews.default.svc.cluster.local`.
    pub fn host(&self, domain: &str) -> String {
        format!("{}.{}.svc.{domain}", self.name, self.namespace)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether `text` is a DNS-1123 label: 1 to 63 of a–z, 0–9 and `-`, which neither begins nor ends it.
pub fn is_dns_label(text: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}

/// Whether `text` is a DNS-1123 subdomain: labels with dots between them, 253 bytes at most.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
