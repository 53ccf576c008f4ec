//! The command line of `weft-proxy`.

mod control_plane;
mod redirect;
mod redirected;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weft_config::bootstrap::Bootstrap;
use weft_config::bootstrap::overload::Overload;
use weft_config::bootstrap::runtime::Runtime;
use weft_config::diag::Diagnostics;
use weft_config::gateway_api::Span;
use weft_config::gateway_api::names::is_dns_label;
use weft_config::listener::{AccessLog, AccessLogFormat};

use self::control_plane::{ControlPlane, control_plane, is_loopback};
pub use self::redirect::RedirectCommand;
pub use self::redirected::RedirectedArgs;
use super::cgroup;
use super::config::{Config, Source};
use super::identity::IdentityArgs;
use super::limits::LimitArgs;
use super::mesh::MeshConfig;
use crate::drain::DrainTimes;
use crate::snapshot::DemandLimits;
use crate::xds::Protocol;

/// The sidecar proxy of Weft.
#[derive(Debug, Parser)]
#[command(name = "weft-proxy", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Instead of running the proxy.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The proxy.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What is done instead of running the proxy.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints every fault and warning of a bootstrap
    Validate {
        /// The file, YAML or JSON
        #[arg(long, env = "WEFT_BOOTSTRAP", value_name = "FILE")]
        bootstrap: PathBuf,
    },
    /// Blocks until the sidecar is ready
    Wait {
        /// How long at most
        #[arg(long, env = "WEFT_TIMEOUT", default_value = "30s", value_parser = duration)]
        timeout: Duration,
        /// Where the sidecar says whether it is ready
        #[arg(
            long,
            env = "WEFT_METRICS_LISTEN",
            default_value = "0.0.0.0:15020",
            value_name = "ADDRESS"
        )]
        metrics_listen: SocketAddr,
    },
    /// The rules that bring this network namespace's connections to the proxy, for nftables or iptables
    Redirect {
        /// What is done about them.
        #[command(subcommand)]
        command: RedirectCommand,
    },
}

