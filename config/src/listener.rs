//! Listeners: addresses that are bound, and what is done with what arrives (xDS `Listener`).

mod access_log;
mod chain;
mod client_cert;
mod http;
mod http_filter;
mod parse;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::access_log::{AccessLog, AccessLogFormat};
use crate::cluster::ClusterName;
use crate::http2::Http2Options;
use crate::policy::access::AccessFilter;
use crate::policy::authn::{JwtAuthn, KeySource};
use crate::policy::{Fault, LocalRateLimit};
use crate::route::RouteTable;
use crate::tls::DownstreamTls;

/// One listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// What is bound; `None` where nothing is: an `api_listener`, whose chain is [`Self::default_filter_chain`],
    /// or a listener looked up by name.
    pub address: Option<SocketAddr>,
    /// Which way the traffic goes.
    pub direction: Direction,
    /// Whether the original destination of a redirected connection chooses the chain (`use_original_dst` or
    /// the `original_dst` listener filter).
    pub use_original_dst: bool,
    /// Whether it takes connections to addresses that are not its own, as TPROXY brings them (`transparent`): their local address is
    /// their original destination.
    pub transparent: bool,
    /// Whether upstream sees the downstream's address (the `original_src` listener filter).
    pub original_src: bool,
    /// The ports of the application behind it, where they are known: what was redirected on its way to another is refused. Empty: not
    /// known.
    pub application_ports: Arc<[u16]>,
    /// How the protocol of a connection is found out.
    pub detection: Detection,
    /// Filter chains; the most specific that matches is used.
    pub filter_chains: Vec<FilterChain>,
    /// Used where none matches.
    pub default_filter_chain: Option<FilterChain>,
    /// Connections open at once, across workers. Default no bound but the process's.
    pub connections_max: Option<u32>,
}

/// `TrafficDirection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Not said.
    #[default]
    Unspecified,
    /// To our workload.
    Inbound,
    /// From our workload.
    Outbound,
}

impl Direction {
    /// A word for it, as metrics and access logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// How long and how much is looked at to find out the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Whether the first bytes are looked at (a `tls_inspector` or `http_inspector` is listed, or a chain asks).
    pub enabled: bool,
    /// Silence for this long makes a connection opaque. Default 15 s (`listener_filters_timeout`).
    pub timeout: Duration,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            enabled: false,
            timeout: Duration::from_secs(15),
        }
    }
}

/// What is done with connections that match.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    /// Its name; empty when not given.
    pub name: Arc<str>,
    /// When it is used.
    pub matches: FilterChainMatch,
    /// What is done with TLS; `None`: the chain is plain.
    pub tls: Option<Arc<DownstreamTls>>,
    /// Who may connect: all of these let a connection through, or it is closed (RBAC network filters).
    pub access: Vec<Arc<AccessFilter>>,
    /// What is done.
    pub action: ChainAction,
}

/// `FilterChainMatch`; an empty list matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Prefixes of the original destination address.
    pub destination_prefixes: Vec<Cidr>,
    /// Prefixes of the downstream's address.
    pub source_prefixes: Vec<Cidr>,
    /// Names that TLS clients ask for.
    pub server_names: Vec<ServerNameMatch>,
    /// What is spoken: of TLS, any protocol that the client offers (ALPN); else `http/1.1`, `h2c`, as Envoy's `http_inspector` names
    /// what was found.
    pub application_protocols: Vec<Arc<str>>,
    /// `raw_buffer` or `tls`; empty matches all.
    pub transport_protocol: Arc<str>,
}

impl FilterChainMatch {
    /// Whether it is about what a ClientHello asks for. Protocols alone are not: they are those of plain connections, as most who
    /// write them mean, unless the chain says `tls`.
    pub fn asks_hello(&self) -> bool {
        let tls = &*self.transport_protocol == "tls";
        !self.server_names.is_empty() || (tls && !self.application_protocols.is_empty())
    }
}

