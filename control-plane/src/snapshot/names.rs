//! The names that clients ask for: `HOST[:PORT]`, as an application would write them.

use std::net::{IpAddr, Ipv6Addr};

use weft_config::gateway_api::ServiceName;

/// The host part of an asked-for name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A service's name, short or long.
    Name(String),
    /// A service's virtual address.
    Ip(IpAddr),
}

/// An asked-for LDS name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedName {
    /// Who.
    pub host: Host,
    /// Which port; 80 where none is written.
    pub port: u16,
}

impl AskedName {
    /// Reads `HOST[:PORT]`; `None` for anything else, also for upper case, which canonical names never have.
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() > NAME_BYTES_MAX || name.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        if let Some(rest) = name.strip_prefix('[') {
            let (ip, port) = rest.split_once(']')?;
            return Some(Self {
                host: Host::Ip(IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?)),
                port: match port.strip_prefix(':') {
                    Some(port) => parse_port(port)?,
                    None if port.is_empty() => 80,
                    None => return None,
                },
            });
        }
        if let Ok(ip) = name.parse::<Ipv6Addr>() {
            return Some(Self {
                host: Host::Ip(IpAddr::V6(ip)),
                port: 80,
            });
        }
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (name, 80),
        };
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip),
            Err(_) if host.is_empty() => return None,
            Err(_) => Host::Name(host.to_owned()),
        };
        Some(Self { host, port })
    }
}

/// The canonical host that `name` means in `namespace`: `NAME.NAMESPACE.svc.DOMAIN`.
pub(crate) fn canonical_host(name: &str, namespace: &str, domain: &str) -> Option<String> {
    Some(ServiceName::qualify(name, namespace, domain)?.host(domain))
}

/// All ways to write the canonical host `service.namespace.svc.domain`, shortest last.
///
/// The bare name is not among them: it means something only within a namespace.
pub(crate) fn qualified_forms(service: &str, namespace: &str, domain: &str) -> [String; 3] {
    [
        format!("{service}.{namespace}.svc.{domain}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}"),
    ]
}

fn parse_port(port: &str) -> Option<u16> {
    if port.starts_with('+') {
        return None;
    }
    port.parse().ok().filter(|port| *port > 0)
}

/// DNS allows 253 characters; a port and brackets come on top.
const NAME_BYTES_MAX: usize = 264;
