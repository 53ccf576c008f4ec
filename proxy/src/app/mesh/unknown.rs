//! What becomes of connections to where nobody of the mesh is known to be.

use std::sync::Arc;
use std::time::Duration;

use weft_config::cluster::Cluster;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::listener::{
    ChainAction, Direction, FilterChain, FilterChainMatch, Listener, RouteSource, TcpProxy,
};
use weft_config::route::RouteTable;
use weft_xds_proto::pb::envoy::config::cluster::v3 as cluster;
use weft_xds_proto::pb::envoy::config::route::v3 as route;
use weft_xds_proto::pb::google::protobuf::{Duration as ProtoDuration, UInt32Value};

use super::{MeshConfig, Redirection};
use crate::listener::UNKNOWN;

/// What becomes of calls to destinations that the control plane does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutboundPolicy {
    /// They go where they meant to go.
    #[default]
    AllowAny,
    /// They are refused.
    RegistryOnly,
}

/// Where they go, as other meshes call it.
const PASSTHROUGH: &str = "PassthroughCluster";

/// Where they do not go: a cluster without endpoints.
const BLACKHOLE: &str = "BlackHoleCluster";

/// Open at once, as many as downstream connections there can be.
const AT_ONCE_MAX: u32 = 65_536;

/// How long a destination may take to answer a call.
const CONNECT_SECONDS: i64 = 10;

impl OutboundPolicy {
    fn cluster_name(self) -> &'static str {
        match self {
            Self::AllowAny => PASSTHROUGH,
            Self::RegistryOnly => BLACKHOLE,
        }
    }

    /// The cluster of those calls.
    pub(crate) fn cluster(self) -> Arc<Cluster> {
        use cluster::cluster::{
            ClusterDiscoveryType, ClusterProtocolSelection, DiscoveryType, LbPolicy,
        };
        let many = Some(UInt32Value { value: AT_ONCE_MAX });
        let (kind, policy) = match self {
            Self::AllowAny => (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided),
            Self::RegistryOnly => (DiscoveryType::Static, LbPolicy::RoundRobin),
        };
        #[expect(deprecated, reason = "the short form of what the extension says")]
        let proto = cluster::Cluster {
            name: self.cluster_name().to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
            lb_policy: policy.into(),
            protocol_selection: ClusterProtocolSelection::UseDownstreamProtocol.into(),
            connect_timeout: Some(ProtoDuration {
                seconds: CONNECT_SECONDS,
                nanos: 0,
            }),
            circuit_breakers: Some(cluster::CircuitBreakers {
                thresholds: vec![cluster::circuit_breakers::Thresholds {
                    max_connections: many,
                    max_pending_requests: many,
                    max_requests: many,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut diag = Diagnostics::new();
        let cluster = Cluster::parse(&proto, &FieldPath::root(), &mut diag);
        Arc::new(cluster.expect("it says nothing that is not supported"))
    }

    /// Routes for requests that name nobody: all there, or none.
    fn routes(self) -> RouteTable {
        let everything = route::Route {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                ..Default::default()
            }),
            action: Some(route::route::Action::Route(route::RouteAction {
                cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                    PASSTHROUGH.to_owned(),
                )),
                // Whoever calls knows how long he waits.
                timeout: Some(ProtoDuration::default()),
                ..Default::default()
            })),
            ..Default::default()
        };
        let proto = route::RouteConfiguration {
            name: UNKNOWN.to_owned(),
            virtual_hosts: match self {
                Self::AllowAny => vec![route::VirtualHost {
                    name: UNKNOWN.to_owned(),
                    domains: vec!["*".to_owned()],
                    routes: vec![everything],
                    ..Default::default()
                }],
                Self::RegistryOnly => Vec::new(),
            },
            ..Default::default()
        };
        let mut diag = Diagnostics::new();
        let table = RouteTable::parse(&proto, &FieldPath::root(), &mut diag);
        table.expect("it says nothing that is not supported")
    }
}

impl MeshConfig {
    /// The listener of those calls, which is bound nowhere: requests go by their authority where that names somebody. Where nothing is
    /// redirected there are none.
    pub(in crate::app) fn unknown(&self) -> Option<Arc<Listener>> {
        if self.redirection == Redirection::None {
            return None;
        }
        let mut hcm = self.outbound_http();
        hcm.stat_prefix = UNKNOWN.into();
        hcm.routes = RouteSource::Inline(Arc::new(self.outbound_policy.routes()));
        let tcp = TcpProxy {
            stat_prefix: UNKNOWN.into(),
            clusters: vec![(self.outbound_policy.cluster_name().into(), 1)],
            // Whoever calls knows how long he is silent.
            idle_timeout: Duration::ZERO,
            connect_attempts_max: 1,
            access_log: hcm.access_log.clone(),
        };
        let chain = |name: &str, matches, action| FilterChain {
            name: name.into(),
            matches,
            tls: None,
            access: Vec::new(),
            action,
        };
        let http = FilterChainMatch {
            application_protocols: ["http/1.1", "h2c"].map(Into::into).into(),
            ..FilterChainMatch::default()
        };
        let other = ChainAction::Tcp(Arc::new(tcp));
        Some(Arc::new(Listener {
            name: UNKNOWN.into(),
            address: None,
            direction: Direction::Outbound,
            filter_chains: vec![chain("http", http, ChainAction::Http(Arc::new(hcm)))],
            default_filter_chain: Some(chain("other", FilterChainMatch::default(), other)),
            ..self.outbound_at(None)
        }))
    }
}
