//! What a configuration means for the xDS client: what is asked for, of whom, and what is there without asking.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::bootstrap::{Bootstrap, ConfigSource};
use weft_config::cluster::{Cluster, ClusterName};
use weft_config::listener::Listener;
use weft_config::tls::SecretName;

use super::config::{Config, Source, StartError};
use super::mesh::{MeshConfig, Redirection};
use crate::listener::ListenerSet;
use crate::snapshot::{Demand, SnapshotStore};
use crate::tls::{LoadError, Secrets};
use crate::xds::core::{Core, Options, Place, Source as Asked};
use crate::xds::files::WatchedFile;
use crate::xds::node::introduced;
use crate::xds::stream::Target;
use crate::xds::{Kind, Protocol};

/// What a configuration means.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) files: Vec<WatchedFile>,
    /// The ADS server; `None`: none is asked.
    pub(super) server: Option<ServerAt>,
    /// Whose tables are kept on disk.
    pub(super) owner: String,
    /// Listeners whose addresses are held while they are not in force: the inbound one of mesh mode, until the control plane says
    /// what is done there, and static ones, which may wait for secrets.
    pub(super) held: Vec<Arc<Listener>>,
    /// The inbound listener of mesh mode.
    pub(super) inbound: Option<Arc<str>>,
    fixed: Fixed,
}

/// Where the ADS server is said to be.
pub(super) enum ServerAt {
    Host { host: String, port: u16 },
    Clusters(Vec<ClusterName>),
}

/// What is there without asking.
enum Fixed {
    Bootstrap(Box<Bootstrap>),
    Outbound {
        listeners: Vec<Arc<Listener>>,
        /// Of what is called that nobody knows.
        cluster: Option<Arc<Cluster>>,
    },
}

impl Plan {
    /// Makes the plan. In mesh mode the inbound address is bound here, for the control plane is told its port.
    pub(super) fn build(
        config: &Config,
        admin: Option<SocketAddr>,
        store: &Arc<SnapshotStore>,
        listeners: &mut ListenerSet,
    ) -> Result<Self, StartError> {
        match &config.source {
            Source::Bootstrap(bootstrap) => Ok(Self::of_bootstrap(bootstrap, config)),
            Source::Mesh(mesh) => {
                let demand = Demand::new(store.clone(), config.demand);
                Self::of_mesh(mesh, config, admin, demand, listeners)
            }
        }
    }

    fn of_bootstrap(bootstrap: &Bootstrap, config: &Config) -> Self {
        let dynamic = bootstrap.dynamic.as_ref();
        let ads = dynamic.and_then(|it| it.ads.as_ref());
        let said = match ads {
            Some(ads) if !ads.delta => Protocol::Sotw,
            _ => Protocol::Delta,
        };
        let lds = dynamic.and_then(|it| it.lds.as_ref());
        let cds = dynamic.and_then(|it| it.cds.as_ref());
        let sources = [(lds, Kind::Listener), (cds, Kind::Cluster)];
        // Clusters first, so that listeners find them.
        let files = sources
            .into_iter()
            .rev()
            .filter_map(|(source, kind)| match source {
                Some(ConfigSource::Path(path)) => Some(WatchedFile::new(path, kind)),
                _ => None,
            });
        let node = introduced(bootstrap.node.clone());
        Self {
            owner: format!("node {}/{}", node.cluster, node.id),
            options: Options {
                protocol: config.protocol.unwrap_or(said),
                listeners: asked(lds),
                clusters: asked(cds),
                has_ads: ads.is_some(),
                demand: None,
                inbound: None,
                introduction: None,
                access_log: None,
                trust_domain: None,
                node,
            },
            files: files.collect(),
            server: ads.map(|ads| ServerAt::Clusters(ads.clusters.clone())),
            held: with_address(&bootstrap.listeners),
            inbound: None,
            fixed: Fixed::Bootstrap(Box::new(bootstrap.clone())),
        }
    }

