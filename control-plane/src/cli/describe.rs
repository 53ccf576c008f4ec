//! `weft describe`.

use clap::{Args, ValueEnum};

use super::client::Client;
use super::get::name_of;
use super::output::{OutputFormat, yaml};
use crate::api::model::ServiceDescription;

/// Options of `weft describe`.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// What kind of thing.
    #[arg(value_enum)]
    what: What,
    /// Its name.
    name: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// What can be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A service: routes, weights, policies and endpoints on one page.
    Service,
    /// A connected proxy.
    Proxy,
}

/// Describes.
///
/// # Errors
/// If the control plane cannot be reached, or the one asked for is not there.
pub(super) async fn run(
    describe: &Describe,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    match describe.what {
        What::Service => service(describe, client, output).await,
        What::Proxy => super::proxies::list(Some(&describe.name), client, output).await,
    }
}

async fn service(describe: &Describe, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let page: ServiceDescription = client
        .get(&format!(
            "/v1/services/{}/{}",
            describe.namespace, describe.name
        ))
        .await?;
    if output.print_structured(&page)? {
        return Ok(());
    }
    let service = &page.service;
    println!("{} {} in {}", service.kind, service.name, service.namespace);
    for port in &service.ports {
        println!("  port {} ({})", port.port, port.protocol);
    }
    println!("\nEndpoints ({}):", page.endpoints.len());
    for endpoint in &page.endpoints {
        println!(
            "  {:<24} {:<10} weight {}  {}",
            endpoint.address, endpoint.health, endpoint.weight, endpoint.service
        );
    }
    section("Routes", &page.routes);
    section("Policies", &page.policies);
    if !page.findings.is_empty() {
        println!("\nFindings:");
        page.findings
            .iter()
            .for_each(|finding| println!("  {finding}"));
    }
    Ok(())
}

fn section(title: &str, objects: &[serde_json::Value]) {
    println!("\n{title} ({}):", objects.len());
    for object in objects {
        let name = name_of(object);
        println!("  {} {}", name.kind, name.name);
        let spec = object.get("spec").cloned().unwrap_or_default();
        yaml(&spec).lines().for_each(|line| println!("    {line}"));
    }
}
