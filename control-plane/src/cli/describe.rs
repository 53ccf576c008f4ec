//! `weft describe`.

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::Client;
use super::get::{POLICY_KINDS, ROUTE_KINDS, missing, name_of, service_name};
use super::output::{OutputFormat, count, print_table, say, yaml};
use super::subject::{Shown, Subject, subject};
use crate::api::model::{
    EndpointBody, LeftOutBody, ObjectDescription, ObjectName, PortAccessBody, ProxyBody,
    ServiceBody, ServiceDescription,
};

/// Options of `weft describe`.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// What kind of thing; singular or plural, in any case.
    #[arg(value_parser = subject::<What>(Shown::Singular), ignore_case = true)]
    what: Subject<What>,
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
        Subject::Own(What::Service) => service(describe, client, output).await,
        Subject::Own(What::Endpoints) => endpoints(describe, client, output).await,
        Subject::Own(What::Route) => objects(describe, &ROUTE_KINDS, client, output).await,
        Subject::Own(What::Policy) => objects(describe, &POLICY_KINDS, client, output).await,
        Subject::Own(What::Proxy) => proxy(describe, client, output).await,
        Subject::Own(What::Revision) => revision(describe, client, output).await,
        Subject::Kind(kind) => objects(describe, &[kind.name()], client, output).await,
        Subject::Own(What::Object) => objects(describe, &[], client, output).await,
    }
}

impl Describe {
    async fn service(&self, client: &Client) -> anyhow::Result<ServiceDescription> {
        let wanted = service_name(&self.name, &self.namespace)?;
        let path = format!("/v1/services/{}/{}", wanted.namespace, wanted.name);
        let services: Vec<ServiceBody> = client.get("/v1/services").await?;
        let there = |s: &&ServiceBody| s.namespace == wanted.namespace;
        let names = services.iter().filter(there).map(|s| s.name.as_str());
        let names: Vec<&str> = names.collect();
        if !names.contains(&wanted.name.as_str()) {
            return Err(missing("service", &wanted.name, &wanted.namespace, names));
        }
        client.get(&path).await
    }
}

async fn service(describe: &Describe, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let page = describe.service(client).await?;
    if output.print_structured(&page)? {
        return Ok(());
    }
    let service = &page.service;
    say!("{} {} in {}", service.kind, service.name, service.namespace)?;
    for port in &service.ports {
        say!("  port {} ({})", port.port, port.protocol)?;
    }
    say!("\nEndpoints ({}):", page.endpoints.len())?;
    for endpoint in &page.endpoints {
        say!(
            "  {:<24} {:<10} weight {}  {}  {}",
            endpoint.address,
            endpoint.health,
            endpoint.weight,
            endpoint.service,
            endpoint.identity.as_deref().unwrap_or("no identity")
        )?;
    }
    lines("Left out", &left_out_lines(&page.left_out))?;
    who_may_call(&page.access)?;
    section("Routes", &page.routes)?;
    section("Policies", &page.policies)?;
    lines("Findings", &page.findings)?;
    Ok(())
}

async fn endpoints(
    describe: &Describe,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let page = describe.service(client).await?;
    if output.print_structured(&page.endpoints)? {
        return Ok(());
    }
    print_endpoints(&page.endpoints, &page.left_out, output)
}

fn who_may_call(access: &[PortAccessBody]) -> anyhow::Result<()> {
    say!("\nWho may call:")?;
    if access.is_empty() {
        say!("  anybody: its endpoints have no sidecars of this mesh, which would judge")?;
    }
    for port in access {
        let by = match &port.mtls_by {
            Some(policy) => format!(" ({policy})"),
            None => " (no policy says)".to_owned(),
        };
        say!("  port {}: mTLS {}{by}", port.port, port.mtls)?;
        let lines = port.tokens.iter().chain(&port.callers);
        lines.into_iter().try_for_each(|line| say!("    {line}"))?;
    }
    Ok(())
}

fn left_out_lines(left_out: &[LeftOutBody]) -> Vec<String> {
    let line = |it: &LeftOutBody| {
        format!(
            "{} ({}) is no endpoint of {}: {}",
            it.address, it.node, it.service, it.reason
        )
    };
    left_out.iter().map(line).collect()
}

