//! `weft get`.

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::Client;
use super::output::{OutputFormat, print_table};
use crate::api::model::{EndpointBody, ObjectName, ServiceBody};

/// Kinds of routes.
pub(super) const ROUTE_KINDS: [&str; 3] = ["HTTPRoute", "GRPCRoute", "TCPRoute"];

/// Kinds of policies.
pub(super) const POLICY_KINDS: [&str; 3] = ["TrafficPolicy", "RateLimitPolicy", "FaultInjection"];

/// Options of `weft get`.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// What to list.
    #[arg(value_enum)]
    what: What,
    /// Only this one.
    name: Option<String>,
    /// Only of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Services of the mesh.
    #[value(alias = "service")]
    Services,
    /// Their endpoints.
    #[value(alias = "endpoint")]
    Endpoints,
    /// HTTPRoute, GRPCRoute, TCPRoute.
    #[value(alias = "route")]
    Routes,
    /// TrafficPolicy, RateLimitPolicy, FaultInjection.
    #[value(alias = "policy")]
    Policies,
    /// Connected proxies.
    #[value(alias = "proxy")]
    Proxies,
    /// Revisions.
    #[value(alias = "revision")]
    Revisions,
    /// Every object.
    #[value(alias = "object")]
    Objects,
}

/// Lists.
///
/// # Errors
/// If the control plane cannot be reached, or the one asked for is not there.
pub(super) async fn run(get: &Get, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    match get.what {
        What::Services => services(get, client, output).await,
        What::Endpoints => endpoints(get, client, output).await,
        What::Routes => objects(get, client, output, &ROUTE_KINDS).await,
        What::Policies => objects(get, client, output, &POLICY_KINDS).await,
        What::Objects => objects(get, client, output, &[]).await,
        What::Proxies => super::proxies::list(get.name.as_deref(), client, output).await,
        What::Revisions => super::history::list(100, get.name.as_deref(), client, output).await,
    }
}

async fn services(get: &Get, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let mut services: Vec<ServiceBody> = client.get("/v1/services").await?;
    services.retain(|s| get.wants(&s.namespace, &s.name));
    get.expect_some(&services)?;
    if output.print_structured(&services)? {
        return Ok(());
    }
    let rows = services.iter().map(|s| {
        let ports: Vec<String> = s
            .ports
            .iter()
            .map(|p| format!("{}/{}", p.port, p.protocol))
            .collect();
        let mut row = vec![
            s.namespace.clone(),
            s.name.clone(),
            ports.join(","),
            s.endpoints.to_string(),
            s.routes.len().to_string(),
        ];
        if output == OutputFormat::Wide {
            row.push(s.kind.clone());
            row.push(s.routes.join(","));
        }
        row
    });
    let mut header = vec!["namespace", "name", "ports", "endpoints", "routes"];
    if output == OutputFormat::Wide {
        header.extend(["kind", "route names"]);
    }
    print_table(&header, rows.collect(), "no services")
}

async fn endpoints(get: &Get, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let mut endpoints: Vec<EndpointBody> = client.get("/v1/endpoints").await?;
    endpoints.retain(|e| {
        let host = e.service.split(':').next().unwrap_or_default();
        let (name, namespace) = host.split_once('.').unwrap_or((host, ""));
        get.wants(namespace, name)
    });
    get.expect_some(&endpoints)?;
    if output.print_structured(&endpoints)? {
        return Ok(());
    }
    super::describe::print_endpoints(&endpoints)
}

async fn objects(
    get: &Get,
    client: &Client,
    output: OutputFormat,
    kinds: &[&str],
) -> anyhow::Result<()> {
    let mut objects: Vec<Value> = client.get("/v1/objects").await?;
    objects.retain(|object| {
        let name = name_of(object);
        (kinds.is_empty() || kinds.contains(&name.kind.as_str()))
            && get.wants(&name.namespace, &name.name)
    });
    get.expect_some(&objects)?;
    if output.print_structured(&objects)? {
        return Ok(());
    }
    let rows = objects.iter().map(|object| {
        let name = name_of(object);
        vec![name.namespace, name.kind, name.name]
    });
    print_table(&["namespace", "kind", "name"], rows.collect(), "no objects")
}

impl Get {
    fn wants(&self, namespace: &str, name: &str) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| wanted == namespace)
    }

    /// One that was asked for by name must be there.
    fn expect_some<T>(&self, found: &[T]) -> anyhow::Result<()> {
        match &self.name {
            Some(name) if found.is_empty() => bail!(
                "no {} named {name}",
                format!("{:?}", self.what).to_lowercase()
            ),
            _ => Ok(()),
        }
    }
}

/// Kind, namespace and name of an object in its JSON form.
pub(super) fn name_of(object: &Value) -> ObjectName {
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ObjectName {
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    }
}