/// How the proxy is run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The control plane's xDS address, as https://HOST:PORT, or http://HOST:PORT on the same machine
    #[arg(
        long,
        env = "WEFT_CONTROL_PLANE",
        value_name = "URL",
        requires = "service"
    )]
    pub control_plane: Option<String>,
    /// The service that the application belongs to
    #[arg(
        long,
        env = "WEFT_SERVICE",
        value_name = "NAME",
        conflicts_with = "bootstrap"
    )]
    pub service: Option<String>,
    /// The service's namespace
    #[arg(
        long,
        env = "WEFT_NAMESPACE",
        value_name = "NS",
        default_value = "default"
    )]
    pub namespace: String,
    /// A label of the workload, repeatable (comma-separated in the environment)
    #[arg(long = "label", env = "WEFT_LABEL", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label,
          conflicts_with = "bootstrap")]
    pub labels: Vec<(String, String)>,
    /// A port that the application listens on, repeatable (comma-separated in the environment)
    #[arg(long = "app-port", env = "WEFT_APP_PORT", value_name = "PORT", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "bootstrap")]
    pub app_ports: Vec<u16>,
    /// An Envoy v3 bootstrap, YAML or JSON
    #[arg(
        long,
        env = "WEFT_BOOTSTRAP",
        value_name = "FILE",
        conflicts_with = "control_plane"
    )]
    pub bootstrap: Option<PathBuf>,
    /// Worker threads [default: the CPU limit of the control group, rounded up]
    #[arg(long, env = "WEFT_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: Option<u16>,
    /// Where the last good tables are kept, so that a restart serves at once
    #[arg(long, env = "WEFT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How long a drain may take [default: 45s, or what the bootstrap says]
    #[arg(long, env = "WEFT_DRAIN_TIME", value_name = "DURATION", value_parser = duration)]
    pub drain_time: Option<Duration>,
    /// The admin pages [default: 127.0.0.1:15000, or what the bootstrap says]
    #[arg(long, env = "WEFT_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// /metrics, /ready and /live
    #[arg(
        long,
        env = "WEFT_METRICS_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15020"
    )]
    pub metrics_listen: SocketAddr,
    /// Who the workload is.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Where calls of the application are taken
    #[arg(
        long,
        env = "WEFT_OUTBOUND_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15001"
    )]
    pub outbound_listen: SocketAddr,
    /// Where calls to the application are taken
    #[arg(
        long,
        env = "WEFT_INBOUND_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15006"
    )]
    pub inbound_listen: SocketAddr,
    /// The address under which others reach this workload [default: that of the interface towards the control plane]
    #[arg(
        long,
        env = "WEFT_ADDRESS",
        value_name = "IP",
        conflicts_with = "bootstrap"
    )]
    pub address: Option<IpAddr>,
    /// A file that requests and connections of both directions are logged to, or - for standard output; as --log-format says
    #[arg(long, env = "WEFT_ACCESS_LOG", value_name = "FILE", value_parser = access_log_path, conflicts_with = "bootstrap")]
    pub access_log: Option<Arc<str>>,
    /// What is redirected here.
    #[command(flatten)]
    pub redirected: RedirectedArgs,
    /// Bounds.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// error, warn, info, debug or trace, also by target as weft_proxy::xds=debug
    #[arg(
        long,
        env = "WEFT_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        value_parser = log_level
    )]
    pub log_level: String,
    /// How log lines are written
    #[arg(long, env = "WEFT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which xDS protocol is spoken [default: delta, or what the bootstrap says]
    #[arg(long, env = "WEFT_XDS", value_enum)]
    pub xds: Option<XdsProtocol>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which xDS protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdsProtocol {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// Why the command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The flags do not go together: wrong usage.
    #[error("{0}")]
    Usage(String),
    /// What they say cannot be done: refused.
    #[error("{0}")]
    Refused(String),
}

/// What the bootstrap says, or in mesh mode the control group; the command line goes before it.
struct Said {
    source: Source,
    admin: Option<SocketAddr>,
    drain: Option<Duration>,
    overload: Overload,
    runtime: Runtime,
}

