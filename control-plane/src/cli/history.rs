//! `weft history` and `weft rollback`.

use anyhow::Context;
use clap::Args;

use super::apply::{Ending, Wait, author, watch};
use super::client::Client;
use super::output::{OutputFormat, print_table, to_the_second};
use crate::api::model::{Action, RevisionBody, RollbackRequest};

/// Options of `weft history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// How many revisions, newest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Options of `weft rollback`.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The revision whose state shall be in force again. Default: the one before the newest.
    revision: Option<u64>,
    #[command(flatten)]
    wait: Wait,
}

/// Lists revisions.
///
/// # Errors
/// If the control plane cannot be reached.
pub(super) async fn history(
    history: &History,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    list(history.limit, None, client, output).await
}

/// Goes back, as a new revision.
///
/// # Errors
/// If the revision is not known any more, or as `weft apply`.
pub(super) async fn rollback(
    rollback: &Rollback,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let request = RollbackRequest {
        revision: rollback.revision,
        author: author(),
        wait_seconds: rollback.wait.seconds(),
    };
    let ending = match request.wait_seconds {
        Some(_) => Ending::Answered,
        None => Ending::Stored,
    };
    watch("/v1/rollback", &request, ending, client, output).await
}

/// The newest `limit` revisions, or the one of this number.
///
/// # Errors
/// If the control plane cannot be reached, or there is none of that number.
pub(super) async fn list(
    limit: u32,
    number: Option<&str>,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let revisions: Vec<RevisionBody> = match number {
        Some(number) => vec![find(number, client).await?],
        None => client.get(&format!("/v1/revisions?limit={limit}")).await?,
    };
    if output.print_structured(&revisions)? {
        return Ok(());
    }
    let rows = revisions.iter().map(|r| {
        vec![
            r.revision.to_string(),
            to_the_second(&r.time),
            r.author.clone(),
            principal(r).to_owned(),
            r.message.clone(),
            summary(r),
        ]
    });
    print_table(
        &["revision", "time", "author", "token", "message", "changes"],
        rows.collect(),
        "no revisions",
    )
}

/// The revision of this number.
///
/// # Errors
/// If it is no number, is not in the history, or the control plane cannot be reached.
pub(super) async fn find(number: &str, client: &Client) -> anyhow::Result<RevisionBody> {
    let wanted: u64 = number
        .parse()
        .ok()
        .with_context(|| format!("a revision is a number, got {number:?}"))?;
    let revisions: Vec<RevisionBody> = client.get("/v1/revisions?limit=1000").await?;
    let reach = match (revisions.last(), revisions.first()) {
        (Some(oldest), Some(newest)) => {
            format!("it reaches from {} to {}", oldest.revision, newest.revision)
        }
        _ => "it is empty".to_owned(),
    };
    let found = revisions.into_iter().find(|it| it.revision == wanted);
    found.with_context(|| format!("revision {wanted} is not in the history; {reach}"))
}

/// Who it was for the API, in a word.
pub(super) fn principal(revision: &RevisionBody) -> &str {
    match revision.principal.as_str() {
        "" => "-",
        principal => principal,
    }
}

/// `+HTTPRoute/a ~MeshService/b -TCPRoute/c`.
fn summary(revision: &RevisionBody) -> String {
    let words = revision.changes.iter().filter_map(|change| {
        let sign = match change.action {
            Action::Created => '+',
            Action::Changed => '~',
            Action::Deleted => '-',
            Action::Unchanged => return None,
        };
        Some(format!(
            "{sign}{}/{}",
            change.object.kind, change.object.name
        ))
    });
    words.collect::<Vec<_>>().join(" ")
}
