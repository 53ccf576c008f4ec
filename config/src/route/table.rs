//! Building route tables, and finding a route in one.

use std::sync::Arc;

use super::index::{HostIndex, RouteIndex, TableIndex};
use super::matching::Request;
use super::{Mismatch, RequestHead, Route, RouteId, RouteTable, VirtualHost};
use crate::diag::{Diagnostics, FieldPath};

impl RouteTable {
    /// Puts virtual hosts together to a table: numbers their routes and indexes them.
    ///
    /// `None` where a domain is not valid or stands twice; `diag` says which, below `at`.
    pub fn build(
        name: Arc<str>,
        mut virtual_hosts: Vec<VirtualHost>,
        ignore_port_in_host_matching: bool,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let hosts = index_hosts(&virtual_hosts, at, diag)?;
        let mut first_route = Vec::with_capacity(virtual_hosts.len());
        let mut id = 0;
        for host in &mut virtual_hosts {
            first_route.push(id);
            for route in &mut host.routes {
                route.id = RouteId(id);
                id += 1;
            }
        }
        let routes = virtual_hosts.iter().map(RouteIndex::of).collect();
        Some(Self {
            name,
            virtual_hosts,
            ignore_port_in_host_matching,
            index: TableIndex {
                hosts,
                routes,
                first_route,
            },
        })
    }

    /// The route for a request: of the virtual host whose domain fits best, the first that matches.
    ///
    /// `random` is any u64, drawn once per request; it decides about shares of requests. Costs about the same for
    /// ten routes and for ten thousand, and allocates nothing.
    pub fn find(&self, head: &impl RequestHead, random: u64) -> Option<&Route> {
        let host = self.host_index(head.authority())?;
        let request = Request::new(head, random);
        let routes = &self.virtual_hosts.get(host)?.routes;
        self.index
            .routes
            .get(host)?
            .first(routes, request.path, |route| {
                route.matches.mismatch_of(&request).is_none()
            })
    }

    /// The virtual host whose domain fits `authority` best: the exact one, then the longest `*suffix`, then the
    /// longest `prefix*`, then `*`.
    pub fn virtual_host(&self, authority: &[u8]) -> Option<&VirtualHost> {
        self.virtual_hosts.get(self.host_index(authority)?)
    }

    /// The route of this number.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        let (host, first) = self.host_of(id)?;
        host.routes.get(usize::try_from(id.0 - first).ok()?)
    }

    /// All routes in the order of their numbers.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.virtual_hosts.iter().flat_map(|host| &host.routes)
    }

    /// How [`Self::find`] decides about a request, step by step.
    pub fn explain(&self, head: &impl RequestHead, random: u64) -> Explanation<'_> {
        let virtual_host = self.virtual_host(head.authority());
        let request = Request::new(head, random);
        let mut explanation = Explanation {
            virtual_host,
            refused: Vec::new(),
            route: None,
        };
        for route in virtual_host.iter().flat_map(|host| &host.routes) {
            match route.matches.mismatch_of(&request) {
                Some(why) => explanation.refused.push(Refused { route, why }),
                None => {
                    explanation.route = Some(route);
                    break;
                }
            }
        }
        explanation
    }

    fn host_index(&self, authority: &[u8]) -> Option<usize> {
        let authority = match self.ignore_port_in_host_matching {
            true => without_port(authority),
            false => authority,
        };
        usize::try_from(self.index.hosts.find(authority)?).ok()
    }

    fn host_of(&self, id: RouteId) -> Option<(&VirtualHost, u32)> {
        let after = self
            .index
            .first_route
            .partition_point(|first| *first <= id.0);
        let at = after.checked_sub(1)?;
        let host = self.virtual_hosts.get(at)?;
        Some((host, *self.index.first_route.get(at)?))
    }
}

/// `host` of `host:port` and `[address]:port`; a bare IPv6 address stays whole.
pub(super) fn without_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memrchr(b':', authority) else {
        return authority;
    };
    let (host, port) = authority.split_at(colon);
    let digits = port.iter().skip(1).all(u8::is_ascii_digit) && port.len() > 1;
    let bracketed = host.first() == Some(&b'[') && host.last() == Some(&b']');
    match digits && (bracketed || !host.contains(&b':')) {
        true => host,
        false => authority,
    }
}

fn index_hosts(
    virtual_hosts: &[VirtualHost],
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<HostIndex> {
    let mut index = HostIndex::default();
    let mut sound = true;
    for (position, host) in virtual_hosts.iter().enumerate() {
        for (domain_position, domain) in host.domains.iter().enumerate() {
            let Err(fault) = insert_domain(&mut index, domain, position, virtual_hosts) else {
                continue;
            };
            let host_at = at.field("virtual_hosts").index(position);
            diag.fault(host_at.field("domains").index(domain_position), fault);
            sound = false;
        }
    }
    sound.then_some(index)
}

fn insert_domain(
    index: &mut HostIndex,
    domain: &str,
    position: usize,
    virtual_hosts: &[VirtualHost],
) -> Result<(), String> {
    if domain.is_empty() {
        return Err("a domain must not be empty; `*` matches every host".to_owned());
    }
    let inner = domain.strip_prefix('*').unwrap_or(domain);
    let inner = match inner.len() == domain.len() {
        true => domain.strip_suffix('*').unwrap_or(domain),
        false => inner,
    };
    if inner.contains('*') {
        return Err(format!(
            "{domain:?} may have one `*`, at its start or its end"
        ));
    }
    let position = u32::try_from(position).map_err(|_| "too many virtual hosts".to_owned())?;
    index
        .insert(&domain.to_ascii_lowercase(), position)
        .map_err(|other| {
            let name = usize::try_from(other)
                .ok()
                .and_then(|at| virtual_hosts.get(at));
            let name = name.map_or("", |host| &host.name);
            format!("{domain:?} is already a domain of virtual host {name:?}")
        })
}

/// How a route was found, or why none was.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The virtual host that serves the authority; `None`: no domain fits.
    pub virtual_host: Option<&'a VirtualHost>,
    /// The routes before the one that matched, and why each did not.
    pub refused: Vec<Refused<'a>>,
    /// The route that matched.
    pub route: Option<&'a Route>,
}

/// A route that did not match.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The route.
    pub route: &'a Route,
    /// The first of its conditions that does not hold.
    pub why: Mismatch<'a>,
}

#[cfg(test)]
mod tests;
