//! `weft proxy`: the live state of one proxy, asked through the control plane.

use std::io::Write;

use clap::{Args, ValueEnum};

use super::client::Client;

/// Options of `weft proxy`.
#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// What of it.
    #[arg(value_enum)]
    what: What,
    /// The proxy's name, or enough of it to tell it from others.
    name: String,
}

/// What can be asked of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Everything that it has in force.
    Config,
    /// Clusters with their endpoints' state.
    Clusters,
    /// Endpoints as told by xDS.
    Endpoints,
    /// Route tables.
    Routes,
    /// Listeners.
    Listeners,
    /// Certificates.
    Certs,
    /// Metrics.
    Stats,
    /// Log levels.
    Log,
}

impl What {
    /// The page of the proxy's admin server.
    fn page(self) -> &'static str {
        match self {
            Self::Config => "config_dump",
            Self::Clusters => "clusters?format=json",
            Self::Endpoints => "config_dump?resource=dynamic_endpoint_configs&include_eds",
            Self::Routes => "config_dump?resource=dynamic_route_configs",
            Self::Listeners => "listeners?format=json",
            Self::Certs => "certs",
            Self::Stats => "stats/prometheus",
            Self::Log => "logging",
        }
    }
}

/// Prints a page of the proxy's admin server as it is.
///
/// # Errors
/// If the control plane cannot be reached, or the proxy is not connected or cannot be asked.
pub(super) async fn run(proxy: &Proxy, client: &Client) -> anyhow::Result<()> {
    let page = client
        .get_bytes(&format!(
            "/v1/proxies/{}/admin/{}",
            proxy.name,
            proxy.what.page()
        ))
        .await?;
    std::io::stdout().write_all(&page)?;
    Ok(())
}
