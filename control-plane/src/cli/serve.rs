//! `weft serve`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use weft_config::spiffe::TrustDomain;

use super::WrongUsage;
use super::duration::shown;
use crate::app::{Config, ControlPlane, KubernetesTokens};
use crate::identity::{CLOCK_SKEW_MAX, LIFETIME_MAX, Lifetimes, LifetimesFault};

/// Options of `weft serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// A directory of manifests that is watched.
    #[arg(long, env = "WEFT_CONFIG", value_name = "DIR")]
    config: Option<PathBuf>,
    /// The embedded database. Default: weft/store.redb in the user's data directory.
    #[arg(long, env = "WEFT_STORE", value_name = "PATH")]
    store: Option<PathBuf>,
    /// The certificate authority: root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem, or an empty or missing folder,
    /// where one is made. Default: ca beside the store.
    #[arg(long, env = "WEFT_CA_DIR", value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// The trust domain of the mesh: identities are spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT.
    #[arg(
        long,
        env = "WEFT_TRUST_DOMAIN",
        default_value = "cluster.local",
        value_name = "NAME"
    )]
    trust_domain: TrustDomain,
    /// How long a certificate lives where a workload does not ask for another time.
    #[arg(long, env = "WEFT_CERTIFICATE_LIFETIME", default_value = "24h", value_parser = super::duration::parse, value_name = "TIME")]
    certificate_lifetime: Duration,
    /// How long a certificate lives at most, up to 2160h; more than that is cut down to it.
    #[arg(long, env = "WEFT_CERTIFICATE_LIFETIME_MAX", default_value = "2160h", value_parser = super::duration::parse, value_name = "TIME")]
    certificate_lifetime_max: Duration,
    /// How long before it was issued a certificate is valid already, for clocks that are behind; at most 1h.
    #[arg(long, env = "WEFT_CLOCK_SKEW", default_value = "60s", value_parser = super::duration::parse, value_name = "TIME")]
    clock_skew: Duration,
    /// Believe the service-account tokens of a cluster: the file with its public keys, as /openid/v1/jwks of its API server
    /// gives them. Tokens must be meant for the audience weft.
    #[arg(long, env = "WEFT_KUBERNETES_JWKS", value_name = "FILE")]
    kubernetes_jwks: Option<PathBuf>,
    /// The issuer of those tokens.
    #[arg(
        long,
        env = "WEFT_KUBERNETES_ISSUER",
        requires = "kubernetes_jwks",
        default_value = "https://kubernetes.default.svc.cluster.local",
        value_name = "URL"
    )]
    kubernetes_issuer: String,
    /// Where xDS is served without TLS, to whoever asks: loopback only unless asked for. `none`: nowhere.
    #[arg(
        long,
        env = "WEFT_XDS_LISTEN",
        default_value = "127.0.0.1:15010",
        value_parser = address_or_none,
        value_name = "ADDR|none"
    )]
    xds_listen: Place,
    /// Where xDS and certificate signing are served with TLS 1.3, to workloads with a certificate or a token.
    #[arg(
        long,
        env = "WEFT_SECURE_LISTEN",
        default_value = "127.0.0.1:15012",
        value_parser = address,
        value_name = "ADDR"
    )]
    secure_listen: SocketAddr,
    /// A name or an address that the certificate of --secure-listen has besides localhost and the host's name.
    #[arg(long, env = "WEFT_SECURE_NAME", value_delimiter = ',', value_parser = server_name, value_name = "NAME")]
    secure_name: Vec<ServerName<'static>>,
    /// Where the HTTP API is served; anything but loopback needs `--token` or `--require-token`.
    #[arg(
        long,
        env = "WEFT_API_LISTEN",
        default_value = "127.0.0.1:15014",
        value_parser = address,
        value_name = "ADDR"
    )]
    api_listen: SocketAddr,
    /// Let nobody use the HTTP API without a token, not over loopback either.
    #[arg(long, env = "WEFT_REQUIRE_TOKEN")]
    require_token: bool,
    /// How long changes are gathered before a push, after the last of them.
    #[arg(long, env = "WEFT_PUSH_QUIET", default_value = "20ms", value_parser = super::duration::parse, value_name = "TIME")]
    push_quiet: Duration,
    /// How long changes are gathered at most.
    #[arg(long, env = "WEFT_PUSH_MAX", default_value = "200ms", value_parser = super::duration::parse, value_name = "TIME")]
    push_max: Duration,
    /// What is logged: error, warn, info, debug or trace, also by target as weft_control_plane::xds=debug.
    #[arg(
        long,
        env = "WEFT_LOG_LEVEL",
        default_value = "info",
        value_parser = log_level,
        value_name = "LEVEL"
    )]
    log_level: String,
    /// Watch a Kubernetes cluster.
    #[arg(long, env = "WEFT_KUBERNETES", hide = true)]
    kubernetes: bool,
    /// Keep the desired state in etcd.
    #[arg(long, env = "WEFT_ETCD", hide = true, value_name = "URL")]
    etcd: Vec<String>,
}

