//! Route tables: virtual hosts and routes, indexed, and the one function that finds a route.

mod index;
mod matching;
mod parse;
mod pattern;
mod rewrite;
mod table;

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterName;
pub use crate::policy::FilterOverrides;
use crate::policy::{HeaderEdits, RetryPolicy};

pub use matching::Mismatch;
pub(crate) use matching::{path_of, split_path};
pub(crate) use parse::string_match;
pub use pattern::Pattern;
pub use rewrite::{NormalizeError, normalize_path};
pub use table::{Explanation, Refused};

/// What a route is found by. The proxy's head and the CLI's request both are one.
pub trait RequestHead {
    /// The method, as sent.
    fn method(&self) -> &[u8];
    /// `Host` or `:authority`, as sent, port included.
    fn authority(&self) -> &[u8];
    /// Path and query, as sent.
    fn path_and_query(&self) -> &[u8];
    /// The first value of the header `name` (lower case).
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// Whether `test` holds for one of the values of the header `name` (lower case), or of what `:method`, `:authority` and
    /// `:path` stand for; `None` where there is none. Heads that can hold several values of a name show all of them.
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        let value = match name {
            ":method" => Some(self.method()),
            ":authority" | "host" => Some(self.authority()),
            ":path" => Some(self.path_and_query()),
            name => self.header(name),
        };
        value.map(test)
    }
    /// Gives each value of the header `name` (lower case) to `each`. Heads that can hold several show all of them.
    fn each_value<'h>(&'h self, name: &str, each: &mut dyn FnMut(&'h [u8])) {
        if let Some(value) = self.header(name) {
            each(value);
        }
    }
}

/// The routes of one RDS resource (or of an inline route configuration), indexed.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// The resource's name.
    pub name: Arc<str>,
    /// Virtual hosts, as sent.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Whether the port of `Host` is ignored when a host is matched.
    pub ignore_port_in_host_matching: bool,
    index: index::TableIndex,
}

/// The index follows from the rest.
impl PartialEq for RouteTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.virtual_hosts == other.virtual_hosts
            && self.ignore_port_in_host_matching == other.ignore_port_in_host_matching
    }
}

/// One virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// `exact.com`, `*.suffix.com`, `prefix.*`, `*`; lower case.
    pub domains: Vec<Arc<str>>,
    /// Routes, the first that matches wins.
    pub routes: Vec<Route>,
}

/// Where a route stands in its table: stable for the life of the table, dense from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its number in the table, in order of virtual hosts and routes.
    pub id: RouteId,
    /// Its name; empty when not given.
    pub name: Arc<str>,
    /// When it is used.
    pub matches: RouteMatch,
    /// What is done.
    pub action: RouteAction,
    /// Edits of the request: those of the table, the virtual host and the route put together in Envoy's order.
    pub request_headers: HeaderEdits,
    /// Edits of the response, likewise.
    pub response_headers: HeaderEdits,
    /// `typed_per_filter_config` of route, virtual host or weighted cluster's default: replaces the listener's.
    pub overrides: FilterOverrides,
}

/// When a route is used: all that is given must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Whether case matters in exact and prefix matches. Default true.
    pub case_sensitive: bool,
    /// Headers, all of them; `:method`, `:authority`, `:path` are allowed names.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, all of them.
    pub query: Vec<QueryMatch>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Share of requests, parts per million; 1,000,000 where not given.
    pub runtime_per_million: u32,
}

/// The path of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// The whole path, without query.
    Exact(Arc<str>),
    /// Any path that starts so.
    Prefix(Arc<str>),
    /// The path itself or any below it (`path_separated_prefix`); no trailing slash.
    SegmentPrefix(Arc<str>),
    /// The whole path, without query.
    Regex(Pattern),
    /// `CONNECT` requests, whatever the path.
    Connect,
}

/// A string and how it is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Equal but for ASCII case.
    ExactIgnoreCase(Arc<str>),
    /// Starts so.
    Prefix(Arc<str>),
    /// Ends so.
    Suffix(Arc<str>),
    /// Contains.
    Contains(Arc<str>),
    /// The whole value.
    Regex(Pattern),
    /// There at all.
    Present,
    /// An integer in the half-open range.
    Range(i64, i64),
}

/// One header condition.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// Lower-case name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: StringMatch,
    /// Turned round.
    pub invert: bool,
    /// A missing header counts as empty (`treat_missing_header_as_empty`).
    pub missing_is_empty: bool,
}

/// One query parameter condition.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// Name, case sensitive.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: StringMatch,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// Sent upstream.
    Forward(Forward),
    /// Answered with another place.
    Redirect(Redirect),
    /// Answered here.
    Direct {
        /// Status, 200 to 599.
        status: u16,
        /// Body, at most 4 KiB.
        body: Arc<str>,
    },
    /// Answered 500: this route could not be read; the text says why. (A warning, so that its neighbours work.)
    Broken(Arc<str>),
}

