//! What each page says.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_config::cluster::RetryBudget;
use weft_config::endpoint::{Address, Health};
use weft_config::secret::SanKind;

use super::{AdminState, ClusterShown, Pages};
use crate::balance::EndpointStatus;
use crate::tls::PeerCertificate;

/// A request, as far as pages look at it.
pub(super) struct Asked<'a> {
    pub(super) post: bool,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) host: &'a str,
    /// Which web page asks, where a browser says so.
    pub(super) origin: Option<&'a str>,
    /// Whether the server is bound to loopback.
    pub(super) loopback: bool,
}

type Answer = Response<Full<Bytes>>;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const HELP: &str = "weft-proxy admin
  GET  /ready  /live              whether requests can be served; whether the process runs
  GET  /server_info               version, state, uptime, node
  GET  /config_dump               configuration in force; ?resource=FIELD only that list of it,
                                  such as static_listeners or dynamic_route_configs
  GET  /clusters?format=json      clusters and their endpoints
  GET  /listeners?format=json     listeners that are bound
  GET  /certs                     certificates
  GET  /stats  /stats/prometheus  metrics
  GET  /memory                    memory in use
  GET  /logging                   log level; POST /logging?level=LEVEL changes it
  POST /drain_listeners           begins to drain
  POST /quitquitquit              finishes what runs, then exits
";

/// Answers one request.
pub(super) fn answer(state: &AdminState, pages: Pages, asked: Asked<'_>) -> Answer {
    if asked.loopback && !names_loopback(asked.host) {
        return text(
            StatusCode::FORBIDDEN,
            "the Host header must name loopback\n",
        );
    }
    if asked.post && asked.origin.is_some_and(|origin| !is_own_page(origin)) {
        return text(
            StatusCode::FORBIDDEN,
            "a web page of another origin cannot change anything here\n",
        );
    }
    match (asked.path, pages) {
        ("/ready", _) => ready(state),
        ("/live", _) => text(StatusCode::OK, "LIVE\n"),
        ("/metrics", _) => with_type(StatusCode::OK, OPENMETRICS, state.metrics.scrape()),
        (_, Pages::Metrics) => text(
            StatusCode::NOT_FOUND,
            "only /metrics, /ready and /live are here\n",
        ),
        ("/" | "/help", _) => text(StatusCode::OK, HELP),
        ("/stats/prometheus" | "/stats", _) => {
            with_type(StatusCode::OK, OPENMETRICS, state.metrics.scrape())
        }
        ("/server_info", _) => page(&server_info(state)),
        ("/config_dump", _) => config_dump(state, asked.query),
        ("/clusters", _) => clusters(state, wants_json(asked.query)),
        ("/listeners", _) => listeners(state, wants_json(asked.query)),
        ("/certs", _) => certificates(state),
        ("/memory", _) => memory(),
        ("/logging", _) => logging(state, &asked),
        ("/tap", _) => text(
            StatusCode::NOT_IMPLEMENTED,
            "tap is not built into this proxy\n",
        ),
        ("/drain_listeners", _) => switch(&asked, &state.drain),
        ("/quitquitquit", _) => switch(&asked, &state.quit),
        _ => text(StatusCode::NOT_FOUND, "no such page; / lists them\n"),
    }
}

/// Against DNS rebinding: a page of the web reaches loopback by a name of its own.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Against forged requests: any page of the web can have a browser send a `POST` to loopback, and then it says which.
fn is_own_page(origin: &str) -> bool {
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some_and(names_loopback)
}

/// Envoy's shape; one entry for each secret in use.
fn certificates(state: &AdminState) -> Answer {
    let entries = (state.secrets)().into_iter().map(|secret| {
        let shown = |it: &PeerCertificate| certificate(&secret.place, it);
        let shown: Vec<Value> = secret.certificates.iter().map(shown).collect();
        match secret.own {
            true => json!({ "ca_cert": [], "cert_chain": shown }),
            false => json!({ "ca_cert": shown, "cert_chain": [] }),
        }
    });
    page(&json!({ "certificates": entries.collect::<Vec<_>>() }))
}

