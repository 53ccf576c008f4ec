//! Secrets that TLS contexts name, and who tells them (xDS `SdsSecretConfig`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use super::{CertificateSource, ValidationSource, WORKLOAD_PROVIDER};
use crate::cluster::ClusterName;
use crate::diag::{Diagnostics, FieldPath};
use crate::grpc_servers::{check_static, check_version, grpc_servers};
use crate::proto::optional_duration;
use crate::secret::SecretKind;

/// A secret that is told under a name, by whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// Who tells it.
    pub origin: SecretOrigin,
    /// Its name: `SdsSecretConfig.name`, or the `instance_name` of a certificate provider.
    pub name: Arc<str>,
}

/// Who tells a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretOrigin {
    /// The bootstrap (`static_resources.secrets`).
    Bootstrap,
    /// A certificate provider of the proxy's own: `default` is who the workload is in its mesh.
    Provider,
    /// The ADS stream (`ads`, and `self` in what came over it).
    Ads,
    /// A server of secrets, on a stream of its own (`api_config_source`).
    Server(Arc<SdsServer>),
    /// A watched file with a `DiscoveryResponse` (`path_config_source`).
    File(Arc<str>),
}

/// A server of secrets (`SecretDiscoveryService`). It is the same one wherever it is named equally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SdsServer {
    /// The static cluster through which it is reached.
    pub cluster: ClusterName,
    /// `DELTA_GRPC` rather than `GRPC`.
    pub delta: bool,
}

/// A secret that is told while the proxy runs: what is wanted of it, and how long it is waited for at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedSecret {
    /// The secret.
    pub secret: WantedSecret,
    /// Bound on the wait of whoever names it anew (`initial_fetch_timeout`), default 15 s. `None`: there is no bound (0 s).
    pub fetch_timeout: Option<Duration>,
}

/// A secret and what it must hold for whoever names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantedSecret {
    /// The secret.
    pub name: SecretName,
    /// What it must hold.
    pub holds: SecretHolds,
}

/// What a secret must hold for whoever names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretHolds {
    /// A certificate with its key (`tls_certificate`).
    Certificate,
    /// What peers are judged by (`validation_context`).
    Validation,
}

/// How long a secret is waited for where nothing is said.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

impl SecretName {
    /// A secret of the bootstrap.
    pub fn of_bootstrap(name: &str) -> Self {
        Self {
            origin: SecretOrigin::Bootstrap,
            name: name.into(),
        }
    }

    /// Who the workload is in its mesh: the certificate of this name and the roots that it trusts.
    pub fn of_workload() -> Self {
        Self {
            origin: SecretOrigin::Provider,
            name: WORKLOAD_PROVIDER.into(),
        }
    }
}

impl SecretOrigin {
    /// Whether secrets of it come, and change, while the proxy runs.
    pub fn tells_later(&self) -> bool {
        matches!(self, Self::Ads | Self::Server(_) | Self::File(_))
    }

    /// Whether it can be asked at all: by a proxy that has these static clusters, and an ADS server or none.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check<'a>(
        &self,
        clusters: impl Iterator<Item = &'a str> + Clone,
        ads: AdsServer,
    ) -> Result<(), String> {
        match self {
            Self::Ads if ads == AdsServer::None => {
                Err("ads is wanted, but there is no ads_config".to_owned())
            }
            Self::Server(server) => check_static(&server.cluster, clusters),
            Self::Bootstrap | Self::Provider | Self::Ads | Self::File(_) => Ok(()),
        }
    }
}

/// Whether there is an ADS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdsServer {
    /// There is one.
    Some,
    /// There is none.
    None,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.origin {
            SecretOrigin::Bootstrap => write!(f, "secret {name:?}"),
            SecretOrigin::Provider => write!(f, "certificate provider {name:?}"),
            origin => write!(f, "secret {name:?} from {origin}"),
        }
    }
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap => f.write_str("the bootstrap"),
            Self::Provider => f.write_str("a certificate provider"),
            Self::Ads => f.write_str("ADS"),
            Self::Server(server) => write!(f, "{server}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

impl fmt::Display for SdsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {:?}", self.cluster)
    }
}

impl SecretKind {
    /// For whom it is.
    pub fn holds(&self) -> SecretHolds {
        match self {
            Self::Certificate(_) => SecretHolds::Certificate,
            Self::Validation(_) => SecretHolds::Validation,
        }
    }
}

impl SecretHolds {
    /// The field of a `Secret` that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Certificate => "tls_certificate",
            Self::Validation => "validation_context",
        }
    }
}

impl CertificateSource {
    /// The secret that it names, if it names one.
    pub fn named(&self) -> Option<&SecretName> {
        match self {
            Self::Inline(_) => None,
            Self::Named(named) => Some(named),
        }
    }
}