impl RunArgs {
    /// What the proxy is started with.
    ///
    /// # Errors
    /// If the flags do not go together, or the bootstrap cannot be honoured.
    pub fn config(&self) -> Result<Config, CliError> {
        let said = self.said()?;
        let default = DrainTimes::default();
        let admin = self.admin_listen.or(said.admin);
        Ok(Config {
            source: said.source,
            workers: self.concurrency.map_or_else(cgroup::workers, usize::from),
            state_dir: self.state_dir.clone(),
            drain: DrainTimes {
                total: self.drain_time.or(said.drain).unwrap_or(default.total),
                ..default
            },
            admin: Some(admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 15_000)))),
            metrics: Some(self.redirected.listened(self.metrics_listen)),
            protocol: self.xds.map(|xds| match xds {
                XdsProtocol::Sotw => Protocol::Sotw,
                XdsProtocol::Delta => Protocol::Delta,
            }),
            demand: DemandLimits::default(),
            overload: self.limits.overload(said.overload),
            http: self.limits.http.bounds(said.runtime),
            tunnel: self.limits.tunnel(),
            logging: None,
        })
    }

    /// What is said elsewhere than on the command line.
    fn said(&self) -> Result<Said, CliError> {
        match (&self.bootstrap, &self.control_plane) {
            (Some(file), _) => {
                let bootstrap = read_bootstrap(file)?;
                Ok(Said {
                    admin: bootstrap.admin,
                    drain: Some(bootstrap.drain_time),
                    overload: bootstrap.overload.clone().unwrap_or_default(),
                    runtime: bootstrap.runtime,
                    source: Source::Bootstrap(Box::new(bootstrap)),
                })
            }
            (None, Some(url)) => {
                let budget = cgroup::memory_limit_bytes().and_then(NonZero::new);
                Ok(Said {
                    source: Source::Mesh(Box::new(self.mesh(url)?)),
                    admin: None,
                    drain: None,
                    overload: Overload::default().with_memory(budget),
                    runtime: Runtime::default(),
                })
            }
            (None, None) => {
                let usage = "give --control-plane URL with --service NAME, or --bootstrap FILE";
                Err(CliError::Usage(usage.to_owned()))
            }
        }
    }

    fn mesh(&self, url: &str) -> Result<MeshConfig, CliError> {
        let ControlPlane { tls, host, port } = control_plane(url).map_err(CliError::Usage)?;
        let Some(service) = self.service.clone() else {
            return Err(CliError::Usage(
                "--control-plane needs --service NAME".to_owned(),
            ));
        };
        for (flag, name) in [("--service", &service), ("--namespace", &self.namespace)] {
            if !is_dns_label(name) {
                return Err(CliError::Usage(format!(
                    "{flag}: must be a name of 1 to 63 of a-z, 0-9 and `-`, which neither begins nor ends it, got {name:?}"
                )));
            }
        }
        let identity = self.identity.identity(&self.namespace, &service);
        let identity = identity.map_err(CliError::Usage)?;
        if tls && identity.is_none() {
            let usage = "--control-plane https://…: needs --join-token or --join-token-file, and --trust-bundle";
            return Err(CliError::Usage(usage.to_owned()));
        }
        if !tls && identity.is_some() && !is_loopback(&host) {
            return Err(CliError::Usage(format!(
                "--control-plane: must be https://{host}:15012 where there is a join token: over http it would be sent in the clear, \
                 which is for the same machine alone (127.0.0.0/8, ::1, localhost), got {url:?}"
            )));
        }
        Ok(MeshConfig {
            control_plane_host: host,
            control_plane_port: port,
            control_plane_tls: tls,
            identity,
            service,
            namespace: self.namespace.clone(),
            labels: self.labels.iter().cloned().collect(),
            app_ports: self.app_ports.clone(),
            outbound_listen: self.outbound_listen,
            inbound_listen: self.redirected.listened(self.inbound_listen),
            address: self.address,
            limits: self.limits.outbound(),
            access_log: self.access_log.clone().map(|path| AccessLog {
                path,
                format: match self.log_format {
                    LogFormat::Text => AccessLogFormat::Text,
                    LogFormat::Json => AccessLogFormat::Json,
                },
            }),
            redirection: self.redirected.redirection(),
            outbound_policy: self.redirected.outbound_policy(),
        })
    }
}

/// Reads a bootstrap; the error names every fault. Warnings are printed, whether there is a fault or not.
///
/// # Errors
/// If the file cannot be read, or has a fault.
pub fn read_bootstrap(file: &Path) -> Result<Bootstrap, CliError> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Refused(format!("{name}: {error}")))?;
    let mut diag = Diagnostics::new();
    let bootstrap = Bootstrap::parse_file(&text, &name, &mut diag);
    let (faults, warnings): (Vec<_>, Vec<_>) = diag
        .findings()
        .iter()
        .partition(|finding| finding.is_fault());
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    match bootstrap {
        Some(bootstrap) if faults.is_empty() => Ok(bootstrap),
        _ => {
            let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Err(CliError::Refused(lines.join("\n")))
        }
    }
}

fn access_log_path(text: &str) -> Result<Arc<str>, String> {
    match text {
        "" => Err("must be a file, or - for standard output".to_owned()),
        "-" => Ok("/dev/stdout".into()),
        path => Ok(path.into()),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    weft_config::log_level::check(text).map(|()| text.to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// `30s`, `500ms`, `1h30m`: written as in manifests.
fn duration(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(Span::duration)
}

#[cfg(test)]
mod tests;