fn certificate(place: &str, certificate: &PeerCertificate) -> Value {
    let name = |(kind, name): &(SanKind, Arc<str>)| match kind {
        SanKind::Dns => json!({ "dns": name }),
        SanKind::Uri => json!({ "uri": name }),
        SanKind::Ip => json!({ "ip_address": name }),
        SanKind::Email => json!({ "email": name }),
    };
    let time = |seconds: i64| {
        let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        at.to_string()
    };
    let now = jiff::Timestamp::now().as_second();
    let days = (certificate.not_after - now).max(0) / (24 * 3600);
    json!({
        "path": place,
        "serial_number": certificate.serial,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "subject_alt_names": certificate.names.iter().map(name).collect::<Vec<_>>(),
        "days_until_expiration": days.to_string(),
        "valid_from": time(certificate.not_before),
        "expiration_time": time(certificate.not_after),
    })
}

fn ready(state: &AdminState) -> Answer {
    match (state.ready)() {
        Ok(()) => text(StatusCode::OK, "LIVE\n"),
        Err(reason) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}: {reason}\n", (state.state)()),
        ),
    }
}

fn server_info(state: &AdminState) -> Value {
    let uptime = format!("{}s", state.metrics.uptime_seconds());
    json!({
        "version": format!("weft-proxy/{}", env!("CARGO_PKG_VERSION")),
        "state": (state.state)(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "node": (state.node)(),
        "revision": state.metrics.xds.revision(),
    })
}

fn memory() -> Answer {
    let resident = crate::telemetry::resident_bytes().to_string();
    page(&json!({ "allocated": resident, "total_physical_bytes": resident }))
}

fn logging(state: &AdminState, asked: &Asked<'_>) -> Answer {
    let level = asked
        .query
        .split('&')
        .find_map(|pair| pair.strip_prefix("level="));
    if level.is_some() && !asked.post {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
    }
    match (state.logging)(level) {
        Ok(level) => text(StatusCode::OK, format!("{level}\n")),
        Err(reason) => text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
    }
}

fn switch(asked: &Asked<'_>, act: &super::Ask<()>) -> Answer {
    if !asked.post {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
    }
    act();
    text(StatusCode::OK, "OK\n")
}

/// `configs`, or with `resource=FIELD` what lies in that list of one of them, as Envoy shows it.
fn config_dump(state: &AdminState, query: &str) -> Answer {
    let configs = (state.config_dump)();
    let field = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resource="));
    let Some(field) = field else {
        return page(&json!({ "configs": configs }));
    };
    let list = configs
        .iter()
        .find_map(|config| config.get(field)?.as_array());
    match list {
        Some(items) => page(&json!({ "configs": items })),
        None => {
            let lists = configs.iter().filter_map(Value::as_object).flatten();
            let lists = lists.filter(|(name, value)| value.is_array() && *name != "refused");
            let names: Vec<&str> = lists.map(|(name, _)| name.as_str()).collect();
            let known = names.join(", ");
            text(
                StatusCode::NOT_FOUND,
                format!("{field} not found in config dump: it has {known}\n"),
            )
        }
    }
}

fn wants_json(query: &str) -> bool {
    query.split('&').any(|pair| pair == "format=json")
}

fn listeners(state: &AdminState, as_json: bool) -> Answer {
    let listeners = (state.listeners)();
    if !as_json {
        let lines = listeners
            .iter()
            .map(|(name, address)| format!("{name}::{address}\n"));
        return text(StatusCode::OK, lines.collect::<String>());
    }
    let statuses = listeners.iter().map(|(name, address)| {
        json!({ "name": &**name, "local_address": socket_json(&address.ip().to_string(), address.port()) })
    });
    page(&json!({ "listener_statuses": statuses.collect::<Vec<_>>() }))
}

fn clusters(state: &AdminState, as_json: bool) -> Answer {
    let (clusters, now) = ((state.clusters)(), Instant::now());
    if as_json {
        let statuses = clusters.iter().map(|shown| cluster_json(shown, now));
        return page(&json!({ "cluster_statuses": statuses.collect::<Vec<_>>() }));
    }
    let lines = clusters.iter().map(|shown| cluster_text(shown, now));
    text(StatusCode::OK, lines.collect::<String>())
}

/// Lines of the cluster itself, so that one without endpoints is seen too, and of each endpoint.
fn cluster_text(shown: &ClusterShown, now: Instant) -> String {
    let mut lines = String::new();
    let (cluster, name) = (&shown.cluster, &shown.cluster.name);
    let limits = cluster.config().circuit_breakers;
    let endpoints = cluster.endpoints(now);
    let budget = limits.retry_budget;
    let retries = match budget == RetryBudget::NONE {
        true => format!("max_retries::{}", limits.retries_max),
        false => format!(
            "retry_budget::{} percent, {} per second besides",
            budget.percent, budget.per_second_min
        ),
    };
    let _never_fails = writeln!(
        lines,
        "{name}::default_priority::max_connections::{}\n{name}::default_priority::max_pending_requests::{}\n\
         {name}::default_priority::max_requests::{}\n{name}::default_priority::{retries}\n\
         {name}::added_via_api::{}\n{name}::warm::{}\n{name}::endpoints::{}",
        limits.connections_max,
        limits.pending_max,
        limits.requests_max,
        shown.added_via_api,
        cluster.is_warm(),
        endpoints.len(),
    );
    for endpoint in endpoints {
        let at = address_text(&endpoint.state.address);
        let state = &endpoint.state;
        let _never_fails = writeln!(
            lines,
            "{name}::{at}::health_flags::{}\n{name}::{at}::weight::{}\n{name}::{at}::rq_active::{}\n\
             {name}::{at}::rq_total::{}\n{name}::{at}::rq_error::{}\n{name}::{at}::priority::{}",
            health_flags(&endpoint),
            endpoint.weight,
            state.active(),
            state.requests(),
            state.failures(),
            endpoint.priority,
        );
    }
    lines
}

fn cluster_json(shown: &ClusterShown, now: Instant) -> Value {
    let cluster = &shown.cluster;
    let hosts = cluster.endpoints(now).into_iter().map(|endpoint| {
        let state = &endpoint.state;
        let health = match endpoint.health {
            Health::Healthy => "HEALTHY",
            Health::Degraded => "DEGRADED",
            Health::Draining => "DRAINING",
            Health::Unhealthy => "UNHEALTHY",
        };
        json!({
            "address": match &state.address {
                Address::Socket(address) => socket_json(&address.ip().to_string(), address.port()),
                Address::Pipe(path) => json!({ "pipe": { "path": &**path } }),
            },
            "stats": [
                { "name": "rq_total", "value": state.requests().to_string(), "type": "COUNTER" },
                { "name": "rq_error", "value": state.failures().to_string(), "type": "COUNTER" },
                { "name": "rq_active", "value": state.active().to_string(), "type": "GAUGE" },
            ],
            "health_status": { "eds_health_status": health, "failed_outlier_check": endpoint.ejected },
            "weight": endpoint.weight,
            "priority": endpoint.priority,
            "hostname": &*state.hostname,
            "locality": {
                "region": &*endpoint.locality.region,
                "zone": &*endpoint.locality.zone,
                "sub_zone": &*endpoint.locality.sub_zone,
            },
        })
    });
    json!({
        "name": &*cluster.name,
        "added_via_api": shown.added_via_api,
        "host_statuses": hosts.collect::<Vec<_>>(),
        "warm": cluster.is_warm(),
    })
}

fn health_flags(endpoint: &EndpointStatus) -> &'static str {
    match (endpoint.ejected, endpoint.health) {
        (true, _) => "/failed_outlier_check",
        (_, Health::Healthy) => "healthy",
        (_, Health::Degraded) => "/degraded_eds_health",
        (_, Health::Draining | Health::Unhealthy) => "/failed_eds_health",
    }
}

fn address_text(address: &Address) -> String {
    match address {
        Address::Socket(address) => address.to_string(),
        Address::Pipe(path) => path.to_string(),
    }
}

fn socket_json(ip: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

fn page(value: &Value) -> Answer {
    let body = serde_json::to_string_pretty(value).unwrap_or_default();
    with_type(StatusCode::OK, "application/json", body)
}

fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    answer
}