impl ValidationSource {
    /// The secret that it names, if it names one.
    pub fn named(&self) -> Option<&SecretName> {
        match self {
            Self::Inline(_) => None,
            Self::Named(named) | Self::Combined(_, named) => Some(named),
        }
    }
}

/// A reference to a secret, read: its name, and how long it is waited for.
pub(super) struct Reference {
    pub(super) name: SecretName,
    fetch_timeout: Option<Duration>,
}

impl Reference {
    pub(super) fn parse(
        proto: &pb::SdsSecretConfig,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        if proto.name.is_empty() {
            diag.fault(at.field("name"), "must not be empty");
        }
        let (origin, fetch_timeout) = match &proto.sds_config {
            None => (Some(SecretOrigin::Bootstrap), None),
            Some(source) => {
                let at = at.field("sds_config");
                (origin(source, &at, diag), fetch_timeout(source, &at, diag))
            }
        };
        let name = SecretName {
            origin: origin?,
            name: proto.name.as_str().into(),
        };
        Some(Self {
            name,
            fetch_timeout,
        })
    }

    /// What whoever names it waits for, where it is told later.
    pub(super) fn awaited(&self, holds: SecretHolds) -> Option<AwaitedSecret> {
        self.name.origin.tells_later().then(|| AwaitedSecret {
            secret: WantedSecret {
                name: self.name.clone(),
                holds,
            },
            fetch_timeout: self.fetch_timeout,
        })
    }
}

fn fetch_timeout(
    proto: &core::ConfigSource,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Duration> {
    let name = "initial_fetch_timeout";
    let given = optional_duration(&proto.initial_fetch_timeout, at, name, diag);
    Some(given.unwrap_or(FETCH_TIMEOUT)).filter(|it| !it.is_zero())
}

#[expect(deprecated, reason = "the older form of a path is still written")]
fn origin(
    proto: &core::ConfigSource,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<SecretOrigin> {
    use core::config_source::ConfigSourceSpecifier as Source;
    check_version(
        proto.resource_api_version,
        &at.field("resource_api_version"),
        diag,
    );
    if !proto.authorities.is_empty() {
        diag.fault(at.field("authorities"), "is not supported yet");
    }
    match &proto.config_source_specifier {
        Some(Source::Ads(_) | Source::Self_(_)) => Some(SecretOrigin::Ads),
        Some(Source::PathConfigSource(source)) => {
            let at = at.field("path_config_source");
            check_watched(&source.watched_directory, &at, diag);
            file(&source.path, &at.field("path"), diag)
        }
        Some(Source::Path(path)) => file(path, &at.field("path"), diag),
        Some(Source::ApiConfigSource(source)) => {
            server(source, &at.field("api_config_source"), diag)
        }
        None => {
            diag.fault(at.clone(), "names no source");
            None
        }
    }
}

fn file(path: &str, at: &FieldPath, diag: &mut Diagnostics) -> Option<SecretOrigin> {
    if path.is_empty() {
        diag.fault(at.clone(), "must not be empty");
        return None;
    }
    Some(SecretOrigin::File(path.into()))
}

/// Files are looked at themselves, through links, so that a swap of their directory is seen whatever is watched.
pub(crate) fn check_watched(
    proto: &Option<core::WatchedDirectory>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    if proto.as_ref().is_some_and(|it| it.path.is_empty()) {
        let at = at.field("watched_directory").field("path");
        diag.fault(at, "must not be empty");
    }
}

fn server(
    proto: &core::ApiConfigSource,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<SecretOrigin> {
    use core::api_config_source::ApiType;
    let delta = match ApiType::try_from(proto.api_type) {
        Ok(ApiType::Grpc) => Some(false),
        Ok(ApiType::DeltaGrpc) => Some(true),
        _ => {
            diag.fault(at.field("api_type"), "must be GRPC or DELTA_GRPC");
            None
        }
    };
    let given = proto.grpc_services.len();
    let mut servers = grpc_servers(proto, at, diag);
    if given > 1 {
        let rule = format!("must be one, got {given}");
        diag.fault(at.field("grpc_services"), rule);
    }
    Some(SecretOrigin::Server(Arc::new(SdsServer {
        cluster: servers.pop()?.name,
        delta: delta?,
    })))
}

/// A certificate provider of the proxy's own; it has one certificate and one set of roots.
pub(super) fn provider_name(
    proto: &pb::CertificateProviderPluginInstance,
    what: &str,
) -> Result<SecretName, String> {
    if proto.instance_name != WORKLOAD_PROVIDER {
        return Err(format!(
            "instance_name must be {WORKLOAD_PROVIDER:?}, got {:?}",
            proto.instance_name
        ));
    }
    if !proto.certificate_name.is_empty() {
        return Err(format!("certificate_name: there is but one {what}"));
    }
    Ok(SecretName::of_workload())
}
