//! `weft get`.

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use weft_config::diag::near_name;
use weft_config::gateway_api::ServiceName;
use weft_config::gateway_api::names::DEFAULT_CLUSTER_DOMAIN;
use weft_config::spiffe::ROOT_NAMESPACE;

use super::client::Client;
use super::output::{OutputFormat, print_table};
use super::subject::{Shown, Subject, subject};
use crate::api::model::{EndpointBody, LeftOutBody, ObjectName, ServiceBody};

/// Kinds of routes.
pub(super) const ROUTE_KINDS: [&str; 3] = ["HTTPRoute", "GRPCRoute", "TCPRoute"];

/// Kinds of policies.
pub(super) const POLICY_KINDS: [&str; 6] = [
    "TrafficPolicy",
    "RateLimitPolicy",
    "FaultInjection",
    "AuthorizationPolicy",
    "AuthenticationPolicy",
    "BackendTLSPolicy",
];

/// Options of `weft get`.
#[derive(Clone, Debug, Args)]
pub(super) struct Get {
    /// What to list; singular or plural, in any case.
    #[arg(value_parser = subject::<What>(Shown::Plural), ignore_case = true)]
    what: Subject<What>,
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
    /// TrafficPolicy, RateLimitPolicy, FaultInjection, AuthorizationPolicy, AuthenticationPolicy,
    /// BackendTLSPolicy.
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
        Subject::Own(What::Services) => services(get, client, output).await,
        Subject::Own(What::Endpoints) => endpoints(get, client, output).await,
        Subject::Own(What::Routes) => objects(get, client, output, &ROUTE_KINDS).await,
        Subject::Own(What::Policies) => objects(get, client, output, &POLICY_KINDS).await,
        Subject::Kind(kind) => objects(get, client, output, &[kind.name()]).await,
        Subject::Own(What::Objects) => objects(get, client, output, &[]).await,
        Subject::Own(What::Proxies) => {
            super::proxies::list(get.name.as_deref(), client, output).await
        }
        Subject::Own(What::Revisions) => {
            super::history::list(100, get.name.as_deref(), client, output).await
        }
    }
}

async fn services(get: &Get, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let mut services: Vec<ServiceBody> = client.get("/v1/services").await?;
    let known: Vec<String> = services.iter().map(|s| s.name.clone()).collect();
    let wanted = get.service()?;
    services.retain(|s| wanted.wants(&s.namespace, &s.name));
    wanted.expect_some(&services, &known)?;
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
    let wanted = get.service()?;
    let wants = |service: &str| {
        let host = service.split(':').next().unwrap_or_default();
        let (name, namespace) = host.split_once('.').unwrap_or((host, ""));
        wanted.wants(namespace, name)
    };
    endpoints.retain(|e| wants(&e.service));
    if endpoints.is_empty() && wanted.name.is_some() {
        // A service that is there and has none is no mistake.
        let services: Vec<ServiceBody> = client.get("/v1/services").await?;
        let known: Vec<String> = services.iter().map(|s| s.name.clone()).collect();
        let there = services
            .iter()
            .filter(|s| wanted.wants(&s.namespace, &s.name));
        wanted.expect_some(&there.collect::<Vec<_>>(), &known)?;
    }
    if output.print_structured(&endpoints)? {
        return Ok(());
    }
    let mut left_out: Vec<LeftOutBody> = client.get("/v1/endpoints/left-out").await?;
    left_out.retain(|it| wants(&it.service));
    super::describe::print_endpoints(&endpoints, &left_out, output)
}

async fn objects(
    get: &Get,
    client: &Client,
    output: OutputFormat,
    kinds: &[&str],
) -> anyhow::Result<()> {
    let mut objects: Vec<Value> = client.get("/v1/objects").await?;
    objects.retain(|object| kinds.is_empty() || kinds.contains(&name_of(object).kind.as_str()));
    let known: Vec<String> = objects.iter().map(|object| name_of(object).name).collect();
    objects.retain(|object| {
        let name = name_of(object);
        get.wants(&name.namespace, &name.name)
    });
    get.expect_some(&objects, &known)?;
    if output.print_structured(&objects)? {
        return Ok(());
    }
    let rows = objects.iter().map(|object| {
        let name = name_of(object);
        let mut row = vec![name.namespace, name.kind, name.name, aims(object)];
        if output == OutputFormat::Wide {
            row.push(backends(object));
            for field in ["/metadata/generation", "/metadata/creationTimestamp"] {
                row.push(object.pointer(field).map_or(String::new(), plain));
            }
        }
        row
    });
    let mut header = vec!["namespace", "kind", "name", "for"];
    if output == OutputFormat::Wide {
        header.extend(["backends", "generation", "created"]);
    }
    let none = format!("no {}", get.what.plural());
    print_table(&header, rows.collect(), &none)
}

