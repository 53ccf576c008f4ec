//! `weft proxies`.

use anyhow::bail;
use clap::Args;

use super::client::Client;
use super::output::{OutputFormat, print_table, say, to_the_second};
use crate::api::model::ProxyBody;

/// Options of `weft proxies`.
#[derive(Debug, Args)]
pub(super) struct Proxies {}

/// Lists connected proxies.
///
/// # Errors
/// If the control plane cannot be reached.
pub(super) async fn run(
    _proxies: &Proxies,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    list(None, client, output).await
}

/// Where a proxy stands, in a word.
pub(super) fn state(proxy: &ProxyBody) -> &'static str {
    match &proxy.refused {
        Some(_) => "refused",
        None if proxy.acknowledged < proxy.intended => "waiting",
        None => "in force",
    }
}

/// Lists connected proxies, or the one whose name is or starts with `name`.
///
/// # Errors
/// If the control plane cannot be reached, or the one asked for is not connected.
pub(super) async fn list(
    name: Option<&str>,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let mut proxies: Vec<ProxyBody> = client.get("/v1/proxies").await?;
    if let Some(name) = name {
        proxies.retain(|p| p.name.contains(name) || p.service == name);
        if proxies.is_empty() {
            bail!("no connected proxy is called {name}");
        }
    }
    if output.print_structured(&proxies)? {
        return Ok(());
    }
    let rows = proxies.iter().map(|p| {
        let mut row = vec![
            p.name.clone(),
            p.service.clone(),
            p.intended.to_string(),
            p.sent.to_string(),
            p.acknowledged.to_string(),
            state(p).to_owned(),
        ];
        if output == OutputFormat::Wide {
            let resources: Vec<String> = p
                .resources
                .iter()
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            row.extend([
                p.identity.clone().unwrap_or_else(|| "-".to_owned()),
                p.user_agent.clone(),
                to_the_second(&p.connected_since),
                resources.join(", "),
            ]);
        }
        row
    });
    let mut header = vec![
        "name",
        "service",
        "intended",
        "sent",
        "acknowledged",
        "state",
    ];
    if output == OutputFormat::Wide {
        header.extend(["identity", "agent", "connected since", "resources"]);
    }
    print_table(&header, rows.collect(), "no proxies are connected")?;
    for (name, reason) in proxies
        .iter()
        .filter_map(|p| Some((&p.name, p.refused.as_ref()?)))
    {
        say!("{name} refused: {reason}")?;
    }
    Ok(())
}
