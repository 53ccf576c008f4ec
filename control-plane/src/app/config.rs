//! What a control plane is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::ServerName;
use weft_config::spiffe::TrustDomain;

use super::StartError;
use crate::identity::Lifetimes;

/// Characters of a token of the API that is given at the start, below which it can be guessed.
pub(super) const TOKEN_BYTES_MIN: usize = 16;

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where xDS is served without TLS; `None`: nowhere. Default 127.0.0.1:15010.
    pub xds_listen: Option<SocketAddr>,
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
            xds_listen: Some(SocketAddr::from(([127, 0, 0, 1], 15010))),
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
            xds_listen: Some(free),
            secure_listen: free,
            api_listen: free,
            ..Self::default()
        }
    }

    /// Whether the token of the API is one that may be.
    ///
    /// # Errors
    /// If it is empty, or so short that others could guess it who can reach the API.
    pub(super) fn check_token(&self) -> Result<(), StartError> {
        match self.api_token.as_deref().map(str::len) {
            Some(0) => Err(StartError::TokenEmpty),
            Some(got) if got < TOKEN_BYTES_MIN && !self.api_listen.ip().is_loopback() => {
                Err(StartError::TokenShort {
                    address: self.api_listen,
                    got,
                })
            }
            _ => Ok(()),
        }
    }

    /// What of it lets others do or see more than they should, each in a sentence.
    pub(super) fn dangers(&self) -> Vec<String> {
        let mut dangers = Vec::new();
        let others = |address: &SocketAddr| !address.ip().is_loopback();
        if let Some(address) = self.xds_listen.filter(others) {
            dangers.push(format!(
                "xDS on {address} has no TLS: everybody who reaches it may register workloads without an identity and read what they are                  served, and no join token must be sent there (--xds-listen none, and --secure-listen, which has TLS)"
            ));
        }
        if others(&self.api_listen) {
            dangers.push(format!(
                "the HTTP API on {} has no TLS: its tokens travel in plain (listen on loopback behind a tunnel or a proxy that ends TLS)",
                self.api_listen
            ));
        }
        let short = |token: &&String| token.len() < TOKEN_BYTES_MIN;
        if self.api_token.as_ref().filter(short).is_some() {
            dangers.push(format!(
                "the token of the HTTP API has less than {TOKEN_BYTES_MIN} characters: it can be guessed"
            ));
        }
        dangers
    }

    /// Where the certificate authority lies; `None`: in memory.
    pub(super) fn authority_folder(&self) -> Option<PathBuf> {
        let beside = || Some(self.store.as_ref()?.with_file_name("ca"));
        self.ca_dir.clone().or_else(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reachable() -> Config {
        let all = SocketAddr::from(([0, 0, 0, 0], 0));
        Config {
            xds_listen: Some(all),
            api_listen: all,
            api_token: Some("0123456789abcdef".to_owned()),
            ..Config::default()
        }
    }

    #[test]
    fn what_others_can_reach_in_plain_is_told() {
        assert_eq!(Config::default().dangers(), Vec::<String>::new());
        let told = reachable().dangers();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("no join token must be sent there"));
        assert!(told[1].contains("its tokens travel in plain"));
        let closed = Config {
            xds_listen: None,
            ..reachable()
        };
        assert_eq!(closed.dangers().len(), 1);
    }

    #[test]
    fn a_token_that_nobody_can_show_or_anybody_can_guess_is_refused() {
        let of = |token: &str, config: Config| Config {
            api_token: Some(token.to_owned()),
            ..config
        };
        reachable().check_token().unwrap();
        of("0123456789abcde", reachable())
            .check_token()
            .unwrap_err();
        of("", Config::default()).check_token().unwrap_err();
        let short = of("short", Config::default());
        short.check_token().unwrap();
        assert_eq!(short.dangers().len(), 1);
    }
}