/// A name that a TLS client may ask for, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerNameMatch {
    /// This one.
    Exact(Arc<str>),
    /// Any below this domain, whatever the depth: `*.example.com` is `.example.com` here.
    Below(Arc<str>),
}

impl ServerNameMatch {
    /// Whether `name`, lower case, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == &**exact,
            Self::Below(domain) => name.len() > domain.len() && name.ends_with(&**domain),
        }
    }

    /// How specific it is: an exact name before every domain, a longer domain before a shorter one.
    pub fn rank(&self) -> u16 {
        match self {
            Self::Exact(_) => u16::MAX,
            Self::Below(domain) => u16::try_from(domain.len()).unwrap_or(u16::MAX - 1),
        }
    }
}

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Address; the bits beyond the length are zero.
    pub address: std::net::IpAddr,
    /// Length of the prefix in bits.
    pub length: u8,
}

impl Cidr {
    /// Whether `ip` lies in this prefix; an IPv4-mapped IPv6 address is taken as IPv4.
    pub fn contains(&self, ip: std::net::IpAddr) -> bool {
        use std::net::IpAddr;
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32u32.saturating_sub(self.length.into());
                u32::from(net).checked_shr(shift).unwrap_or(0)
                    == u32::from(ip).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128u32.saturating_sub(self.length.into());
                u128::from(net).checked_shr(shift).unwrap_or(0)
                    == u128::from(ip).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// What a filter chain ends in.
#[derive(Clone, Debug, PartialEq)]
pub enum ChainAction {
    /// Requests are routed one by one.
    Http(Arc<HttpConnectionManager>),
    /// Bytes are passed on.
    Tcp(Arc<TcpProxy>),
}

/// `HttpConnectionManager`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConnectionManager {
    /// Names it in metrics.
    pub stat_prefix: Arc<str>,
    /// What downstream speaks.
    pub codec: DownstreamCodec,
    /// Where the routes come from.
    pub routes: RouteSource,
    /// HTTP filters in order, the router left out (it is always last).
    pub filters: Vec<HttpFilter>,
    /// Bounds on heads and connections.
    pub limits: HttpLimits,
    /// Where access log lines go; empty: nowhere.
    pub access_log: Vec<AccessLog>,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are maintained (`use_remote_address`).
    pub use_remote_address: bool,
    /// What becomes of `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// Trusted hops in `X-Forwarded-For`.
    pub xff_num_trusted_hops: u32,
    /// Upgrades that are allowed, lower case (`websocket`, `connect`); others are refused with 403.
    pub upgrades: Vec<Arc<str>>,
    /// What we call ourselves in `Server`, always on answers of our own. Default `weft`.
    pub server_name: Arc<str>,
    /// What becomes of `Server` in answers that pass through (`server_header_transformation`).
    pub server_header: ServerHeader,
    /// Whether `.` and `..` segments and duplicate slashes are resolved before routing (`normalize_path`).
    pub normalize_path: bool,
    /// Whether runs of slashes are merged (`merge_slashes`).
    pub merge_slashes: bool,
}

impl HttpConnectionManager {
    /// The clusters that keys of tokens are fetched from.
    pub fn key_clusters(&self) -> impl Iterator<Item = &ClusterName> {
        let providers = self.filters.iter().flat_map(|filter| match filter {
            HttpFilter::Jwt(jwt) => &jwt.providers[..],
            _ => &[],
        });
        providers.filter_map(|provider| match &provider.keys {
            KeySource::Remote(keys) => Some(&keys.cluster),
            KeySource::Inline(_) | KeySource::File(_) => None,
        })
    }
}

/// What becomes of `Server` in answers that pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ServerHeader {
    /// It becomes our name (`OVERWRITE`).
    #[default]
    Overwrite,
    /// It becomes our name where there is none (`APPEND_IF_ABSENT`).
    AppendIfAbsent,
    /// Nothing (`PASS_THROUGH`).
    PassThrough,
}

