//! Turns configuration into views: every name looked up, every limiter ready.
//!
//! Limiters whose configuration did not change are carried over, so that a push gives nobody a fresh bucket.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::warn;
use weft_config::listener::{
    AccessLog, ChainAction, FilterChain, HttpConnectionManager, HttpFilter, Listener, RouteSource,
    TcpProxy,
};
use weft_config::policy::access::AccessFilter;
use weft_config::policy::authn::JwtAuthn;
use weft_config::policy::{Fault, LocalRateLimit};
use weft_config::route::{FilterOverrides, Route, RouteAction, RouteTable, WeightedCluster};

use super::entries::{ClusterEntry, ListenerEntry, TableEntry};
use super::views::{
    ChainKind, ChainView, FilterView, HttpView, ListenerView, Map, RouteCluster, RouteView,
    TableView, TcpView,
};
use crate::balance::Cluster;
use crate::policy::{AccessGate, FaultInjector, JwtGate, KeyRing, LocalRateLimiter};
use crate::telemetry::{Metrics, Scope};
use crate::tls::Secrets;

/// Where names are looked up.
pub(super) struct Lookup<'a> {
    pub(super) clusters: &'a Map<Arc<str>, ClusterEntry>,
    pub(super) tables: &'a Map<Arc<str>, TableEntry>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) secrets: &'a Secrets,
    pub(super) keys: &'a KeyRing,
}

impl Lookup<'_> {
    pub(super) fn table(&self, table: &Arc<RouteTable>, before: Option<&TableView>) -> TableView {
        let mut limiters = Limiters::of(before, self.metrics);
        TableView {
            table: table.clone(),
            routes: table
                .routes()
                .map(|route| self.route(route, &mut limiters))
                .collect(),
        }
    }

    fn route(&self, route: &Route, limiters: &mut Limiters<'_>) -> RouteView {
        let (rate_limit, fault) = limiters.of_overrides(&route.overrides);
        RouteView {
            clusters: weighted(route)
                .iter()
                .map(|cluster| {
                    let (rate_limit, fault) = limiters.of_overrides(&cluster.overrides);
                    RouteCluster {
                        cluster: self.cluster(&cluster.name),
                        rate_limit,
                        fault,
                    }
                })
                .collect(),
            rate_limit,
            fault,
        }
    }

    pub(super) fn listener(&self, config: &Arc<Listener>, entry: &ListenerEntry) -> ListenerView {
        let before = entry.versions.view.as_deref();
        let old = |index: usize| before.and_then(|view| view.chains.get(index));
        let chains = config
            .filter_chains
            .iter()
            .enumerate()
            .map(|(index, chain)| self.chain(config, chain, old(index)))
            .collect();
        let old_default = before.and_then(|view| view.default_chain.as_ref());
        let default_chain = config
            .default_filter_chain
            .as_ref()
            .map(|chain| self.chain(config, chain, old_default));
        ListenerView {
            config: config.clone(),
            chains,
            default_chain,
            on_demand: entry.on_demand.clone(),
            last_use: entry.last_use.clone(),
        }
    }

    fn chain(
        &self,
        listener: &Listener,
        chain: &FilterChain,
        old: Option<&ChainView>,
    ) -> ChainView {
        let kind = match &chain.action {
            ChainAction::Http(hcm) => {
                let old = old.and_then(ChainView::http).map(|view| &**view);
                ChainKind::Http(Arc::new(self.http(listener, hcm, old)))
            }
            ChainAction::Tcp(proxy) => ChainKind::Tcp(Arc::new(self.tcp(listener, proxy))),
        };
        // An equal context goes on: tickets that it gave out stay good.
        let same = old.and_then(|old| old.tls.clone());
        let same = same.filter(|it| Some(&it.config) == chain.tls.as_ref());
        let tls = chain.tls.as_ref();
        ChainView {
            name: chain.name.clone(),
            tls: tls.map(|tls| same.unwrap_or_else(|| self.secrets.server(tls))),
            access: chain.access.iter().map(|it| self.gate(it)).collect(),
            kind,
        }
    }

    fn http(
        &self,
        listener: &Listener,
        hcm: &Arc<HttpConnectionManager>,
        old: Option<&HttpView>,
    ) -> HttpView {
        let table = match &hcm.routes {
            RouteSource::Rds(name) => self.tables.get(name).and_then(|entry| entry.view.clone()),
            RouteSource::Inline(table) => {
                let old = old.and_then(|view| view.table.as_deref());
                Some(Arc::new(self.table(table, old)))
            }
        };
        let mut limiters = Limiters::of_filters(old, self.metrics);
        HttpView {
            hcm: hcm.clone(),
            table,
            filters: hcm
                .filters
                .iter()
                .map(|it| limiters.filter(it, self.keys))
                .collect(),
            scope: self.scope(listener, &hcm.access_log),
        }
    }

    fn gate(&self, filter: &Arc<AccessFilter>) -> Arc<AccessGate> {
        Arc::new(AccessGate::new(filter.clone(), self.metrics))
    }

    fn tcp(&self, listener: &Listener, proxy: &Arc<TcpProxy>) -> TcpView {
        TcpView {
            proxy: proxy.clone(),
            clusters: proxy
                .clusters
                .iter()
                .map(|(name, weight)| (self.cluster(name), *weight))
                .collect(),
            scope: self.scope(listener, &proxy.access_log),
        }
    }

    fn cluster(&self, name: &Arc<str>) -> Option<Arc<Cluster>> {
        Some(self.clusters.get(name)?.handle.clone())
    }

    fn scope(&self, listener: &Listener, access_log: &[AccessLog]) -> Arc<Scope> {
        let build =
            |access_log| Scope::build(self.metrics, &listener.name, listener.direction, access_log);
        build(access_log).unwrap_or_else(|error| {
            // The parser compiles formats, so that what comes here compiles; traffic goes on in any case.
            warn!(listener = %listener.name, %error, "access log left out");
            build(&[]).expect("no access log has no format that could fail to compile")
        })
    }
}

