//! What is served: resources encoded once, versioned by their content, and found by the names that proxies ask for.
//!
//! A snapshot is immutable; the next one shares everything that did not change. A resource's version is a hash of
//! its bytes, so an equal resource is never sent twice, not even by a control plane that was restarted in between.

pub(crate) mod encode;
mod keys;
mod names;
pub(crate) mod proto;
mod resource;
mod secret;
mod store;
mod unit;
mod wildcard;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use weft_config::gateway_api::AppProtocol;
use weft_config::secret::ROOT_CA;
use weft_config::spiffe::SpiffeId;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;

pub use self::encode::{encode_routes, encode_virtual_host};
pub use self::keys::keys_cluster_name;
pub use self::names::{AskedName, Host};
pub use self::resource::{Resource, ResourceType, Version, content_hash};
pub use self::secret::root_ca;
pub use self::store::SnapshotStore;
pub use self::unit::{ListenerTemplate, Outbound, PortUnit, RouteUnit, ServiceUnit};
pub use self::wildcard::Wildcard;
use crate::identity::may_register;

/// What of a node decides which resources it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The namespace that short service names are looked up in.
    pub namespace: Arc<str>,
    /// Where the wildcard form's outbound listener binds.
    pub outbound_address: std::net::SocketAddr,
    /// Who it has proved to be; `None`: nobody was asked.
    pub identity: Option<SpiffeId>,
}

impl Default for NodeView {
    fn default() -> Self {
        Self {
            namespace: Arc::from("default"),
            outbound_address: std::net::SocketAddr::from(([127, 0, 0, 1], 15001)),
            identity: None,
        }
    }
}

/// Everything that is served at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The store's revision that it was translated from.
    pub revision: u64,
    /// Counts snapshots; endpoints that come and go make new ones within a revision.
    pub serial: u64,
    /// The change of the registry up to which workloads are in it.
    pub registered: u64,
    /// Whom to trust; `None`: that is not said.
    pub root_ca: Option<Arc<Resource>>,
    units: HashMap<Arc<str>, Arc<ServiceUnit>>,
    inbound: HashMap<Arc<str>, Arc<Resource>>,
    hosts_by_ip: HashMap<IpAddr, Arc<str>>,
    domain: Arc<str>,
    /// Namespaces with routes of their own for services of others.
    consumers: BTreeSet<Arc<str>>,
    /// The wildcard form, by the namespace of those who ask; made when first asked for.
    wildcards: Mutex<HashMap<Arc<str>, Arc<Wildcard>>>,
}

impl Snapshot {
    /// Whether there may be a resource of this name for a client that has proved to be `identity`: inbound listeners are for the
    /// workloads of their service. Where nobody is asked who he is, for everybody.
    pub fn may_see(&self, identity: Option<&SpiffeId>, name: &str) -> bool {
        let Some((identity, inbound)) = identity.zip(name.strip_prefix(INBOUND_PREFIX)) else {
            return true;
        };
        let mut parts = inbound.split('/');
        let Some((namespace, service)) = parts.next().zip(parts.next()) else {
            return false;
        };
        // Who was let in before the service listed others keeps its listener: closing it would open nothing, and cut what is under way.
        let of_name = may_register(identity, namespace, service, &[]);
        let listed = self.listed_accounts(namespace, service);
        of_name.is_ok() || may_register(identity, namespace, service, listed).is_ok()
    }

    /// The service accounts that a service lists; none where it is not there.
    pub fn listed_accounts(&self, namespace: &str, service: &str) -> &[String] {
        let host = format!("{service}.{namespace}.svc.{}", self.domain);
        let unit = self.units.get(host.as_str());
        unit.map_or(&[], |unit| unit.accounts.as_slice())
    }

