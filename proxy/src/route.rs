//! A request head and the snapshot become a route: which listener, which view of it, which route, which cluster.
//!
//! Pure: nothing here waits. A name that has to be asked for gives a ticket, and the engine asks again when it is in.

use std::sync::Arc;

use weft_config::listener::HttpConnectionManager;
use weft_config::route::{Forward, NormalizeError, Route, RouteAction, RouteId, normalize_path};

use crate::balance::Cluster;
use crate::http::head::{Head, Method};
use crate::listener::{ConnectionFacts, UNKNOWN};
use crate::snapshot::{
    Absence, HttpView, ListenerView, RouteCluster, RouteView, Snapshot, Ticket, Wanted,
    authority_name,
};

/// What became of looking for a listener.
pub(crate) enum Lookup {
    /// In force.
    Found(Arc<ListenerView>),
    /// Asked for.
    Pending(Ticket),
    /// Not to be had.
    Absent(Absence),
    /// To be found by the request's host, and there is none that could be a name.
    NoHost,
    /// The connection's listener is gone.
    NoListener,
}

/// The listener that a request belongs to: its connection's, or (mesh mode) the one named by its authority, which is
/// left in `text`.
pub(crate) fn listener(
    snapshot: &Snapshot,
    facts: &ConnectionFacts,
    head: &Head,
    text: &mut String,
) -> Lookup {
    let Some(listener) = snapshot.listener(&facts.listener) else {
        return Lookup::NoListener;
    };
    let Some(demand) = &listener.on_demand else {
        return Lookup::Found(listener.clone());
    };
    let Some(name) = authority_name(head.authority(), text) else {
        return for_unknown(snapshot, facts).map_or(Lookup::NoHost, Lookup::Found);
    };
    match demand.want(name) {
        Wanted::Ready(listener) => Lookup::Found(listener),
        Wanted::Pending(ticket) => Lookup::Pending(ticket),
        Wanted::Absent(why) => {
            for_unknown(snapshot, facts).map_or(Lookup::Absent(why), Lookup::Found)
        }
    }
}

/// The listener of requests that name nobody, on a connection to where nobody is known: its own, where that has routes for them.
pub(crate) fn for_unknown(
    snapshot: &Snapshot,
    facts: &ConnectionFacts,
) -> Option<Arc<ListenerView>> {
    if &*facts.listener != UNKNOWN {
        return None;
    }
    let listener = snapshot.listener(&facts.listener)?;
    let table = http_view(listener, facts)?.table.as_ref()?;
    let routes = !table.table.virtual_hosts.is_empty();
    routes.then(|| listener.clone())
}

/// The HTTP view of `listener` for a connection; `None` where no chain takes it or it is not HTTP.
pub(crate) fn http_view<'a>(
    listener: &'a ListenerView,
    facts: &ConnectionFacts,
) -> Option<&'a Arc<HttpView>> {
    listener.find_chain(facts)?.http()
}

/// Resolves the path as the listener wants it, before anything looks at it.
pub(crate) fn normalize(
    head: &mut Head,
    hcm: &HttpConnectionManager,
    room: &mut Vec<u8>,
) -> Result<(), NormalizeError> {
    // `*` and the empty path of CONNECT name no resource.
    if !(hcm.normalize_path || hcm.merge_slashes) || head.path().first() != Some(&b'/') {
        return Ok(());
    }
    room.clear();
    normalize_path(head.path(), hcm.merge_slashes, room)?;
    if room != head.path() {
        head.set_path(room);
    }
    Ok(())
}

/// Where a request goes, in the one view that decides about it from its head to its end.
pub(crate) struct Routed {
    pub(crate) view: Arc<HttpView>,
    route: RouteId,
    /// The index of the route's cluster that was drawn.
    cluster: usize,
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoute {
    /// The routes are not known yet.
    #[error("the routes of {0} have not arrived yet")]
    Table(String),
    /// No virtual host serves the authority.
    #[error("no virtual host of {table} serves {authority:?}")]
    Host { table: String, authority: String },
    /// The virtual host serves it, but none of its routes is for `CONNECT`.
    #[error(
        "CONNECT {authority:?} is not carried: no route of virtual host {host} in {table} is for CONNECT (connect_matcher)"
    )]
    Connect {
        table: String,
        host: String,
        authority: String,
    },
    /// The virtual host serves it, but no route matches.
    #[error("no route of virtual host {host} in {table} matches {path:?}")]
    Match {
        table: String,
        host: String,
        path: String,
    },
}

