//! HTTP/2 on an HTTP chain that has no HTTP/2 codec.
//!
//! Its bytes are passed on as TCP where that changes nothing: no filter, limit or fault is configured, every request
//! finds a route, none edits it, and all lead to the same one cluster. Otherwise the connection is closed, for a rule
//! passed by in silence is worse than a connection refused; the access log says NR and `http2_not_spoken_here`.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::debug;
use weft_config::flag::ResponseFlag;
use weft_config::listener::TcpProxy;

use super::facts::ConnectionFacts;
use crate::balance::Cluster;
use crate::snapshot::{HttpView, RouteView, TcpView};
use crate::telemetry::ConnectionLog;

/// The chain as a TCP proxy, if it can be one without passing any of its rules by.
pub(super) fn view_of_only_cluster(http: &HttpView) -> Option<Arc<TcpView>> {
    let table = http.table.as_ref()?;
    if !http.filters.is_empty() || !table.table.forwards_all_unchanged() {
        return None;
    }
    let mut routes = table.routes.iter();
    let cluster = only_cluster(routes.next()?)?;
    if !routes.all(|route| only_cluster(route).is_some_and(|other| Arc::ptr_eq(other, cluster))) {
        return None;
    }
    Some(Arc::new(TcpView {
        proxy: Arc::new(TcpProxy {
            stat_prefix: http.hcm.stat_prefix.clone(),
            clusters: vec![(cluster.name.clone(), 1)],
            idle_timeout: http.hcm.limits.idle_timeout,
            connect_attempts_max: 1,
            access_log: http.hcm.access_log.clone(),
        }),
        clusters: vec![(Some(cluster.clone()), 1)],
        scope: http.scope.clone(),
    }))
}

/// The one cluster of a route that does nothing but lead there. Redirects and direct answers have none.
fn only_cluster(route: &RouteView) -> Option<&Arc<Cluster>> {
    let [only] = route.clusters.as_slice() else {
        return None;
    };
    let plain = route.rate_limit.is_none()
        && route.fault.is_none()
        && only.rate_limit.is_none()
        && only.fault.is_none();
    only.cluster.as_ref().filter(|_| plain)
}

/// Counts and logs a connection that is refused for speaking HTTP/2.
pub(super) fn http2_refused(http: &HttpView, facts: &ConnectionFacts) {
    debug!(listener = %facts.listener, peer = %facts.peer, "http/2 is not spoken here and cannot be passed on");
    let now = Instant::now();
    let mut log = ConnectionLog::begin(&http.scope, facts.peer, facts.destination(), now);
    log.flag(ResponseFlag::NR);
    log.details("http2_not_spoken_here");
    log.finish(now);
}
