//! Building route tables, and finding a route in one.

use std::sync::Arc;

use super::{HostIndex, Mismatch, RequestHead, Route, RouteId, RouteTable, VirtualHost};
use crate::diag::{Diagnostics, FieldPath};

impl RouteTable {
    /// Puts virtual hosts together to a table: numbers their routes and indexes them.
    ///
    /// `None` where a domain is not valid or stands in two virtual hosts; `diag` says which.
    pub fn build(
        name: Arc<str>,
        mut virtual_hosts: Vec<VirtualHost>,
        ignore_port_in_host_matching: bool,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let _ = (at, diag);
        let routes = virtual_hosts.iter_mut().flat_map(|host| &mut host.routes);
        for (route, id) in routes.zip(0..) {
            route.id = RouteId(id);
        }
        Some(Self {
            name,
            virtual_hosts,
            ignore_port_in_host_matching,
            index: HostIndex {},
        })
    }

    /// The route for a request: of the virtual host whose domain fits best, the first that matches.
    ///
    /// `random` is any u64, drawn once per request; it decides about shares of requests.
    pub fn find(&self, head: &impl RequestHead, random: u64) -> Option<&Route> {
        self.virtual_host(head.authority())?
            .routes
            .iter()
            .find(|route| route.matches.mismatch(head, random).is_none())
    }

    /// The virtual host whose domain fits `authority` best.
    pub fn virtual_host(&self, authority: &[u8]) -> Option<&VirtualHost> {
        let _ = authority;
        self.virtual_hosts.first()
    }

    /// The route of this number.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes().nth(usize::try_from(id.0).ok()?)
    }

    /// The virtual host that the route of this number belongs to.
    pub fn virtual_host_of(&self, id: RouteId) -> Option<&VirtualHost> {
        self.virtual_hosts
            .iter()
            .find(|host| host.routes.iter().any(|route| route.id == id))
    }

    /// All routes in the order of their numbers.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.virtual_hosts.iter().flat_map(|host| &host.routes)
    }

    /// How [`Self::find`] decides about a request, step by step.
    pub fn explain(&self, head: &impl RequestHead, random: u64) -> Explanation<'_> {
        let virtual_host = self.virtual_host(head.authority());
        let routes = virtual_host.map_or(&[][..], |host| &host.routes);
        let mut refused = Vec::new();
        for route in routes {
            match route.matches.mismatch(head, random) {
                Some(why) => refused.push(Refused { route, why }),
                None => {
                    return Explanation {
                        virtual_host,
                        refused,
                        route: Some(route),
                    };
                }
            }
        }
        Explanation {
            virtual_host,
            refused,
            route: None,
        }
    }
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
