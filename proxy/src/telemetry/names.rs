//! Names of all metrics, with what they mean. OpenTelemetry's where it has one, else `weft.<room>.<noun>`; on the
//! scrape page dots are underscores and counters end in `_total`. `docs/METRICS.md` lists them.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations by size.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// As on the scrape page, without unit and `_total`.
    pub name: &'static str,
    /// Unit, empty for counts.
    pub unit: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Labels, in order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! names {
    ($($id:ident $kind:ident $name:literal $unit:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Name = Name {
                name: $name, unit: $unit, kind: Kind::$kind, labels: &[$($label),*], help: $help,
            };
        )*
        /// Every metric.
        pub const ALL: &[Name] = &[$($id),*];
    };
}

names! {
    HTTP_DURATION Histogram "http_server_request_duration" "seconds" ["cluster" "direction"] "From the request head to the end of the answer.";
    HTTP_ACTIVE Gauge "http_server_active_requests" "" ["listener" "direction"] "Requests running.";
    HTTP_REQUESTS Counter "weft_http_requests" "" ["cluster" "direction" "response_code_class"] "Requests that ended, by class of the response code.";
    HTTP_FAILURES Counter "weft_http_failures" "" ["cluster" "direction"] "Those of them that whoever served them failed.";
    GRPC_REQUESTS Counter "weft_grpc_requests" "" ["cluster" "direction" "grpc_status"] "gRPC calls among them, by status.";
    HTTP_FLAGS Counter "weft_http_response_flags" "" ["cluster" "direction" "response_flag"] "Requests that ended with a response flag.";
    HTTP_RECEIVED Counter "weft_http_received" "bytes" ["cluster" "direction"] "Bytes of request bodies.";
    HTTP_SENT Counter "weft_http_sent" "bytes" ["cluster" "direction"] "Bytes of response bodies.";
    UPSTREAM_ACTIVE Gauge "weft_upstream_active" "" ["cluster" "resource"] "Upstream connections, pending requests, requests and retries held.";
    UPSTREAM_ACQUIRED Counter "weft_upstream_acquired" "" ["cluster" "resource"] "Upstream connections, pending requests, requests and retries begun.";
    UPSTREAM_OVERFLOW Counter "weft_upstream_overflow" "" ["cluster" "resource"] "Those refused by a circuit breaker or the retry budget.";
    UPSTREAM_CONNECT_FAILURES Counter "weft_upstream_connect_failures" "" ["cluster"] "Upstream connections that could not be opened.";
    UPSTREAM_CONNECT_TIMEOUTS Counter "weft_upstream_connect_timeouts" "" ["cluster"] "Those of them that took too long.";
    UPSTREAM_RETRIES_SUCCEEDED Counter "weft_upstream_retries_succeeded" "" ["cluster"] "Retries after which the request succeeded.";
    UPSTREAM_UNSOLICITED Counter "weft_upstream_unsolicited" "" ["cluster"] "Upstream connections of HTTP/1 closed because their endpoint said more than it was asked.";
    UPSTREAM_EJECTIONS Counter "weft_upstream_ejections" "" ["cluster"] "Endpoints ejected for failing.";
    UPSTREAM_EJECTIONS_SUPPRESSED Counter "weft_upstream_ejections_suppressed" "" ["cluster"] "Endpoints not ejected because too many were already.";
    UPSTREAM_EJECTED Gauge "weft_upstream_ejected" "" ["cluster"] "Endpoints ejected now.";
    UPSTREAM_ENDPOINTS Gauge "weft_upstream_endpoints" "" ["cluster" "health"] "Endpoints, by health as told by the control plane.";
    UPSTREAM_PANIC Counter "weft_upstream_panic_picks" "" ["cluster"] "Requests balanced without regard to health.";
    UPSTREAM_NO_ENDPOINT Counter "weft_upstream_no_endpoint" "" ["cluster"] "Requests for which there was no endpoint.";
    UPSTREAM_DROPPED Counter "weft_upstream_dropped" "" ["cluster"] "Requests dropped because the control plane asked for it.";
    TCP_CONNECTIONS Counter "weft_tcp_connections" "" ["cluster"] "Plain TCP connections that ended.";
    TCP_RECEIVED Counter "weft_tcp_received" "bytes" ["cluster"] "Bytes from the downstream on plain TCP connections.";
    TCP_SENT Counter "weft_tcp_sent" "bytes" ["cluster"] "Bytes to the downstream on plain TCP connections.";
    LISTENER_ACTIVE Gauge "weft_listener_connections_active" "" ["listener" "direction"] "Downstream connections open.";
    LISTENER_CONNECTIONS Counter "weft_listener_connections" "" ["listener" "direction"] "Downstream connections accepted.";
    LISTENER_REFUSED Counter "weft_listener_refused" "" ["listener" "direction"] "Downstream connections refused.";
    LISTENER_NO_CHAIN Counter "weft_listener_no_filter_chain" "" ["listener" "direction"] "Downstream connections that no filter chain matched: plain text, for one, on a port that is STRICT.";
    LISTENER_HANDOVERS Counter "weft_listener_handovers" "" ["listener" "direction"] "Downstream connections handed to another worker.";
    LISTENER_TCP_ACTIVE Gauge "weft_listener_tcp_active" "" ["listener" "direction"] "Plain TCP connections running.";
    LISTENER_WORKER Gauge "weft_listener_worker_connections" "" ["listener" "direction" "worker"] "Downstream connections open, by worker.";
    LISTENER_TLS Counter "weft_listener_tls_handshakes" "" ["listener" "direction" "result"] "TLS handshakes of downstream connections, by how they ended.";
    UPSTREAM_TLS Counter "weft_upstream_tls_handshakes" "" ["cluster" "result"] "TLS handshakes of upstream connections, by how they ended.";
    CERTIFICATE_EXPIRY Gauge "weft_tls_certificate_expiry_time" "seconds" ["secret"] "Unix time at which the first certificate of a secret in use expires.";
    IDENTITY Counter "weft_identity_requests" "" ["result"] "Requests for the workload's own certificate, by how they ended.";
    RBAC Counter "weft_rbac_requests" "" ["rules" "outcome"] "Requests and connections that access rules let through or not, or would have.";
    JWT Counter "weft_jwt_requests" "" ["filter" "outcome"] "Requests whose tokens were looked at, and what came of it: allowed, or why not.";
    JWT_TOKENS Counter "weft_jwt_tokens" "" ["filter" "outcome"] "Good tokens: verified now, or remembered.";
    JWT_WAITED Counter "weft_jwt_waits" "" ["filter"] "Requests that waited for keys.";
    JWKS Counter "weft_jwks_fetches" "" ["source" "result"] "Attempts to get keys that tokens are judged by, by how they ended.";
    RATE_LIMIT Counter "weft_rate_limit_requests" "" ["limit" "outcome"] "Requests allowed, denied, or over a limit that was not enforced.";
    FAULTS Counter "weft_fault_injected" "" ["fault"] "Requests delayed or aborted on purpose, or spared because too many were.";
    LIMITS Counter "weft_limit_hits" "" ["limit"] "How often a bound of the proxy was met.";
    OVERLOAD_MEMORY_MAX Gauge "weft_overload_memory_max" "bytes" [] "Budget of resident memory; 0: none.";
    OVERLOAD_CONNECTIONS_MAX Gauge "weft_overload_connections_max" "" [] "Downstream connections that the process holds at once.";
    OVERLOAD_ACTIVE Gauge "weft_overload_active" "" ["action"] "Share of new load that an action refuses or holds back, from 0 to 1.";
    XDS_CONNECTED Gauge "weft_xds_connected" "" [] "1 while the xDS stream is up.";
    SDS_CONNECTED Gauge "weft_sds_connected" "" ["cluster"] "1 while all streams to a server of secrets are up.";
    XDS_STREAMS Counter "weft_xds_streams" "" [] "xDS streams opened, to servers of secrets too.";
    XDS_FAILURES Counter "weft_xds_failures" "" [] "xDS streams that broke or could not be opened, to servers of secrets too.";
    XDS_REVISION Gauge "weft_xds_revision" "" [] "Revision of the snapshot in force.";
    XDS_PUBLISHED Gauge "weft_xds_published_time" "seconds" [] "Unix time of the last snapshot.";
    XDS_STALE Gauge "weft_xds_staleness" "seconds" [] "How long the tables may have been old.";
    XDS_UPDATES Counter "weft_xds_updates" "" ["type"] "Responses received.";
    XDS_ACKS Counter "weft_xds_acks" "" ["type"] "Responses accepted.";
    XDS_NACKS Counter "weft_xds_nacks" "" ["type"] "Responses refused, wholly or in part.";
    XDS_RESOURCES Gauge "weft_xds_resources" "" ["type"] "Resources in force.";
    XDS_LAST Gauge "weft_xds_last_time" "seconds" ["type" "event"] "Unix time of the last update, ack and nack.";
    PROCESS_RSS Gauge "process_resident_memory" "bytes" [] "Resident memory.";
    PROCESS_START Gauge "process_start_time" "seconds" [] "Unix time of the start.";
    BUILD Gauge "weft_build_info" "" ["version"] "Always 1.";
    OVERFLOW Gauge "weft_metrics_overflow" "" [] "Clusters and listeners counted together as `overflow`.";
}