/// Writes a table of endpoints, and who is none.
///
/// # Errors
/// If standard output is gone.
pub(super) fn print_endpoints(
    endpoints: &[EndpointBody],
    left_out: &[LeftOutBody],
    output: OutputFormat,
) -> anyhow::Result<()> {
    let wide = output == OutputFormat::Wide;
    let rows = endpoints.iter().map(|e| {
        let mut row = vec![
            e.service.clone(),
            e.address.clone(),
            e.health.clone(),
            e.weight.to_string(),
        ];
        let identity = || e.identity.clone().unwrap_or_else(|| "-".to_owned());
        row.extend(wide.then(identity));
        row
    });
    let mut header = vec!["service", "address", "health", "weight"];
    header.extend(wide.then_some("identity"));
    print_table(&header, rows.collect(), "no endpoints")?;
    lines("Left out", &left_out_lines(left_out))?;
    Ok(())
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
        let what = match describe.what {
            Subject::Own(what) => format!("{what:?}").to_lowercase(),
            Subject::Kind(kind) => kind.name().to_owned(),
        };
        let names: Vec<ObjectName> = objects.iter().map(name_of).collect();
        let alike = names.iter().filter(|it| {
            it.namespace == describe.namespace
                && (kinds.is_empty() || kinds.contains(&it.kind.as_str()))
        });
        let alike = alike.map(|it| it.name.as_str());
        return Err(missing(&what, &describe.name, &describe.namespace, alike));
    }
    if output.print_structured(&pages)? {
        return Ok(());
    }
    for page in &pages {
        let name = name_of(&page.object);
        say!("{} {} in {}", name.kind, name.name, name.namespace)?;
        lines("Services", &page.services)?;
        lines("Conditions", &page.conditions)?;
        lines("Findings", &page.findings)?;
        say!("\nObject:")?;
        yaml(&page.object)
            .lines()
            .try_for_each(|line| say!("  {line}"))?;
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
        say!("{}", page.name)?;
        let identity = page.identity.as_deref().unwrap_or("-");
        say!("  identity      {identity}")?;
        say!("  service       {}", page.service)?;
        say!("  agent         {}", page.user_agent)?;
        say!("  connected     since {}", page.connected_since)?;
        say!("  state         {}", super::proxies::state(page))?;
        say!("  intended      revision {}", page.intended)?;
        say!("  sent          revision {}", page.sent)?;
        say!("  acknowledged  revision {}", page.acknowledged)?;
        for (kind, number) in &page.resources {
            say!("  {kind:<12}  {}", count(*number, "resource"))?;
        }
        if let Some(reason) = &page.refused {
            say!("  refused       {reason}")?;
        }
    }
    Ok(())
}

async fn revision(
    describe: &Describe,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let page = super::history::find(&describe.name, client).await?;
    if output.print_structured(&page)? {
        return Ok(());
    }
    say!(
        "revision {} by {} (token {}) at {}",
        page.revision,
        page.author,
        super::history::principal(&page),
        page.time
    )?;
    if !page.message.is_empty() {
        say!("  {}", page.message)?;
    }
    for change in &page.changes {
        say!("\n{} {}", change.object, change.action.past())?;
        change.diff.iter().try_for_each(|line| say!("  {line}"))?;
    }
    Ok(())
}

fn section(title: &str, objects: &[Value]) -> std::io::Result<()> {
    say!("\n{title} ({}):", objects.len())?;
    for object in objects {
        let name = name_of(object);
        say!("  {} {}", name.kind, name.name)?;
        let spec = object.get("spec").cloned().unwrap_or_default();
        yaml(&spec)
            .lines()
            .try_for_each(|line| say!("    {line}"))?;
    }
    Ok(())
}

/// A list under its title; nothing where it is empty.
fn lines(title: &str, lines: &[String]) -> std::io::Result<()> {
    if !lines.is_empty() {
        say!("\n{title}:")?;
        lines.iter().try_for_each(|line| say!("  {line}"))?;
    }
    Ok(())
}