/// What becomes of `x-forwarded-client-cert`, which says who the downstream has proved to be (`forward_client_cert_details`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardClientCert {
    /// It is taken out.
    #[default]
    Sanitize,
    /// It stands, where the downstream has proved who it is; from others it is taken out.
    ForwardOnly,
    /// The downstream is added to it, where it has proved who it is; from others it is taken out.
    Append(ClientCertDetails),
    /// It says who the downstream is, and nothing else.
    Set(ClientCertDetails),
}

/// What is told of the downstream's certificate, besides its SHA-256 (`set_current_client_cert_details`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClientCertDetails {
    /// Its subject.
    pub subject: bool,
    /// Its URIs.
    pub uri: bool,
    /// Its host names.
    pub dns: bool,
}

/// What downstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DownstreamCodec {
    /// Found out per connection (`AUTO`).
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Where the routes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    /// Written in the listener.
    Inline(Arc<RouteTable>),
    /// Told by RDS under this name.
    Rds(Arc<str>),
}

/// An HTTP filter with its listener-wide configuration; routes may override it.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpFilter {
    /// Local rate limit.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Delay and abort.
    Fault(Arc<Fault>),
    /// Whose token a request must bring. It stands before whatever asks what tokens say.
    Jwt(Arc<JwtAuthn>),
    /// Who may do what (RBAC). There may be several; routes cannot override them.
    Access(Arc<AccessFilter>),
    /// Listed but not known: every request that would pass it is answered 500, and the reason says so.
    Unsupported {
        /// The filter's name.
        name: Arc<str>,
        /// The type URL of its configuration.
        type_url: Arc<str>,
    },
}

/// Bounds on one downstream connection and its requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpLimits {
    /// Bytes of a request head. Default 60 KiB, at most 8 MiB (`max_request_headers_kb`).
    pub header_bytes_max: usize,
    /// Fields of a request head. Default 100 (`max_headers_count`).
    pub header_count_max: usize,
    /// Silence between requests that closes a connection. Default 1 h; zero never.
    pub idle_timeout: Duration,
    /// Silence within a request that ends it with 504 or a reset. Default 5 min; zero never (`stream_idle_timeout`).
    pub stream_idle_timeout: Duration,
    /// From the first byte of a head to its last. Default 60 s; zero never (`request_headers_timeout`).
    pub request_headers_timeout: Duration,
    /// From the head to the last byte of the request. Default zero, never (`request_timeout`).
    pub request_timeout: Duration,
    /// Life of a connection, after which it is drained. Default zero, never (`max_connection_duration`).
    pub connection_duration_max: Duration,
    /// Requests on one connection, after which it is closed in order; 0 no bound.
    pub requests_per_connection_max: u32,
    /// Bytes held for a side that does not take them, per direction of an exchange
    /// (`Listener.per_connection_buffer_limit_bytes`). Above zero. Default 1 MiB in Envoy; 64 KiB here.
    pub buffer_bytes_max: usize,
    /// What HTTP/2 connections are bounded by beside (`http2_protocol_options`).
    pub http2: Http2Options,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_bytes_max: 60 * 1024,
            header_count_max: 100,
            idle_timeout: Duration::from_secs(3600),
            stream_idle_timeout: Duration::from_secs(300),
            request_headers_timeout: Duration::from_secs(60),
            request_timeout: Duration::ZERO,
            connection_duration_max: Duration::ZERO,
            requests_per_connection_max: 0,
            buffer_bytes_max: 64 * 1024,
            http2: Http2Options::default(),
        }
    }
}

/// `TcpProxy`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    /// Names it in metrics.
    pub stat_prefix: Arc<str>,
    /// Where connections go, each weight above zero.
    pub clusters: Vec<(ClusterName, u32)>,
    /// Silence in both directions that ends a connection. Default 1 h; zero never.
    pub idle_timeout: Duration,
    /// Attempts to connect. Default 1.
    pub connect_attempts_max: u32,
    /// Where access log lines go.
    pub access_log: Vec<AccessLog>,
}
