//! What a control plane is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::ServerName;
use weft_config::spiffe::TrustDomain;

use crate::identity::Lifetimes;

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where xDS is served. Default 127.0.0.1:15010.
    pub xds_listen: SocketAddr,
    /// Where xDS and certificate signing are served with TLS. Default 127.0.0.1:15012.
    pub secure_listen: SocketAddr,
    /// Names that the certificate of that port has besides `localhost` and the host's.
    pub secure_names: Vec<ServerName<'static>>,
    /// Where the HTTP API is served. Default 127.0.0.1:15014.
    pub api_listen: SocketAddr,
    /// A directory of manifests that is watched.
    pub config_dir: Option<PathBuf>,
    /// The database; `None`: in memory.
    pub store: Option<PathBuf>,
    /// A token with which everything may be done over the API; where it is given, every request needs it or one of the store.
    pub api_token: Option<String>,
    /// Whether API requests need a token over loopback too.
    pub require_token: bool,
    /// How long changes are gathered before a push, after the last of them. Default 20 ms.
    pub push_quiet: Duration,
    /// How long changes are gathered at most. Default 200 ms.
    pub push_max: Duration,
    /// How long a workload stays an endpoint after its stream ended. Default 5 s.
    pub workload_grace: Duration,
    /// The domain that service names end in. Default `cluster.local`.
    pub domain: String,
    /// The trust domain of its workloads. Default `cluster.local`.
    pub trust_domain: TrustDomain,
    /// The folder of the certificate authority; `None`: `ca` beside the store, and in memory where that is.
    pub ca_dir: Option<PathBuf>,
    /// The cluster whose service-account tokens are believed.
    pub kubernetes: Option<KubernetesTokens>,
    /// How long certificates live.
    pub lifetimes: Lifetimes,
}

/// How service-account tokens of Kubernetes are believed, offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesTokens {
    /// A file with the public keys of the cluster: a JSON Web Key Set.
    pub jwks: PathBuf,
    /// The issuer of its tokens.
    pub issuer: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            xds_listen: SocketAddr::from(([127, 0, 0, 1], 15010)),
            secure_listen: SocketAddr::from(([127, 0, 0, 1], 15012)),
            secure_names: Vec::new(),
            api_listen: SocketAddr::from(([127, 0, 0, 1], 15014)),
            config_dir: None,
            store: None,
            api_token: None,
            require_token: false,
            push_quiet: Duration::from_millis(20),
            push_max: Duration::from_millis(200),
            workload_grace: Duration::from_secs(5),
            domain: "cluster.local".to_owned(),
            trust_domain: TrustDomain::default(),
            ca_dir: None,
            kubernetes: None,
            lifetimes: Lifetimes::default(),
        }
    }
}

impl Config {
    /// Free ports of loopback and a store in memory.
    pub fn for_demo() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            xds_listen: free,
            secure_listen: free,
            api_listen: free,
            ..Self::default()
        }
    }

    /// Where the certificate authority lies; `None`: in memory.
    pub(super) fn authority_folder(&self) -> Option<PathBuf> {
        let beside = || Some(self.store.as_ref()?.with_file_name("ca"));
        self.ca_dir.clone().or_else(beside)
    }
}
