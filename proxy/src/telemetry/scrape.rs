//! The scrape page: all counts in the OpenMetrics text format, within a bound.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use weft_config::flag::ResponseFlag;
use weft_config::grpc::GrpcStatus;
use weft_config::listener::Direction;

use super::cluster::{CLASSES, ClusterStats, HttpTotals, Resource};
use super::histogram::HistogramSnapshot;
use super::limits::Limit;
use super::listener::ListenerStats;
use super::metrics::Metrics;
use super::names::{self, Kind, Name};
use super::overload::OverloadStats;
use super::xds::{XdsStats, XdsType};

/// Bytes of samples after which clusters and listeners are counted together as `overflow`. Comments come on top.
const SAMPLE_BYTES_MAX: usize = 900 * 1024;
/// Label values are cut at this many bytes.
const VALUE_BYTES_MAX: usize = 128;

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
enum Value {
    Count(u64),
    Level(f64),
    Durations(Box<HistogramSnapshot>),
}

impl Value {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::Level(_) => false,
            Self::Durations(durations) => durations.count() == 0,
        }
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(sum), Self::Count(more)) => *sum += more,
            (Self::Level(sum), Self::Level(more)) => *sum += more,
            (Self::Durations(sum), Self::Durations(more)) => sum.merge(more),
            _ => {}
        }
    }
}

/// Samples by metric and labels.
#[derive(Debug, Default)]
struct Page {
    samples: BTreeMap<&'static str, BTreeMap<Labels, Value>>,
    bytes: usize,
}

/// What one cluster or listener has to say.
#[derive(Debug, Default)]
struct Samples(Vec<(Name, Labels, Value)>);

impl Samples {
    fn count(&mut self, name: Name, labels: Labels, count: u64) {
        self.0.push((name, labels, Value::Count(count)));
    }

    fn level(&mut self, name: Name, labels: Labels, level: f64) {
        self.0.push((name, labels, Value::Level(level)));
    }

    fn has_counted(&self) -> bool {
        self.0
            .iter()
            .any(|(_, _, value)| !matches!(value, Value::Level(_)) && !value.is_nothing())
    }

    fn bytes(&self) -> usize {
        let line = |name: &Name, labels: &Labels| {
            let labels: usize = labels
                .iter()
                .map(|(key, value)| key.len() + value.len() + 4)
                .sum();
            name.name.len() + name.unit.len() + labels + 24
        };
        let shown = self.0.iter().filter(|(_, _, value)| !value.is_nothing());
        shown
            .map(|(name, labels, value)| {
                line(name, labels)
                    * if matches!(value, Value::Durations(_)) {
                        20
                    } else {
                        1
                    }
            })
            .sum()
    }
}

/// Whether something is shown by its own name; decided when it has first counted something, and only ever taken back.
const UNDECIDED: u8 = 0;
const SHOWN: u8 = 1;
const OVERFLOWN: u8 = 2;

impl Page {
    fn add(&mut self, samples: Samples) {
        self.bytes += samples.bytes();
        for (name, labels, value) in samples.0 {
            if value.is_nothing() && !labels.is_empty() {
                continue;
            }
            let samples = self.samples.entry(name.name).or_default();
            match samples.get_mut(&labels) {
                Some(sum) => sum.merge(&value),
                None => drop(samples.insert(labels, value)),
            }
        }
    }

    /// Adds it by its own name where there is room, else to what overflowed; whether it overflowed.
    fn add_bounded(
        &mut self,
        mut samples: Samples,
        exposure: &AtomicU8,
        label: &str,
        metrics: &Metrics,
    ) -> bool {
        let before = exposure.load(Ordering::Relaxed);
        if before == UNDECIDED && !samples.has_counted() {
            return false;
        }
        if before != OVERFLOWN && self.bytes + samples.bytes() <= SAMPLE_BYTES_MAX {
            exposure.store(SHOWN, Ordering::Relaxed);
            self.add(samples);
            return false;
        }
        if before != OVERFLOWN {
            exposure.store(OVERFLOWN, Ordering::Relaxed);
            metrics.limits.hit(Limit::MetricSeries);
        }
        for (_, labels, _) in &mut samples.0 {
            for (_, value) in labels.iter_mut().filter(|(key, _)| *key == label) {
                *value = "overflow".to_owned();
            }
        }
        let bytes = self.bytes;
        self.add(samples);
        self.bytes = bytes; // one set of series, whatever overflows
        true
    }
}

