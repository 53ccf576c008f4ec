//! `weft delete`.

use anyhow::{Context, ensure};
use clap::Args;
use weft_config::gateway_api::Kind;

use super::apply::{Wait, author, change};
use super::client::Client;
use super::get::name_of;
use super::output::OutputFormat;
use crate::api::model::{ApplyRequest, ObjectName};

/// Options of `weft delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The kind, such as `HTTPRoute` (case does not matter).
    kind: String,
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

/// Deletes objects as one revision.
///
/// # Errors
/// If one of them is not there, or as `weft apply`.
pub(super) async fn run(
    delete: &Delete,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let kind = Kind::ALL
        .iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(&delete.kind));
    let kind = kind.with_context(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!(
            "{} is not a kind; there are {}",
            delete.kind,
            known.join(", ")
        )
    })?;
    let objects: Vec<serde_json::Value> = client.get("/v1/objects").await?;
    let known: Vec<ObjectName> = objects.iter().map(name_of).collect();
    let names = delete.names.iter().map(|name| {
        let found = known
            .iter()
            .find(|k| k.kind == kind.name() && k.namespace == delete.namespace && k.name == *name);
        found.cloned().with_context(|| {
            format!(
                "there is no {} {name} in namespace {}",
                kind.name(),
                delete.namespace
            )
        })
    });
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!names.is_empty(), "nothing to delete");
    let request = ApplyRequest {
        delete: names,
        author: author(),
        message: delete.message.clone(),
        dry_run: delete.dry_run,
        wait_seconds: delete.wait.seconds(),
        ..ApplyRequest::default()
    };
    change(&request, client, output).await
}