/// Runs the control plane until Ctrl-C or SIGTERM.
///
/// # Errors
/// If an option cannot be honoured, a port cannot be bound, or the store cannot be opened.
pub(super) async fn run(serve: &Serve, token: Option<String>) -> anyhow::Result<()> {
    if serve.kubernetes {
        bail!("--kubernetes is not part of this version yet: use --config, or `weft apply`");
    }
    if !serve.etcd.is_empty() {
        bail!("--etcd is not part of this version yet: use --store");
    }
    if serve.push_quiet > serve.push_max {
        bail!(
            "--push-quiet must not be longer than --push-max ({:?}), got {:?}",
            serve.push_max,
            serve.push_quiet
        );
    }
    serve.lifetimes().check().map_err(wrong_lifetime)?;
    let filter = tracing_subscriber::EnvFilter::try_new(&serve.log_level)
        .with_context(|| format!("--log-level {:?}", serve.log_level))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    raise_descriptors_max();
    super::ignore_hangup();
    let running = ControlPlane::start(serve.config(token)?).await?;
    let plain = running.xds_address();
    let plain = plain.map_or_else(|| "TLS alone".to_owned(), |address| address.to_string());
    eprintln!(
        "xDS on {plain}, with TLS on {}, HTTP API on http://{}",
        running.secure_address(),
        running.api_address()
    );
    super::stop_signal().await;
    running.shutdown().await;
    Ok(())
}

/// The flag that is wrong, and what it may be.
fn wrong_lifetime(fault: LifetimesFault) -> WrongUsage {
    let line = |flag: &str, rule: &str, max: Duration, got: Duration| {
        let (max, got) = (shown(max), shown(got));
        WrongUsage(format!("{flag} must be {rule}at most {max}, got {got}"))
    };
    match fault {
        LifetimesFault::Max { max } => line(
            "--certificate-lifetime-max",
            "above 0s and ",
            LIFETIME_MAX,
            max,
        ),
        LifetimesFault::Default { default, max } => {
            line("--certificate-lifetime", "above 0s and ", max, default)
        }
        LifetimesFault::ClockSkew { skew } => line("--clock-skew", "", CLOCK_SKEW_MAX, skew),
    }
}

/// Lets the process open as many descriptors as it may: each proxy takes one, and the soft limit, often 1024, is meant for
/// programs that use `select`.
fn raise_descriptors_max() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        tracing::warn!(%error, "the limit of descriptors stays as it was");
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let rule = "must be IP:PORT, such as 127.0.0.1:15014 or [::1]:15014";
    text.parse().map_err(|_| format!("{rule}, got {text:?}"))
}

/// Where something is served, if anywhere.
#[derive(Clone, Copy, Debug)]
struct Place(Option<SocketAddr>);

fn address_or_none(text: &str) -> Result<Place, String> {
    match text {
        "none" => Ok(Place(None)),
        text => Ok(Place(Some(
            address(text).map_err(|why| format!("{why} (or `none`)"))?,
        ))),
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("must be a DNS name or an IP address, got {text:?}"))
}

fn log_level(text: &str) -> Result<String, String> {
    weft_config::log_level::check(text).map(|()| text.to_owned())
}

impl Serve {
    fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            default: self.certificate_lifetime,
            max: self.certificate_lifetime_max,
            clock_skew: self.clock_skew,
        }
    }

    fn config(&self, token: Option<String>) -> anyhow::Result<Config> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => default_store()?,
        };
        Ok(Config {
            xds_listen: self.xds_listen.0,
            secure_listen: self.secure_listen,
            secure_names: self.secure_name.clone(),
            api_listen: self.api_listen,
            config_dir: self.config.clone(),
            store: Some(store),
            api_token: token,
            require_token: self.require_token,
            push_quiet: self.push_quiet,
            push_max: self.push_max,
            trust_domain: self.trust_domain.clone(),
            ca_dir: self.ca_dir.clone(),
            kubernetes: self.kubernetes_jwks.clone().map(|jwks| KubernetesTokens {
                jwks,
                issuer: self.kubernetes_issuer.clone(),
            }),
            lifetimes: self.lifetimes(),
            ..Config::default()
        })
    }
}

/// `$XDG_DATA_HOME/weft/store.redb`, by the XDG Base Directory specification.
fn default_store() -> anyhow::Result<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let data = match data {
        Some(data) => data,
        None => PathBuf::from(
            std::env::var_os("HOME")
                .context("neither XDG_DATA_HOME nor HOME is set: give --store")?,
        )
        .join(".local/share"),
    };
    Ok(data.join("weft").join("store.redb"))
}