/// The clusters of a route that forwards.
fn weighted(route: &Route) -> &[WeightedCluster] {
    match &route.action {
        RouteAction::Forward(forward) => &forward.clusters.clusters,
        _ => &[],
    }
}

/// The limiters in force before, to be taken over by equal configuration.
struct Limiters<'m> {
    metrics: &'m Metrics,
    rate_limits: Reuse<LocalRateLimit, LocalRateLimiter>,
    faults: Reuse<Fault, FaultInjector>,
    jwt: Reuse<JwtAuthn, JwtGate>,
}

impl<'m> Limiters<'m> {
    fn none(metrics: &'m Metrics) -> Self {
        Self {
            metrics,
            rate_limits: Reuse::default(),
            faults: Reuse::default(),
            jwt: Reuse::default(),
        }
    }

    fn of(before: Option<&TableView>, metrics: &'m Metrics) -> Self {
        let mut limiters = Self::none(metrics);
        let Some(before) = before else {
            return limiters;
        };
        for (route, view) in before.table.routes().zip(&before.routes) {
            limiters.note(&route.overrides, &view.rate_limit, &view.fault);
            for (cluster, view) in weighted(route).iter().zip(&view.clusters) {
                limiters.note(&cluster.overrides, &view.rate_limit, &view.fault);
            }
        }
        limiters
    }

    fn of_filters(before: Option<&HttpView>, metrics: &'m Metrics) -> Self {
        let mut limiters = Self::none(metrics);
        let Some(before) = before else {
            return limiters;
        };
        for pair in before.hcm.filters.iter().zip(&before.filters) {
            match pair {
                (HttpFilter::LocalRateLimit(config), FilterView::LocalRateLimit(limiter)) => {
                    limiters.rate_limits.note(config, limiter);
                }
                (HttpFilter::Fault(config), FilterView::Fault(injector)) => {
                    limiters.faults.note(config, injector);
                }
                (HttpFilter::Jwt(config), FilterView::Jwt(gate)) => {
                    limiters.jwt.note(config, gate);
                }
                _ => {}
            }
        }
        limiters
    }