impl NoRoute {
    /// What the downstream hears.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Table(_) => 503,
            Self::Host { .. } | Self::Connect { .. } | Self::Match { .. } => 404,
        }
    }
}

/// Finds the route for `head`; `random` decides about shares of requests, `draw` about the cluster.
pub(crate) fn find(
    view: Arc<HttpView>,
    head: &Head,
    random: u64,
    draw: u64,
) -> Result<Routed, NoRoute> {
    let Some(table) = &view.table else {
        return Err(NoRoute::Table(view.hcm.stat_prefix.to_string()));
    };
    let Some(route) = table.table.find(head, random) else {
        return Err(no_match(&table.table, head));
    };
    let cluster = match &route.action {
        RouteAction::Forward(forward) => forward.clusters.pick(draw),
        RouteAction::Redirect(_) | RouteAction::Direct { .. } | RouteAction::Broken(_) => 0,
    };
    let route = route.id;
    Ok(Routed {
        view,
        route,
        cluster,
    })
}

fn no_match(table: &weft_config::route::RouteTable, head: &Head) -> NoRoute {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match table.virtual_host(head.authority()) {
        None => NoRoute::Host {
            table: table.name.to_string(),
            authority: text(head.authority()),
        },
        Some(host) if head.method() == Some(Method::Connect) => NoRoute::Connect {
            table: table.name.to_string(),
            host: host.name.to_string(),
            authority: text(head.authority()),
        },
        Some(host) => NoRoute::Match {
            table: table.name.to_string(),
            host: host.name.to_string(),
            path: text(head.path()),
        },
    }
}

impl Routed {
    /// The route, as configured.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.view.table.as_ref()?.table.route(self.route)
    }

    /// What the route names, looked up.
    pub(crate) fn names(&self) -> Option<&RouteView> {
        self.view.table.as_ref()?.route(self.route)
    }

    /// The route's forward action.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        match &self.route()?.action {
            RouteAction::Forward(forward) => Some(forward),
            RouteAction::Redirect(_) | RouteAction::Direct { .. } | RouteAction::Broken(_) => None,
        }
    }

    /// The cluster that was drawn, as configured in the route.
    pub(crate) fn weighted(&self) -> Option<&weft_config::route::WeightedCluster> {
        self.forward()?.clusters.clusters.get(self.cluster)
    }

    /// The cluster that was drawn, looked up, with filters of its own.
    pub(crate) fn drawn(&self) -> Option<&RouteCluster> {
        self.names()?.clusters.get(self.cluster)
    }

    /// The cluster that was drawn; `None`: not in force.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.drawn()?.cluster.as_ref()
    }
}

/// Why a route does not take such a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPermitted {
    /// `CONNECT` where it does not end.
    #[error("CONNECT is not allowed on this route")]
    Connect,
    /// An upgrade that is not listed.
    #[error("upgrading to {0} is not allowed on this route")]
    Upgrade(String),
}

/// Whether the request asks to leave HTTP, where it may.
pub(crate) fn permits(routed: &Routed, head: &Head, connect: bool) -> Result<bool, NotPermitted> {
    let Some(forward) = routed.forward() else {
        return Ok(false);
    };
    if connect {
        return forward
            .terminate_connect
            .then_some(false)
            .ok_or(NotPermitted::Connect);
    }
    let Some(asked) = head.upgrade() else {
        return Ok(false);
    };
    let asked = String::from_utf8_lossy(asked).to_ascii_lowercase();
    let listed = |name: &Arc<str>| **name == *asked;
    let own = forward.upgrades.iter().find(|(name, _)| listed(name));
    let allowed = own.map_or_else(
        || routed.view.hcm.upgrades.iter().any(listed),
        |(_, allowed)| *allowed,
    );
    allowed.then_some(true).ok_or(NotPermitted::Upgrade(asked))
}
