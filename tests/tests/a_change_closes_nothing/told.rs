//! What the resources say, and how a proxy shows that they are in force.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Response;
use weft_proxy::app::Running;
use weft_tests::client::served_by;
use weft_tests::upstream::Upstream;

/// A cluster that nothing leads to; it comes and goes.
pub(crate) const SPARE: &str = "spare";
pub(crate) const CLUSTERS: [&str; 5] = ["a", "b", "tcp", "ws", "h2"];

/// What the resources say that may change.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) prefix: usize,
    pub(crate) tcp: usize,
    pub(crate) headers_kib: usize,
    pub(crate) logs: bool,
    pub(crate) refuses: bool,
    pub(crate) to_b: bool,
    pub(crate) table: usize,
    pub(crate) connect_ms: usize,
    pub(crate) breakers: usize,
    pub(crate) balancer: usize,
    pub(crate) weight: usize,
    pub(crate) endpoints: usize,
    pub(crate) streams: usize,
}

impl Told {
    pub(crate) fn web(&self, access_log: &str) -> String {
        let mut more = String::new();
        if self.logs {
            let _ = write!(
                more,
                "access_log: [{{name: file, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.\
                 file.v3.FileAccessLog, path: '{access_log}'}}}}], "
            );
        }
        let mut filters = String::new();
        if self.refuses {
            filters.push_str(
                "{name: fault, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.\
                 HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}}, ",
            );
        }
        let (prefix, kib) = (self.prefix, 60 + self.headers_kib);
        format!(
            "{{name: web, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [\
             {{name: hcm, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.\
             http_connection_manager.v3.HttpConnectionManager, stat_prefix: web{prefix}, max_request_headers_kb: {kib}, \
             upgrade_configs: [{{upgrade_type: websocket}}], {more}rds: {{route_config_name: r, config_source: {{ads: {{}}}}\
             }}, http_filters: [{filters}{{name: router, typed_config: {{'@type': type.googleapis.com/envoy.extensions.\
             filters.http.router.v3.Router}}}}]}}}}]}}]}}"
        )
    }

    pub(crate) fn tcp(&self) -> String {
        format!(
            "{{name: tcp, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [\
             {{name: tcp, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.\
             TcpProxy, stat_prefix: tcp{}, cluster: {}, idle_timeout: {}s}}}}]}}]}}",
            self.tcp % 3,
            ["tcp", "a"][self.tcp % 2],
            3600 - self.tcp
        )
    }

    pub(crate) fn routes(&self) -> String {
        // The routes that WebSockets and long exchanges took are there only at times.
        let lasting = "{match: {path: /ws}, route: {cluster: ws}}, {match: {prefix: /stream/h1}, route: {cluster: a, timeout: \
                       0s}}, {match: {prefix: /stream/h2}, route: {cluster: h2, timeout: 0s}}, ";
        let lasting = [lasting, ""][self.table % 2];
        format!(
            "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{lasting}{{match: {{prefix: /}}, route: {{cluster: \
             {}}}, response_headers_to_add: [{{header: {{key: x-table, value: '{}'}}}}]}}]}}]}}",
            self.target(),
            self.table
        )
    }

    pub(crate) fn cluster(&self, name: &str) -> String {
        let breakers = 10_000 + self.breakers;
        let mut options = String::new();
        if name == "h2" {
            // Connections made under one number take no more requests under another.
            let streams = 200 + self.streams;
            let _ = write!(
                options,
                "typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{'@type': \
                 type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: \
                 {{http2_protocol_options: {{max_concurrent_streams: {streams}}}}}}}}}, "
            );
        }
        format!(
            "{{name: {name}, {options}type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}, connect_timeout: {:.3}s, lb_policy: \
             {}, circuit_breakers: {{thresholds: [{{max_connections: {breakers}, max_requests: {breakers}, \
             max_pending_requests: {breakers}}}]}}}}",
            self.connect_timeout().as_secs_f64(),
            ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][self.balancer]
        )
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(5_000 + self.connect_ms as u64)
    }

    /// The first, both, both the other way round, the second: every connection loses its endpoint at times.
    fn members(&self) -> &'static [usize] {
        [&[0][..], &[0, 1], &[1, 0], &[1]][self.endpoints % 4]
    }

    pub(crate) fn endpoints(&self, name: &str, upstreams: &[Upstream; 2]) -> String {
        let mut list = String::new();
        for index in self.members() {
            let (address, weight) = (upstreams[*index].address(), 1 + (self.weight + index) % 3);
            let _ = write!(
                list,
                "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}, load_balancing_weight: \
                 {weight}}}, ",
                address.ip(),
                address.port()
            );
        }
        format!("{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{list}]}}]}}")
    }

    fn target(&self) -> &'static str {
        if self.to_b { "b" } else { "a" }
    }

    /// Whether this is what a request is to hear now.
    pub(crate) fn judge(&self, answer: &Response<Bytes>) -> anyhow::Result<()> {
        if self.refuses {
            ensure!(answer.status() == 418, "{} instead of 418", answer.status());
            return Ok(());
        }
        let (server, target) = (served_by(answer)?, self.target());
        ensure!(server == target, "{server} answered instead of {target}");
        let table = answer.headers().get("x-table").context("no x-table")?;
        let told = self.table.to_string();
        ensure!(table == told.as_str(), "table {table:?} instead of {told}");
        Ok(())
    }

    /// Whether clusters and endpoints are as told.
    pub(crate) fn expect_clusters(&self, proxy: &Running) -> anyhow::Result<()> {
        let snapshot = proxy.snapshots().current();
        for name in CLUSTERS {
            let cluster = snapshot.cluster(name).context("a cluster is missing")?;
            let (config, endpoints) = (
                cluster.config(),
                cluster.endpoints(tokio::time::Instant::now()).len(),
            );
            let timeout = config.connect_timeout;
            ensure!(
                timeout == self.connect_timeout(),
                "{name} connects within {timeout:?}"
            );
            let breakers = config.circuit_breakers.connections_max as usize;
            ensure!(
                breakers == 10_000 + self.breakers,
                "{name} breaks at {breakers}"
            );
            ensure!(
                endpoints == self.members().len(),
                "{name} has {endpoints} endpoints"
            );
        }
        Ok(())
    }
}
