//! `weft delete`.

use anyhow::ensure;
use clap::Args;
use weft_config::diag::near_name;
use weft_config::gateway_api::Kind;

use super::apply::{Wait, author, change};
use super::client::Client;
use super::get::{missing, name_of};
use super::output::OutputFormat;
use super::subject::WithWords;
use crate::api::model::{ApplyRequest, ObjectName};

/// Options of `weft delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The kind, singular or plural, in any case, or `service`, `route` or `policy` for any of these.
    #[arg(value_parser = WithWords { parser: parse_kinds, words: words() })]
    kind: Kinds,
    /// The names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Their namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Show what would go, and which proxies it would change; delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for `weft history`.
    #[arg(short, long, default_value = "")]
    message: String,
    #[command(flatten)]
    wait: Wait,
}

/// A word of the command line, and the kinds that it stands for.
#[derive(Clone, Debug)]
struct Kinds {
    word: &'static str,
    kinds: Vec<Kind>,
}

impl Kinds {
    fn new(word: &'static str, kinds: Vec<Kind>) -> Self {
        Self { word, kinds }
    }
}

/// What is shown of the words that [`parse_kinds`] takes.
fn words() -> Vec<&'static str> {
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Service);
    let groups = ["service", "route", "policy"];
    groups.into_iter().chain(kinds.map(Kind::name)).collect()
}

fn parse_kinds(text: &str) -> Result<Kinds, String> {
    let all = |wanted: fn(Kind) -> bool| Kind::ALL.into_iter().filter(|it| wanted(*it)).collect();
    match text.to_ascii_lowercase().as_str() {
        "service" | "services" => {
            return Ok(Kinds::new(
                "service",
                vec![Kind::Service, Kind::MeshService],
            ));
        }
        "route" | "routes" => return Ok(Kinds::new("route", all(Kind::is_route))),
        "policy" | "policies" => return Ok(Kinds::new("policy", all(Kind::is_policy))),
        _ => {}
    }
    if let Some(kind) = Kind::find(text) {
        return Ok(Kinds::new(kind.name(), vec![kind]));
    }
    let names = || Kind::ALL.map(Kind::name).into_iter();
    let hint = match near_name(text, names()) {
        Some(near) => format!(", did you mean `{near}`"),
        None => String::new(),
    };
    let known: Vec<&str> = names().collect();
    Err(format!(
        "not a kind{hint}; there are {}, and service, route and policy for any of these",
        known.join(", ")
    ))
}

/// Deletes objects as one revision.
///
/// # Errors
/// If one of them is not there, or as `weft apply`.
pub(super) async fn run(
    delete: &Delete,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let objects: Vec<serde_json::Value> = client.get("/v1/objects").await?;
    let mut known: Vec<ObjectName> = objects.iter().map(name_of).collect();
    known.retain(|it| {
        it.namespace == delete.namespace
            && delete.kind.kinds.iter().any(|kind| kind.name() == it.kind)
    });
    let mut wanted = Vec::new();
    let mut faults = Vec::new();
    for name in &delete.names {
        let found: Vec<&ObjectName> = known.iter().filter(|it| it.name == *name).collect();
        match found[..] {
            [] => {
                let what = delete.kind.word;
                let names = known.iter().map(|it| it.name.as_str());
                faults.push(missing(what, name, &delete.namespace, names).to_string());
            }
            [one] if wanted.contains(one) => {} // named twice
            [one] => wanted.push(one.clone()),
            _ => {
                let kinds: Vec<&str> = found.iter().map(|it| it.kind.as_str()).collect();
                faults.push(format!(
                    "{name} is the name of several: say which kind, {}",
                    kinds.join(" or ")
                ));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let request = ApplyRequest {
        delete: wanted,
        author: author(),
        message: delete.message.clone(),
        dry_run: delete.dry_run,
        wait_seconds: delete.wait.seconds(),
        ..ApplyRequest::default()
    };
    change(&request, client, output).await
}