/// A request sent upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Where, by weight.
    pub clusters: WeightedClusters,
    /// Bound of the whole request; `None`: none. Default 15 s in xDS; Gateway API routes say it.
    pub timeout: Option<Duration>,
    /// Silence that ends the request; `None`: the listener's; zero: never.
    pub idle_timeout: Option<Duration>,
    /// Life of the stream, both directions, whatever flows (`max_stream_duration`); `None`: none.
    pub max_stream_duration: Option<Duration>,
    /// How a `grpc-timeout` header is obeyed; `None`: it is passed on and nothing more.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// Retries; `None`: only the mesh's default (connect failure and refused stream once, within the budget).
    pub retry: Option<Arc<RetryPolicy>>,
    /// Path rewrite.
    pub path_rewrite: PathRewrite,
    /// `Host` rewrite.
    pub host_rewrite: HostRewrite,
    /// Upgrades allowed on this route although the listener does not, or the reverse; lower case.
    pub upgrades: Vec<(Arc<str>, bool)>,
    /// Whether `CONNECT` ends here and its bytes go upstream as plain TCP (`connect_config`).
    pub terminate_connect: bool,
    /// Whether the upstream is told the number of the attempt in `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// Whether the downstream is told the number of attempts in `x-envoy-attempt-count`.
    pub include_attempt_count_in_response: bool,
}

impl Forward {
    /// All requests to one cluster, with the defaults of xDS.
    pub fn to(cluster: ClusterName) -> Self {
        Self {
            clusters: WeightedClusters {
                clusters: vec![WeightedCluster {
                    name: cluster,
                    weight: 1,
                    request_headers: HeaderEdits::default(),
                    response_headers: HeaderEdits::default(),
                    overrides: FilterOverrides::default(),
                }],
                total: 1,
            },
            timeout: Some(Duration::from_secs(15)),
            idle_timeout: None,
            max_stream_duration: None,
            grpc_timeout: None,
            retry: None,
            path_rewrite: PathRewrite::Keep,
            host_rewrite: HostRewrite::Keep,
            upgrades: Vec::new(),
            terminate_connect: false,
            include_request_attempt_count: false,
            include_attempt_count_in_response: false,
        }
    }
}

/// What becomes of `Host` (`:authority`) on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// It becomes this (`host_rewrite_literal`).
    Literal(Arc<str>),
    /// It becomes the endpoint's hostname where it has one (`auto_host_rewrite`).
    EndpointHostname,
    /// It becomes the value of this request header (lower case) where there is one (`host_rewrite_header`).
    Header(Arc<str>),
}

/// How a `grpc-timeout` request header is obeyed (`RouteAction.MaxStreamDuration`, gRFC A31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// The header's value counts up to this; `None`: without bound.
    pub max: Option<Duration>,
    /// Taken from the header's value, so that the answer arrives before the caller gives up. Default zero.
    pub offset: Duration,
    /// What becomes of the route's own time-out.
    pub timeout: RouteTimeout,
}

/// What a call's own deadline makes of the time-out of its route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteTimeout {
    /// It holds too: whichever is over first (`grpc_timeout_header_max`).
    #[default]
    Holds,
    /// The call's deadline takes its place (`max_grpc_timeout`).
    Replaced,
}

/// Clusters with weights; at least one weight is above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedClusters {
    /// In order as sent.
    pub clusters: Vec<WeightedCluster>,
    /// Sum of the weights, from 1 to u32::MAX.
    pub total: u32,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: ClusterName,
    /// Its share.
    pub weight: u32,
    /// Further edits for requests that go there, made after the route's.
    pub request_headers: HeaderEdits,
    /// Further edits for responses from there.
    pub response_headers: HeaderEdits,
    /// Per-filter configuration of requests that go there: what is given replaces the route's.
    pub overrides: FilterOverrides,
}

impl WeightedClusters {
    /// The index of the cluster that `random` (any u64) falls to.
    pub fn pick(&self, random: u64) -> usize {
        if self.clusters.len() == 1 {
            return 0;
        }
        let mut left = u32::try_from(random % u64::from(self.total.max(1))).unwrap_or(0);
        for (index, cluster) in self.clusters.iter().enumerate() {
            match left.checked_sub(cluster.weight) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }
}

/// How the path changes on its way.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum PathRewrite {
    /// Not at all.
    #[default]
    Keep,
    /// The matched prefix becomes this; the rest and the query stay.
    Prefix(Arc<str>),
    /// The whole path becomes this; the query stays.
    Full(Arc<str>),
    /// What the expression matches becomes the substitution (`\1` for groups); the query stays.
    Regex(Pattern, Arc<str>),
}

/// Answered with another place.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`; `None`: as it came.
    pub scheme: Option<Arc<str>>,
    /// Host; `None`: as it came.
    pub host: Option<Arc<str>>,
    /// Port; `None`: as it came, dropped where it is the scheme's own.
    pub port: Option<u16>,
    /// Path.
    pub path: PathRewrite,
    /// Whether the query is dropped.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308. Default 301.
    pub status: u16,
}
