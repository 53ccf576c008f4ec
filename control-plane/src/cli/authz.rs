//! `weft authz check`: may this caller make this call, and which rule says so.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use weft_config::diag::FieldPath;
use weft_config::gateway_api::names::DEFAULT_CLUSTER_DOMAIN;
use weft_config::gateway_api::{Document, Object, ObjectKey, ServiceName};
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::client::Client;
use super::manifest::Files;
use super::output::{OutputFormat, say};
use crate::api::check::Manifests;
use crate::authz::{self, Caller, DecidedBy, Question, Verdict};
use crate::translate::Index;

/// Options of `weft authz`.
#[derive(Debug, Args)]
pub(super) struct Authz {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Judge a call as the sidecar of the service would. Exit code 0: allowed; 1: denied, or it could not be judged.
    Check(Box<Check>),
}

#[derive(Debug, Args)]
struct Check {
    /// Who calls: a SPIFFE id, NAMESPACE/SERVICE-ACCOUNT, an address, or `-` for somebody who proves nothing.
    #[arg(long, value_parser = caller, allow_hyphen_values = true, value_name = "WHO")]
    from: Who,
    /// Where he calls from, beside his identity. Default 127.0.0.1.
    #[arg(long, value_name = "IP")]
    from_address: Option<IpAddr>,
    /// The trust domain of NAMESPACE/SERVICE-ACCOUNT, and with -f that of the mesh.
    #[arg(long, default_value_t, value_name = "NAME")]
    trust_domain: TrustDomain,
    /// Whom: a service, as NAME, NAME.NAMESPACE or NAME.NAMESPACE:PORT.
    #[arg(long, value_parser = target, value_name = "SERVICE")]
    to: Target,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// Path and query.
    #[arg(long, default_value = "/", value_parser = path)]
    path: String,
    /// The host that is asked for. Default: the service and its port.
    #[arg(long)]
    host: Option<String>,
    /// A header, as often as needed.
    #[arg(long = "header", value_parser = pair, value_name = "NAME=VALUE")]
    headers: Vec<(String, String)>,
    /// What the caller's token says, as often as needed.
    #[arg(long = "claim", value_parser = pair, value_name = "NAME=VALUE")]
    claims: Vec<(String, String)>,
    /// Judge by these files instead of asking the control plane: a file, a folder, or `-` for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
}

/// Who calls, as it was typed.
#[derive(Clone, Debug)]
enum Who {
    Identity(SpiffeId),
    Account(String, String),
    Address(IpAddr),
    Nobody,
}

/// Who is called, as it was typed.
#[derive(Clone, Debug)]
struct Target {
    service: ServiceName,
    port: Option<u16>,
}

fn caller(text: &str) -> Result<Who, String> {
    if text == "-" {
        return Ok(Who::Nobody);
    }
    if text.starts_with("spiffe://") {
        let id = SpiffeId::parse(text).map_err(|error| error.to_string())?;
        return Ok(Who::Identity(id));
    }
    if let Ok(address) = text.parse() {
        return Ok(Who::Address(address));
    }
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
            Ok(Who::Account(namespace.to_owned(), account.to_owned()))
        }
        _ => Err("must be spiffe://…, NAMESPACE/SERVICE-ACCOUNT, an address, or `-`".to_owned()),
    }
}

fn target(text: &str) -> Result<Target, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => {
            let port: u16 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
            (name, Some(port))
        }
        None => (text, None),
    };
    let service = ServiceName::qualify(name, "default", DEFAULT_CLUSTER_DOMAIN);
    let service = service.ok_or_else(|| format!("{name:?} is no service's name"))?;
    Ok(Target { service, port })
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("must begin with /".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Judges a call.
///
/// # Errors
/// If it is denied, or cannot be judged.
pub(super) async fn run(
    authz: &Authz,
    client: impl FnOnce() -> anyhow::Result<Client>,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let Action::Check(check) = &authz.action;
    let question = check.question()?;
    let verdict = match check.files.is_empty() {
        true => {
            let answer = client()?.post_bytes("/v1/authz/check", &question).await?;
            serde_json::from_slice(&answer).context("the control plane's answer")?
        }
        false => offline(
            &question,
            &Files::of(check.files.clone()),
            &check.trust_domain,
        )?,
    };
    if !output.print_structured(&verdict)? {
        print(&verdict)?;
    }
    ensure!(verdict.allowed, "denied");
    Ok(())
}

impl Check {
    fn question(&self) -> anyhow::Result<Question> {
        let (identity, address) = match &self.from {
            Who::Identity(id) => (Some(id.to_string()), self.from_address),
            Who::Account(namespace, account) => {
                let id = SpiffeId::workload(&self.trust_domain, namespace, account)?;
                (Some(id.to_string()), self.from_address)
            }
            Who::Address(address) => (None, Some(*address)),
            Who::Nobody => (None, self.from_address),
        };
        Ok(Question {
            from: Caller { identity, address },
            to: self.to.service.clone(),
            port: self.to.port,
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            headers: by_name(&self.headers, str::to_ascii_lowercase),
            claims: by_name(&self.claims, str::to_owned),
        })
    }
}

fn by_name(
    pairs: &[(String, String)],
    name_of: impl Fn(&str) -> String,
) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        all.entry(name_of(name)).or_default().push(value.clone());
    }
    all
}

/// Judges by files alone: workloads are those that the name of the service says.
fn offline(
    question: &Question,
    files: &Files,
    trust_domain: &TrustDomain,
) -> anyhow::Result<Verdict> {
    let manifests = Manifests::read(&files.read()?);
    let faults = manifests.faults();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    let documents = manifests.documents;
    let objects = documents.iter().map(|it| Arc::clone(&it.object));
    let index = Index::new(objects.collect());
    let by_key = documents.iter().map(|it| (it.object.key(), it));
    let by_key: HashMap<ObjectKey, &Document> = by_key.collect();
    let place = |object: &Object, rule: usize| {
        let path = FieldPath::root().field("spec").field("rules").index(rule);
        let document = by_key.get(&object.key())?;
        Some(document.source.locate(&path).to_string())
    };
    let domain = Some(trust_domain);
    Ok(authz::check(question, &index, &[], domain, &place)?)
}

fn print(verdict: &Verdict) -> anyhow::Result<()> {
    let word = if verdict.allowed { "allowed" } else { "denied" };
    say!("{word}: {}", verdict.reason)?;
    say!("  judged: {}", verdict.judged)?;
    if let Some(rule) = &verdict.rule {
        say!("  rule: {}", line(rule))?;
    }
    for other in &verdict.others {
        say!("  did not match: {}", line(other))?;
    }
    for note in &verdict.notes {
        say!("  note: {note}")?;
    }
    for tried in &verdict.dry_run {
        say!("  dry run: {tried}")?;
    }
    Ok(())
}

fn line(decided: &DecidedBy) -> String {
    let rule = decided.rule.map(|rule| format!(" rules[{rule}]"));
    let name = decided.name.as_ref().map(|name| format!(" `{name}`"));
    let file = decided.file.as_ref().map(|file| format!(" ({file})"));
    let parts = [rule, name, file].map(Option::unwrap_or_default);
    let unmet = match decided.unmet.as_slice() {
        [] => String::new(),
        unmet => format!(": {}", unmet.join(", ")),
    };
    format!("{}{}{unmet}", decided.policy, parts.concat())
}