    /// Puts a snapshot together. `domain` is the cluster's, without dots at its ends.
    pub fn new(
        revision: u64,
        serial: u64,
        domain: Arc<str>,
        units: impl IntoIterator<Item = Arc<ServiceUnit>>,
        inbound: impl IntoIterator<Item = Arc<Resource>>,
    ) -> Self {
        let units: HashMap<_, _> = units
            .into_iter()
            .map(|unit| (Arc::clone(&unit.host), unit))
            .collect();
        let mut hosts_by_ip = HashMap::new();
        for unit in units.values() {
            for ip in &unit.addresses {
                // The host that sorts first owns an address that two services claim, whatever the order.
                let owner = hosts_by_ip
                    .entry(*ip)
                    .or_insert_with(|| Arc::clone(&unit.host));
                if unit.host < *owner {
                    *owner = Arc::clone(&unit.host);
                }
            }
        }
        let ports = units.values().flat_map(|unit| &unit.ports);
        let consumers = ports.flat_map(|port| port.consumers.keys().cloned());
        Self {
            revision,
            serial,
            registered: 0,
            root_ca: None,
            consumers: consumers.collect(),
            units,
            inbound: inbound
                .into_iter()
                .map(|resource| (Arc::clone(&resource.name), resource))
                .collect(),
            hosts_by_ip,
            domain,
            wildcards: Mutex::default(),
        }
    }

    /// The resource that `node` means by `name`; `None`: it does not exist.
    pub fn find(&self, kind: ResourceType, name: &str, node: &NodeView) -> Option<Arc<Resource>> {
        match kind {
            ResourceType::Secret => self.root_ca.clone().filter(|_| name == ROOT_CA),
            ResourceType::Listener => self.find_listener(name, node),
            ResourceType::Route if name == wildcard::OUTBOUND => Some(self.wildcard(node).routes()),
            ResourceType::Route => {
                let outbound = self.port(name)?.outbound(&node.namespace);
                outbound.route.as_ref().map(|route| route.resource())
            }
            ResourceType::Cluster if name.starts_with(INBOUND_CLUSTER_PREFIX) => {
                inbound_cluster(name)
            }
            ResourceType::Cluster if name.starts_with(keys::PREFIX) => {
                self.keys_cluster(name, node)
            }
            ResourceType::Cluster => self.port(name).map(|port| Arc::clone(port.cluster(node))),
            ResourceType::Endpoint => self.port(name).map(|port| Arc::clone(&port.endpoints)),
        }
    }

    /// Everything of a type, for nodes that subscribe to all of it; only listeners and clusters have a wildcard.
    pub fn all(&self, kind: ResourceType, node: &NodeView) -> Vec<Arc<Resource>> {
        match kind {
            ResourceType::Listener => vec![self.wildcard(node).listener(node.outbound_address)],
            ResourceType::Cluster => self
                .units
                .values()
                .flat_map(|unit| unit.ports.iter().map(|port| Arc::clone(port.cluster(node))))
                .collect(),
            ResourceType::Secret | ResourceType::Route | ResourceType::Endpoint => Vec::new(),
        }
    }

    /// The service and port that `asked` means to a node in `namespace`.
    pub fn resolve(&self, asked: &AskedName, namespace: &str) -> Option<(&ServiceUnit, &PortUnit)> {
        let unit = match &asked.host {
            Host::Ip(ip) => self.units.get(self.hosts_by_ip.get(ip)?)?,
            Host::Name(name) => self
                .units
                .get(names::canonical_host(name, namespace, &self.domain)?.as_str())?,
        };
        Some((unit, unit.port(asked.port)?))
    }