/// The page of everything counted.
pub(super) fn page(metrics: &Metrics) -> String {
    let mut page = Page::default();
    process(metrics, &mut page);
    let mut overflow = 0u32;
    let mut clusters = metrics.clusters();
    clusters.sort_by_key(|stats| stats.exposure.load(Ordering::Relaxed) != SHOWN);
    for stats in metrics.listeners() {
        let samples = listener(&stats);
        overflow += u32::from(page.add_bounded(samples, &stats.exposure, "listener", metrics));
    }
    for stats in std::iter::once(metrics.no_cluster()).chain(clusters) {
        let samples = cluster(&stats);
        overflow += u32::from(page.add_bounded(samples, &stats.exposure, "cluster", metrics));
    }
    let mut last = Samples::default();
    last.level(names::OVERFLOW, vec![], f64::from(overflow));
    page.add(last);

    let mut registry = Registry::default();
    registry.register_collector(Box::new(page));
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
        tracing::error!("metrics could not be written");
    }
    text
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for name in names::ALL {
            let unit = (!name.unit.is_empty()).then(|| Unit::Other(name.unit.to_owned()));
            let kind = match name.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric =
                encoder.encode_descriptor(name.name, name.help, unit.as_ref(), kind)?;
            for (labels, value) in self.samples.get(name.name).into_iter().flatten() {
                if labels.is_empty() {
                    encode(&mut metric, value)?;
                } else {
                    encode(&mut metric.encode_family(labels)?, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(metric: &mut MetricEncoder<'_>, value: &Value) -> Result<(), std::fmt::Error> {
    match value {
        Value::Count(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::Level(level) => metric.encode_gauge(level),
        Value::Durations(durations) => metric.encode_histogram::<NoLabelSet>(
            durations.sum_seconds(),
            durations.count(),
            &durations.buckets(),
            None,
        ),
    }
}

/// A name from configuration, cut and without what would break the page.
fn label(value: &str) -> String {
    let end = super::render::boundary(value, VALUE_BYTES_MAX);
    let (kept, _) = value.split_at(end);
    kept.chars()
        .map(|c| {
            if c.is_control() || c == '"' || c == '\\' {
                '_'
            } else {
                c
            }
        })
        .collect()
}

fn cluster(stats: &ClusterStats) -> Samples {
    let of = Of(vec![("cluster", label(&stats.name))]);
    let mut samples = Samples::default();
    for direction in [
        Direction::Unspecified,
        Direction::Inbound,
        Direction::Outbound,
    ] {
        if let Some(totals) = stats.http_totals(direction) {
            http(&of, direction.as_str(), totals, &mut samples);
        }
    }
    held(&of, stats, &mut samples);
    endpoints(&of, stats, &mut samples);
    for (name, counter) in [
        (names::UPSTREAM_CONNECT_FAILURES, &stats.connect_failures),
        (names::UPSTREAM_CONNECT_TIMEOUTS, &stats.connect_timeouts),
        (names::UPSTREAM_RETRIES_SUCCEEDED, &stats.retries_succeeded),
        (names::UPSTREAM_UNSOLICITED, &stats.unsolicited),
        (names::UPSTREAM_EJECTIONS, &stats.ejections),
        (
            names::UPSTREAM_EJECTIONS_SUPPRESSED,
            &stats.ejections_suppressed,
        ),
        (names::UPSTREAM_PANIC, &stats.panic_picks),
        (names::UPSTREAM_NO_ENDPOINT, &stats.no_endpoint),
        (names::UPSTREAM_DROPPED, &stats.dropped),
        (names::TCP_CONNECTIONS, &stats.tcp_connections),
        (names::TCP_RECEIVED, &stats.tcp_received),
        (names::TCP_SENT, &stats.tcp_sent),
    ] {
        samples.count(name, of.with(&[]), counter.get());
    }
    samples
}

/// The labels that all samples of something share.
struct Of(Labels);

impl Of {
    fn with(&self, more: &[(&'static str, &str)]) -> Labels {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        self.0.iter().cloned().chain(more).collect()
    }
}

/// Requests of one direction.
fn http(of: &Of, direction: &str, totals: HttpTotals, samples: &mut Samples) {
    let way = ("direction", direction);
    for (class, count) in CLASSES.iter().zip(totals.classes) {
        let labels = of.with(&[way, ("response_code_class", class)]);
        samples.count(names::HTTP_REQUESTS, labels, count);
    }
    samples.count(names::HTTP_FAILURES, of.with(&[way]), totals.failures);
    let statuses = GrpcStatus::all().filter_map(GrpcStatus::name);
    for (status, count) in statuses.chain(["other"]).zip(totals.grpc) {
        let labels = of.with(&[way, ("grpc_status", status)]);
        samples.count(names::GRPC_REQUESTS, labels, count);
    }
    for (flag, count) in ResponseFlag::ALL.iter().zip(totals.flags) {
        let labels = of.with(&[way, ("response_flag", flag.letters())]);
        samples.count(names::HTTP_FLAGS, labels, count);
    }
    samples.count(names::HTTP_RECEIVED, of.with(&[way]), totals.received);
    samples.count(names::HTTP_SENT, of.with(&[way]), totals.sent);
    samples.0.push((
        names::HTTP_DURATION,
        of.with(&[way]),
        Value::Durations(Box::new(totals.duration)),
    ));
}

/// What is held of the cluster's bounds, and how often they were met.
fn held(of: &Of, stats: &ClusterStats, samples: &mut Samples) {
    for (resource, name) in [
        (Resource::Connection, "connection"),
        (Resource::Pending, "pending"),
        (Resource::Request, "request"),
        (Resource::Retry, "retry"),
    ] {
        let labels = || of.with(&[("resource", name)]);
        let active = f64::from(stats.active(resource));
        samples.level(names::UPSTREAM_ACTIVE, labels(), active);
        samples.count(names::UPSTREAM_ACQUIRED, labels(), stats.acquired(resource));
        samples.count(
            names::UPSTREAM_OVERFLOW,
            labels(),
            stats.overflowed(resource),
        );
    }
}

fn endpoints(of: &Of, stats: &ClusterStats, samples: &mut Samples) {
    for (result, count) in stats.tls.counted() {
        samples.count(names::UPSTREAM_TLS, of.with(&[("result", result)]), count);
    }
    let healths = ["healthy", "degraded", "draining", "unhealthy"];
    for (health, gauge) in healths.iter().zip(&stats.endpoints) {
        let count = gauge.load(Ordering::Relaxed) as f64;
        let labels = of.with(&[("health", health)]);
        samples.level(names::UPSTREAM_ENDPOINTS, labels, count);
    }
    let ejected = stats.ejected_active.load(Ordering::Relaxed) as f64;
    samples.level(names::UPSTREAM_EJECTED, of.with(&[]), ejected);
}

fn listener(stats: &ListenerStats) -> Samples {
    let labels: Labels = vec![
        ("listener", label(&stats.name)),
        ("direction", stats.direction.as_str().to_owned()),
    ];
    let mut samples = Samples::default();
    for (name, gauge) in [
        (names::HTTP_ACTIVE, &stats.requests_active),
        (names::LISTENER_ACTIVE, &stats.connections_active),
        (names::LISTENER_TCP_ACTIVE, &stats.tcp_active),
    ] {
        samples.level(name, labels.clone(), gauge.get() as f64);
    }
    for (name, counter) in [
        (names::LISTENER_CONNECTIONS, &stats.connections),
        (names::LISTENER_REFUSED, &stats.connections_refused),
        (names::LISTENER_NO_CHAIN, &stats.no_filter_chain),
        (names::LISTENER_HANDOVERS, &stats.handovers),
    ] {
        samples.count(name, labels.clone(), counter.get());
    }
    for (result, count) in stats.tls.counted() {
        let result = std::iter::once(("result", result.to_owned()));
        let labels = labels.iter().cloned().chain(result).collect();
        samples.count(names::LISTENER_TLS, labels, count);
    }
    for (worker, gauge) in stats
        .by_worker
        .iter()
        .enumerate()
        .filter(|(_, gauge)| gauge.get() > 0)
    {
        let worker = std::iter::once(("worker", worker.to_string()));
        let labels = labels.iter().cloned().chain(worker).collect();
        samples.level(names::LISTENER_WORKER, labels, gauge.get() as f64);
    }
    samples
}

fn process(metrics: &Metrics, page: &mut Page) {
    let mut samples = Samples::default();
    for limit in Limit::ALL {
        let met = metrics.limits.get(*limit);
        samples.count(names::LIMITS, one("limit", limit.label()), met);
    }
    for (fault, counter) in [
        ("delayed", &metrics.faults.delayed),
        ("aborted", &metrics.faults.aborted),
        ("spared", &metrics.faults.overflow),
    ] {
        samples.count(names::FAULTS, one("fault", fault), counter.get());
    }
    for (secret, at) in metrics.certificates.all() {
        let labels = vec![("secret", label(&secret))];
        samples.level(names::CERTIFICATE_EXPIRY, labels, at as f64);
    }
    for (result, count) in metrics.identity.counted() {
        samples.count(names::IDENTITY, one("result", result), count);
    }
    overload(&metrics.overload, &mut samples);
    xds(&metrics.xds, &mut samples);
    samples.level(names::PROCESS_RSS, vec![], resident_bytes() as f64);
    samples.level(names::PROCESS_START, vec![], metrics.started_seconds());
    samples.level(names::BUILD, one("version", env!("CARGO_PKG_VERSION")), 1.0);
    rate_limits(metrics, &mut samples);
    access_rules(metrics, &mut samples);
    jwt(metrics, &mut samples);
    page.add(samples);
}

fn one(key: &'static str, value: &str) -> Labels {
    vec![(key, value.to_owned())]
}

fn overload(stats: &OverloadStats, samples: &mut Samples) {
    let (memory_max, connections_max) = (stats.memory_max(), stats.connections_max());
    samples.level(names::OVERLOAD_MEMORY_MAX, vec![], memory_max as f64);
    samples.level(
        names::OVERLOAD_CONNECTIONS_MAX,
        vec![],
        connections_max as f64,
    );
    for (action, per_million) in stats.actions() {
        let share = per_million.get() as f64 / 1e6;
        samples.level(
            names::OVERLOAD_ACTIVE,
            one("action", action.as_str()),
            share,
        );
    }
}

fn xds(xds: &XdsStats, samples: &mut Samples) {
    samples.level(names::XDS_CONNECTED, vec![], xds.connected.get() as f64);
    for (cluster, is_up) in xds.secret_servers.all() {
        let up = f64::from(u8::from(is_up));
        samples.level(names::SDS_CONNECTED, one("cluster", &cluster), up);
    }
    samples.count(names::XDS_STREAMS, vec![], xds.streams.get());
    samples.count(names::XDS_FAILURES, vec![], xds.failures.get());
    samples.level(names::XDS_REVISION, vec![], xds.revision() as f64);
    samples.level(names::XDS_PUBLISHED, vec![], xds.published_seconds());
    let stale = xds.staleness_seconds(SystemTime::now());
    samples.level(names::XDS_STALE, vec![], stale);
    for kind in XdsType::ALL {
        let (stats, of) = (xds.of(kind), Of(one("type", kind.label())));
        samples.count(names::XDS_UPDATES, of.with(&[]), stats.updates.get());
        samples.count(names::XDS_ACKS, of.with(&[]), stats.acks.get());
        samples.count(names::XDS_NACKS, of.with(&[]), stats.nacks.get());
        let held = stats.resources.get() as f64;
        samples.level(names::XDS_RESOURCES, of.with(&[]), held);
        let (update, ack, nack) = stats.last_seconds();
        for (event, seconds) in [("update", update), ("ack", ack), ("nack", nack)] {
            samples.level(names::XDS_LAST, of.with(&[("event", event)]), seconds);
        }
    }
}

fn rate_limits(metrics: &Metrics, samples: &mut Samples) {
    for (shown, (name, stats)) in metrics.rate_limits().into_iter().enumerate() {
        let name = if shown < RATE_LIMITS_MAX {
            label(&name)
        } else {
            "overflow".to_owned()
        };
        let of = Of(vec![("limit", name)]);
        for (outcome, counter) in [
            ("allowed", &stats.allowed),
            ("denied", &stats.denied),
            ("not_enforced", &stats.not_enforced),
        ] {
            let labels = of.with(&[("outcome", outcome)]);
            samples.count(names::RATE_LIMIT, labels, counter.get());
        }
    }
}

fn access_rules(metrics: &Metrics, samples: &mut Samples) {
    for (shown, (name, stats)) in metrics.access_rules().into_iter().enumerate() {
        let of = Of(vec![("rules", shown_name(shown, &name))]);
        for (outcome, counter) in [
            ("allowed", &stats.allowed),
            ("denied", &stats.denied),
            ("shadow_allowed", &stats.shadow_allowed),
            ("shadow_denied", &stats.shadow_denied),
        ] {
            let labels = of.with(&[("outcome", outcome)]);
            samples.count(names::RBAC, labels, counter.get());
        }
    }
}

fn jwt(metrics: &Metrics, samples: &mut Samples) {
    for (shown, (name, stats)) in metrics.jwt_filters().into_iter().enumerate() {
        let of = Of(vec![("filter", shown_name(shown, &name))]);
        let allowed = std::iter::once(("allowed", stats.allowed.get()));
        for (outcome, count) in allowed.chain(stats.refused()) {
            samples.count(names::JWT, of.with(&[("outcome", outcome)]), count);
        }
        for (outcome, counter) in [
            ("verified", &stats.verified),
            ("remembered", &stats.remembered),
        ] {
            let labels = of.with(&[("outcome", outcome)]);
            samples.count(names::JWT_TOKENS, labels, counter.get());
        }
        samples.count(names::JWT_WAITED, of.with(&[]), stats.waited.get());
    }
    for (shown, (name, stats)) in metrics.keys_in_use().into_iter().enumerate() {
        let of = Of(vec![("source", shown_name(shown, &name))]);
        for (result, counter) in [
            ("fetched", &stats.fetched),
            ("failed", &stats.failed),
            ("unusable", &stats.unusable),
        ] {
            let labels = of.with(&[("result", result)]);
            samples.count(names::JWKS, labels, counter.get());
        }
    }
}

fn shown_name(shown: usize, name: &str) -> String {
    match name {
        _ if shown >= ACCESS_RULES_MAX => "overflow".to_owned(),
        "" => "-".to_owned(),
        name => label(name),
    }
}

/// Access rules that are shown by name.
const ACCESS_RULES_MAX: usize = 200;

/// Rate limits that are shown by name.
const RATE_LIMITS_MAX: usize = 200;

/// Resident memory, from `/proc`; 0 where there is none.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use weft_config::flag::ResponseFlags;

    use super::super::cluster::RequestCounts;
    use super::*;

    #[test]
    fn ten_thousand_busy_clusters_stay_below_a_megabyte_and_lose_no_count() {
        let metrics = Metrics::new();
        let clusters: Vec<Arc<ClusterStats>> = (0..10_000)
            .map(|n| {
                metrics
                    .cluster(&format!("some-service-{n}.a-namespace.svc.cluster.local:8080").into())
            })
            .collect();
        for cluster in &clusters {
            let flags: ResponseFlags = [ResponseFlag::UF, ResponseFlag::URX].into_iter().collect();
            cluster.http(Direction::Outbound).record(&RequestCounts {
                status: 503,
                grpc: None,
                failed: true,
                flags,
                duration: Duration::from_millis(3),
                received: 5,
                sent: 7,
            });
        }
        for _ in 0..2 {
            let text = metrics.scrape();
            assert!(text.len() <= 1024 * 1024, "{}", text.len());
            let requests = text
                .lines()
                .filter(|line| line.starts_with("weft_http_requests_total{"));
            let counts: Vec<u64> = requests
                .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
                .collect();
            assert_eq!(counts.iter().sum::<u64>(), 10_000);
            assert!(
                counts.len() > 50,
                "as many as fit have their own name: {}",
                counts.len()
            );
            assert!(text.contains("weft_http_requests_total{cluster=\"overflow\""));
        }
    }

    #[test]
    fn the_document_lists_exactly_what_is_there() {
        let document = include_str!("../../../docs/METRICS.md");
        let listed: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter(|line| !line.starts_with("| `weft_control_plane_")) // the other program's
            .collect();
        let wanted: Vec<String> = names::ALL.iter().map(row).collect();
        assert_eq!(
            listed,
            wanted,
            "docs/METRICS.md should hold:\n{}",
            wanted.join("\n")
        );
        let text = Metrics::new().scrape();
        for name in names::ALL {
            assert!(
                text.contains(&format!("# HELP {}", name.name)),
                "{}",
                name.name
            );
        }
    }

    #[test]
    fn the_document_lists_every_bound_that_is_counted() {
        let document = include_str!("../../../docs/METRICS.md");
        let listed = document.lines().filter(|line| line.starts_with("- `"));
        let listed: Vec<_> = listed.collect();
        let row = |limit: &Limit| format!("- `{}`: {}", limit.label(), limit.meaning());
        let wanted: Vec<_> = Limit::ALL.iter().map(row).collect();
        assert_eq!(listed, wanted);
    }

    fn row(name: &Name) -> String {
        let unit = if name.unit.is_empty() {
            String::new()
        } else {
            format!("_{}", name.unit)
        };
        let total = if name.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        let kind = format!("{:?}", name.kind).to_lowercase();
        let labels = name
            .labels
            .iter()
            .map(|l| format!("`{l}`"))
            .collect::<Vec<_>>()
            .join(" ");
        format!(
            "| `{}{unit}{total}` | {kind} | {labels} | {} |",
            name.name, name.help
        )
    }
}