    fn of_mesh(
        mesh: &MeshConfig,
        config: &Config,
        admin: Option<SocketAddr>,
        demand: Arc<Demand>,
        listeners: &mut ListenerSet,
    ) -> Result<Self, StartError> {
        let mut mesh = mesh.clone();
        let mut held = None;
        if !mesh.app_ports.is_empty() {
            let mut inbound = mesh.inbound();
            listeners.reserve(&inbound).map_err(StartError::Bind)?;
            let bound = listeners
                .addresses()
                .find(|(name, _)| **name == inbound.name);
            if let Some((_, address)) = bound {
                mesh.inbound_listen.set_port(address.port());
                inbound.address = Some(mesh.inbound_listen);
            }
            listeners.reserve(&inbound).map_err(StartError::Bind)?;
            held = Some(inbound);
        }
        let workload = mesh.workload().map_err(StartError::NoAddress)?;
        let redirected = mesh.redirection != Redirection::None;
        let inbound = held.as_ref().map(|held| Place {
            name: held.name.clone(),
            address: mesh.inbound_listen,
            ports: held.application_ports.clone(),
            transparent: held.transparent,
        });
        Ok(Self {
            options: Options {
                protocol: config.protocol.unwrap_or_default(),
                listeners: Asked::AdsByName,
                clusters: Asked::AdsByName,
                has_ads: true,
                demand: Some(demand),
                introduction: inbound.is_none().then(|| mesh.inbound_name().into()),
                inbound,
                access_log: mesh.access_log.clone(),
                trust_domain: mesh
                    .identity
                    .as_ref()
                    .map(|it| it.id.trust_domain().clone()),
                node: workload.node(admin),
            },
            files: Vec::new(),
            server: Some(ServerAt::Host {
                host: mesh.control_plane_host.clone(),
                port: mesh.control_plane_port,
            }),
            owner: format!("service {}/{}", mesh.namespace, mesh.service),
            inbound: held.as_ref().map(|it| it.name.clone()),
            held: held.into_iter().map(Arc::new).collect(),
            fixed: Fixed::Outbound {
                listeners: mesh.outbound().into_iter().chain(mesh.unknown()).collect(),
                cluster: redirected.then(|| mesh.outbound_policy.cluster()),
            },
        })
    }

    /// Puts in what is there without asking.
    ///
    /// # Errors
    /// A certificate or key that the bootstrap names cannot be used. Of one that is told later, handshakes fail until it can.
    pub(super) fn put_fixed(&self, core: &mut Core, secrets: &Secrets) -> Result<(), StartError> {
        let now = Instant::now();
        let mut contexts = Vec::new();
        match &self.fixed {
            Fixed::Bootstrap(bootstrap) => {
                // Before those who name them.
                for secret in &bootstrap.secrets {
                    secrets.put(&SecretName::of_bootstrap(&secret.name), &secret.kind);
                }
                for cluster in &bootstrap.clusters {
                    core.put_static_cluster(cluster.clone(), now);
                }
                for listener in &bootstrap.listeners {
                    let chains = listener.filter_chains.iter();
                    let chains = chains.chain(&listener.default_filter_chain);
                    contexts.extend(
                        chains
                            .filter_map(|it| it.tls.as_ref())
                            .map(|it| secrets.server(it)),
                    );
                    core.put_static_listener(listener.clone(), now);
                }
            }
            Fixed::Outbound { listeners, cluster } => {
                if let Some(cluster) = cluster {
                    core.put_static_cluster(cluster.clone(), now);
                }
                for listener in listeners {
                    core.put_static_listener(listener.clone(), now);
                }
            }
        }
        let mut faults = secrets.faults();
        // The workload's certificate is asked for once all runs, and so is what others tell.
        faults.retain(|fault| match fault {
            LoadError::Unknown(name) => match &self.fixed {
                Fixed::Bootstrap(_) => !name.origin.tells_later(),
                Fixed::Outbound { .. } => false,
            },
            _ => true,
        });
        match faults.is_empty() {
            true => Ok(()),
            false => Err(StartError::Secrets(faults)),
        }
    }
}

impl ServerAt {
    /// Looks the clusters up.
    pub(super) fn target(self, core: &mut Core) -> Result<Target, StartError> {
        let names = match self {
            Self::Host { host, port } => return Ok(Target::Host { host, port }),
            Self::Clusters(names) => names,
        };
        let handle = |name: ClusterName| {
            let found = core.builder().cluster(&name).cloned();
            found.ok_or_else(|| StartError::NoAdsCluster(name.to_string()))
        };
        Ok(Target::Clusters(
            names.into_iter().map(handle).collect::<Result<_, _>>()?,
        ))
    }
}

/// Those that are bound, and not only looked up.
fn with_address(listeners: &[Arc<Listener>]) -> Vec<Arc<Listener>> {
    let bound = listeners.iter().filter(|it| it.address.is_some());
    bound.cloned().collect()
}

fn asked(source: Option<&ConfigSource>) -> Asked {
    match source {
        None => Asked::Nowhere,
        Some(ConfigSource::Ads) => Asked::Ads,
        Some(ConfigSource::Path(_)) => Asked::File,
    }
}