    fn find_listener(&self, name: &str, node: &NodeView) -> Option<Arc<Resource>> {
        if name == wildcard::OUTBOUND {
            return Some(self.wildcard(node).listener(node.outbound_address));
        }
        if name.starts_with(INBOUND_PREFIX) {
            let inbound = self
                .inbound
                .get(name)
                .filter(|_| self.may_see(node.identity.as_ref(), name));
            return inbound.map(Arc::clone);
        }
        let asked = AskedName::parse(name)?;
        let (_, port) = self.resolve(&asked, &node.namespace)?;
        let outbound = port.outbound(&node.namespace);
        // Whoever dials an address may speak anything; a name comes from an authority, so its downstream speaks HTTP.
        let listener = match (&asked.host, &outbound.by_address) {
            (Host::Ip(_), Some(listener)) => listener,
            _ => &outbound.listener,
        };
        Some(listener.named(name))
    }

    /// The cluster that keys of tokens are fetched from: of a service of the mesh where that is one, else of whoever has the name.
    fn keys_cluster(&self, name: &str, node: &NodeView) -> Option<Arc<Resource>> {
        let place = keys::KeysHost::parse(name)?;
        let asked = AskedName::parse(&format!("{}:{}", place.host, place.port));
        let service = asked
            .filter(|_| place.may_be_service())
            .and_then(|asked| self.resolve(&asked, &node.namespace));
        let of_service = service.and_then(|(_, port)| {
            let cluster = Cluster::decode(port.cluster(node).value()).ok()?;
            Some(keys::of_service(cluster, name))
        });
        let cluster = of_service.unwrap_or_else(|| place.cluster(name));
        Some(Arc::new(Resource::new(
            ResourceType::Cluster,
            name,
            &cluster,
        )))
    }

    fn port(&self, name: &str) -> Option<&PortUnit> {
        let (host, port) = name.rsplit_once(':')?;
        self.units.get(host)?.port(port.parse().ok()?)
    }

    /// The wildcard form for a node: that of its namespace where it has routes of its own, else the common one.
    fn wildcard(&self, node: &NodeView) -> Arc<Wildcard> {
        let namespace = match self.consumers.get(&node.namespace) {
            Some(namespace) => Arc::clone(namespace),
            None => Arc::from(""),
        };
        let mut made = self
            .wildcards
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let build = || Wildcard::build(self.units.values(), &namespace, &self.domain).into();
        Arc::clone(made.entry(Arc::clone(&namespace)).or_insert_with(build))
    }
}

/// Inbound listeners are named `inbound/NAMESPACE/SERVICE`, with `/PORT-PORT…` behind it where they have these ports alone.
pub const INBOUND_PREFIX: &str = "inbound/";

/// Clusters of applications are named `inbound|PORT`; each exists as soon as it is asked for.
pub const INBOUND_CLUSTER_PREFIX: &str = "inbound|";

/// The name of the cluster of the application beside a proxy: `inbound|PORT`, and where it is known what it speaks,
/// `inbound|PORT|http1` or `inbound|PORT|http2`.
pub fn inbound_cluster_name(port: u16, protocol: AppProtocol) -> String {
    let spoken = match protocol {
        AppProtocol::Http => "|http1",
        AppProtocol::Http2 | AppProtocol::Grpc => "|http2",
        AppProtocol::Tcp | AppProtocol::Detect => "",
    };
    format!("{INBOUND_CLUSTER_PREFIX}{port}{spoken}")
}

/// The cluster of the application beside the asking proxy: what came in goes on, to this machine.
fn inbound_cluster(name: &str) -> Option<Arc<Resource>> {
    let rest = name.strip_prefix(INBOUND_CLUSTER_PREFIX)?;
    let port: u16 = rest.split('|').next()?.parse().ok().filter(|it| *it > 0)?;
    let protocols = [AppProtocol::Http, AppProtocol::Http2, AppProtocol::Detect];
    // `inbound|08080` is none of them.
    let mut named = protocols.into_iter();
    let protocol = named.find(|protocol| inbound_cluster_name(port, *protocol) == name)?;
    let cluster = proto::inbound_cluster(name, port, protocol);
    Some(Arc::new(Resource::new(
        ResourceType::Cluster,
        name,
        &cluster,
    )))
}