    fn note(
        &mut self,
        overrides: &FilterOverrides,
        rate_limit: &Option<Arc<LocalRateLimiter>>,
        fault: &Option<Arc<FaultInjector>>,
    ) {
        if let (Some(config), Some(limiter)) = (&overrides.local_rate_limit, rate_limit) {
            self.rate_limits.note(config, limiter);
        }
        if let (Some(config), Some(injector)) = (&overrides.fault, fault) {
            self.faults.note(config, injector);
        }
    }

    fn of_overrides(
        &mut self,
        overrides: &FilterOverrides,
    ) -> (Option<Arc<LocalRateLimiter>>, Option<Arc<FaultInjector>>) {
        let rate_limit = overrides.local_rate_limit.as_ref();
        let fault = overrides.fault.as_ref();
        (
            rate_limit.map(|config| self.rate_limit(config)),
            fault.map(|config| self.fault(config)),
        )
    }

    fn rate_limit(&mut self, config: &Arc<LocalRateLimit>) -> Arc<LocalRateLimiter> {
        let metrics = self.metrics;
        let make = |config| LocalRateLimiter::new(config, metrics);
        self.rate_limits.take(config, make)
    }

    fn fault(&mut self, config: &Arc<Fault>) -> Arc<FaultInjector> {
        let metrics = self.metrics;
        let make = |config| FaultInjector::new(config, metrics);
        self.faults.take(config, make)
    }

    fn filter(&mut self, filter: &HttpFilter, keys: &KeyRing) -> FilterView {
        match filter {
            HttpFilter::Jwt(config) => {
                let metrics = self.metrics;
                let make = |config| JwtGate::new(config, keys, metrics);
                FilterView::Jwt(self.jwt.take(config, make))
            }
            HttpFilter::LocalRateLimit(config) => {
                FilterView::LocalRateLimit(self.rate_limit(config))
            }
            HttpFilter::Fault(config) => FilterView::Fault(self.fault(config)),
            HttpFilter::Access(config) => {
                FilterView::Access(Arc::new(AccessGate::new(config.clone(), self.metrics)))
            }
            HttpFilter::Unsupported { name, type_url } => FilterView::Unsupported {
                name: name.clone(),
                type_url: type_url.clone(),
            },
        }
    }
}

/// Objects with state, found again by the configuration they were made from.
struct Reuse<C, L> {
    old: VecDeque<(Arc<C>, Arc<L>)>,
    taken: Vec<(Arc<C>, Arc<L>)>,
}

impl<C, L> Default for Reuse<C, L> {
    fn default() -> Self {
        Self {
            old: VecDeque::new(),
            taken: Vec::new(),
        }
    }
}

impl<C: PartialEq, L> Reuse<C, L> {
    fn note(&mut self, config: &Arc<C>, object: &Arc<L>) {
        if !self.old.iter().any(|(_, known)| Arc::ptr_eq(known, object)) {
            self.old.push_back((config.clone(), object.clone()));
        }
    }

    /// The object of `config`: one that the same `Arc` was given already (routes of one virtual host share a bucket), or the
    /// first old one of equal configuration, which most often is the very first, or a new one.
    fn take(&mut self, config: &Arc<C>, make: impl FnOnce(Arc<C>) -> L) -> Arc<L> {
        let same = |(known, _): &&(Arc<C>, Arc<L>)| Arc::ptr_eq(known, config);
        if let Some((_, object)) = self.taken.iter().find(same) {
            return object.clone();
        }
        let equal = self.old.iter().position(|(known, _)| known == config);
        let object = equal
            .and_then(|index| self.old.remove(index))
            .map_or_else(|| Arc::new(make(config.clone())), |(_, object)| object);
        self.taken.push((config.clone(), object.clone()));
        object
    }
}
