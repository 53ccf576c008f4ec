//! The Envoy v3 bootstrap: node, admin, static resources, where dynamic ones come from.

mod dynamic;
pub mod overload;
mod parse;
pub mod runtime;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::overload::Overload;
use self::runtime::Runtime;
use crate::cluster::{Cluster, ClusterName};
use crate::listener::Listener;
use crate::secret::Secret;

/// What a proxy starts from.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The message that it was read from, packed: what is shown of it.
    pub packed: weft_xds_proto::pb::google::protobuf::Any,
    /// Who we are; sent with the first request of every stream, as given.
    pub node: weft_xds_proto::pb::envoy::config::core::v3::Node,
    /// Where the admin page listens; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// Static listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Static clusters.
    pub clusters: Vec<Arc<Cluster>>,
    /// Static secrets.
    pub secrets: Vec<Arc<Secret>>,
    /// Where dynamic resources come from; `None`: static only.
    pub dynamic: Option<DynamicResources>,
    /// Time between the first word of a drain and its end (`--drain-time`), default 600 s in Envoy; 45 s here.
    pub drain_time: Duration,
    /// When load is shed; `None`: nothing is said of it.
    pub overload: Option<Overload>,
    /// What runtime keys say.
    pub runtime: Runtime,
}

/// Where dynamic resources come from.
#[derive(Clone, Debug)]
pub struct DynamicResources {
    /// The source of listeners; `None`: none are dynamic.
    pub lds: Option<ConfigSource>,
    /// The source of clusters; `None`: none are dynamic.
    pub cds: Option<ConfigSource>,
    /// The ADS server, where one is named.
    pub ads: Option<AdsConfig>,
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigSource {
    /// The ADS stream.
    Ads,
    /// A watched file that holds a `DiscoveryResponse` as YAML or JSON (`path_config_source`).
    Path(Arc<str>),
}

/// The ADS server.
#[derive(Clone, Debug, PartialEq)]
pub struct AdsConfig {
    /// `DELTA_GRPC` rather than `GRPC`.
    pub delta: bool,
    /// The static clusters through which the server is reached, in order of preference.
    pub clusters: Vec<ClusterName>,
}