/// What a route or policy is for: `reviews:9080`, `HTTPRoute/reviews#canary`.
fn aims(object: &Value) -> String {
    let own = name_of(object).namespace;
    let list = |field| object.pointer(field).and_then(Value::as_array);
    let aims = list("/spec/parentRefs").or_else(|| list("/spec/targetRefs"));
    let of_callers = matches!(
        name_of(object).kind.as_str(),
        "AuthorizationPolicy" | "AuthenticationPolicy"
    );
    if aims.is_none() && of_callers {
        return match own.as_str() {
            ROOT_NAMESPACE => "the mesh".to_owned(),
            own => format!("namespace {own}"),
        };
    }
    let words = aims.into_iter().flatten().map(|aim| {
        let text = |field| aim.get(field).map_or(String::new(), plain);
        let mut word = match text("kind").as_str() {
            "Service" | "MeshService" => text("name"),
            kind => format!("{kind}/{}", text("name")),
        };
        if aim.get("namespace").is_some() && text("namespace") != own {
            word = format!("{word}.{}", text("namespace"));
        }
        for (sign, field) in [(':', "port"), ('#', "sectionName")] {
            if aim.get(field).is_some() {
                word = format!("{word}{sign}{}", text(field));
            }
        }
        word
    });
    words.collect::<Vec<_>>().join(",")
}

/// The backends of a route's rules with their weights: `reviews-v1=90 reviews-v2=10`, rules apart by `;`, `-` for one without.
fn backends(object: &Value) -> String {
    let rules = object.pointer("/spec/rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().map(|rule| {
        let backends = rule.get("backendRefs").and_then(Value::as_array);
        let words = backends.into_iter().flatten().map(|backend| {
            let text = |field| backend.get(field).map_or(String::new(), plain);
            format!("{}={}", text("name"), text("weight"))
        });
        let words: Vec<String> = words.collect();
        match words.is_empty() {
            true => "-".to_owned(),
            false => words.join(" "),
        }
    });
    rules.collect::<Vec<_>>().join("; ")
}

/// A scalar without quotes.
fn plain(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

impl Subject<What> {
    /// The word for many of it.
    fn plural(self) -> String {
        match self {
            Self::Own(what) => format!("{what:?}").to_lowercase(),
            Self::Kind(kind) => kind.plural().to_owned(),
        }
    }
}

impl Get {
    fn wants(&self, namespace: &str, name: &str) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| wanted == namespace)
    }

    /// The same with the name of a service, which may have any of its forms.
    fn service(&self) -> anyhow::Result<Self> {
        let Some(name) = &self.name else {
            return Ok(self.clone());
        };
        let here = self.namespace.as_deref();
        let service = service_name(name, here.unwrap_or("default"))?;
        let qualified = name.contains('.') || here.is_some();
        Ok(Self {
            what: self.what,
            name: Some(service.name),
            namespace: qualified.then_some(service.namespace),
        })
    }

    /// One that was asked for by name must be there; `known` are the names of those that are.
    fn expect_some<T>(&self, found: &[T], known: &[String]) -> anyhow::Result<()> {
        let Some(name) = self.name.as_ref().filter(|_| found.is_empty()) else {
            return Ok(());
        };
        let what = self.what.plural();
        let place = match &self.namespace {
            Some(namespace) => format!(" in namespace {namespace}"),
            None => String::new(),
        };
        let near = hint(name, known.iter().map(String::as_str));
        bail!("no {what} named {name}{place}{near}")
    }
}

/// The service that `text` names as seen from `namespace`: `reviews`, `reviews.shop`, `reviews.shop.svc.cluster.local`.
///
/// # Errors
/// If it can be no service's name.
pub(super) fn service_name(text: &str, namespace: &str) -> anyhow::Result<ServiceName> {
    ServiceName::qualify(text, namespace, DEFAULT_CLUSTER_DOMAIN).with_context(|| {
        format!("{text:?} in namespace {namespace:?} cannot name a service: it is NAME or NAME.NAMESPACE, each of a-z, 0-9 and `-`")
    })
}

/// Says that something is not there, and what may have been meant.
pub(super) fn missing<'a>(
    what: &str,
    name: &str,
    namespace: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> anyhow::Error {
    let near = hint(name, known);
    anyhow!("there is no {what} {name} in namespace {namespace}{near}")
}

/// `, did you mean …?`, where another name is near.
fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let others = known.into_iter().filter(|known| *known != name);
    match near_name(name, others) {
        Some(near) => format!(", did you mean `{near}`?"),
        None => String::new(),
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
