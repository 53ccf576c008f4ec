//! `weft describe`.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::Client;
use super::get::{POLICY_KINDS, ROUTE_KINDS, name_of};
use super::output::{OutputFormat, count, print_table, yaml};
use crate::api::model::{
    EndpointBody, ObjectDescription, ProxyBody, RevisionBody, ServiceDescription,
};

/// Options of `weft describe`.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// What kind of thing.
    #[arg(value_enum)]
    what: What,
    /// Its name; of a revision its number, of endpoints their service.
    name: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// What can be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A service: routes, weights, policies and endpoints on one page.
    #[value(alias = "services")]
    Service,
    /// The endpoints of a service.
    #[value(alias = "endpoint")]
    Endpoints,
    /// A route: what it is attached to, whether its references hold, and all of it.
    #[value(alias = "routes")]
    Route,
    /// A policy: what it is for, and all of it.
    #[value(alias = "policies")]
    Policy,
    /// A connected proxy.
    #[value(alias = "proxies")]
    Proxy,
    /// A revision: who, when, why, and every line that it changed.
    #[value(alias = "revisions")]
    Revision,
    /// An object of any kind.
    #[value(alias = "objects")]
    Object,
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
        What::Endpoints => endpoints(describe, client, output).await,
        What::Route => objects(describe, &ROUTE_KINDS, client, output).await,
        What::Policy => objects(describe, &POLICY_KINDS, client, output).await,
        What::Proxy => proxy(describe, client, output).await,
        What::Revision => revision(describe, client, output).await,
        What::Object => objects(describe, &[], client, output).await,
    }
}

impl Describe {
    async fn service(&self, client: &Client) -> anyhow::Result<ServiceDescription> {
        let path = format!("/v1/services/{}/{}", self.namespace, self.name);
        client.get(&path).await
    }
}

async fn service(describe: &Describe, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let page = describe.service(client).await?;
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
    lines("Findings", &page.findings);
    Ok(())
}

async fn endpoints(
    describe: &Describe,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let endpoints = describe.service(client).await?.endpoints;
    if output.print_structured(&endpoints)? {
        return Ok(());
    }
    print_endpoints(&endpoints)
}

/// Writes a table of endpoints.
///
/// # Errors
/// If standard output is gone.
pub(super) fn print_endpoints(endpoints: &[EndpointBody]) -> anyhow::Result<()> {
    let rows = endpoints.iter().map(|e| {
        vec![
            e.service.clone(),
            e.address.clone(),
            e.health.clone(),
            e.weight.to_string(),
        ]
    });
    print_table(
        &["service", "address", "health", "weight"],
        rows.collect(),
        "no endpoints",
    )
}

/// Every object of this name among `kinds`; no kinds: among all.
async fn objects(
    describe: &Describe,
    kinds: &[&str],
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let objects: Vec<Value> = client.get("/v1/objects").await?;
    let mut pages: Vec<ObjectDescription> = Vec::new();
    for name in objects.iter().map(name_of) {
        let wanted = name.name == describe.name && name.namespace == describe.namespace;
        if wanted && (kinds.is_empty() || kinds.contains(&name.kind.as_str())) {
            let path = format!(
                "/v1/objects/{}/{}/{}/description",
                name.kind, name.namespace, name.name
            );
            pages.push(client.get(&path).await?);
        }
    }
    if pages.is_empty() {
        let what = format!("{:?}", describe.what).to_lowercase();
        bail!(
            "there is no {what} {} in namespace {}",
            describe.name,
            describe.namespace
        );
    }
    if output.print_structured(&pages)? {
        return Ok(());
    }
    for page in &pages {
        let name = name_of(&page.object);
        println!("{} {} in {}", name.kind, name.name, name.namespace);
        lines("Services", &page.services);
        lines("Conditions", &page.conditions);
        lines("Findings", &page.findings);
        println!("\nObject:");
        yaml(&page.object)
            .lines()
            .for_each(|line| println!("  {line}"));
    }
    Ok(())
}

async fn proxy(describe: &Describe, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let proxies: Vec<ProxyBody> = client.get("/v1/proxies").await?;
    let wanted = |p: &ProxyBody| p.name.contains(&describe.name) || p.service == describe.name;
    let pages: Vec<ProxyBody> = proxies.into_iter().filter(wanted).collect();
    if pages.is_empty() {
        bail!("no connected proxy is called {}", describe.name);
    }
    if output.print_structured(&pages)? {
        return Ok(());
    }
    for page in &pages {
        println!("{}", page.name);
        println!("  service       {}", page.service);
        println!("  agent         {}", page.user_agent);
        println!("  connected     since {}", page.connected_since);
        println!("  state         {}", super::proxies::state(page));
        println!("  intended      revision {}", page.intended);
        println!("  sent          revision {}", page.sent);
        println!("  acknowledged  revision {}", page.acknowledged);
        for (kind, number) in &page.resources {
            println!("  {kind:<12}  {}", count(*number, "resource"));
        }
        if let Some(reason) = &page.refused {
            println!("  refused       {reason}");
        }
    }
    Ok(())
}

async fn revision(
    describe: &Describe,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let number: u64 = describe
        .name
        .parse()
        .with_context(|| format!("a revision is a number, got {:?}", describe.name))?;
    let revisions: Vec<RevisionBody> = client.get("/v1/revisions?limit=1000").await?;
    let found = revisions.into_iter().find(|r| r.revision == number);
    let page = found.with_context(|| format!("revision {number} is not in the history"))?;
    if output.print_structured(&page)? {
        return Ok(());
    }
    println!("revision {} by {} at {}", number, page.author, page.time);
    if !page.message.is_empty() {
        println!("  {}", page.message);
    }
    for change in &page.changes {
        println!("\n{} {}", change.object, change.action.past());
        change.diff.iter().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

fn section(title: &str, objects: &[Value]) {
    println!("\n{title} ({}):", objects.len());
    for object in objects {
        let name = name_of(object);
        println!("  {} {}", name.kind, name.name);
        let spec = object.get("spec").cloned().unwrap_or_default();
        yaml(&spec).lines().for_each(|line| println!("    {line}"));
    }
}

/// A list under its title; nothing where it is empty.
fn lines(title: &str, lines: &[String]) {
    if !lines.is_empty() {
        println!("\n{title}:");
        lines.iter().for_each(|line| println!("  {line}"));
    }
}
