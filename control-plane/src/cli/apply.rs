//! `weft apply` and `weft diff`.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Client;
use super::manifest::Files;
use super::output::{OutputFormat, count};
use crate::api::model::{Action, ApplyEvent, ApplyRequest, Change, Refusal};

/// Options of `weft apply`.
#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    files: Files,
    /// Show the difference, and which proxies it would change; store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for `weft history`.
    #[arg(short, long, default_value = "")]
    message: String,
    #[command(flatten)]
    wait: Wait,
}

/// How long a change waits for the proxies.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Do not wait until the proxies concerned have acknowledged.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for them, at most 10m.
    #[arg(long, default_value = "30s", value_parser = parse_wait)]
    timeout: Duration,
}

impl Wait {
    /// As the API wants it.
    pub(super) fn seconds(&self) -> Option<u32> {
        (!self.no_wait).then(|| u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX))
    }
}

/// Options of `weft diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    files: Files,
}

/// Applies files.
///
/// # Errors
/// If they are refused, by the control plane or by a proxy, or not acknowledged in time.
pub(super) async fn run(
    apply: &Apply,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let request = ApplyRequest {
        files: apply.files.read()?,
        author: author(),
        message: apply.message.clone(),
        dry_run: apply.dry_run,
        wait_seconds: apply.wait.seconds(),
        ..ApplyRequest::default()
    };
    change(&request, client, output).await
}

/// Shows what applying them would change.
///
/// # Errors
/// If they are refused.
pub(super) async fn diff(diff: &Diff, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let request = ApplyRequest {
        files: diff.files.read()?,
        author: author(),
        dry_run: true,
        ..ApplyRequest::default()
    };
    change(&request, client, output).await
}

/// Asks for a change, shows its progress and says how it ended.
///
/// # Errors
/// As [`run`].
pub(super) async fn change(
    request: &ApplyRequest,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    watch("/v1/apply", request, request.dry_run, client, output).await
}

/// Posts `request`, follows its events, and fails if a proxy refused or was silent.
///
/// # Errors
/// As [`run`].
pub(super) async fn watch(
    path: &str,
    request: &impl serde::Serialize,
    dry_run: bool,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let bar = progress_bar();
    let mut events = Vec::new();
    client
        .post_events(path, request, |event| {
            if matches!(output, OutputFormat::Table | OutputFormat::Wide) {
                show(&event, dry_run, &bar);
            }
            events.push(event);
            Ok(())
        })
        .await?;
    bar.finish_and_clear();
    output.print_structured(&events)?;
    match events.last() {
        Some(ApplyEvent::Done { refused, .. }) if !refused.is_empty() => {
            bail!("{} refused it", count(refused.len(), "proxy"))
        }
        Some(ApplyEvent::Done { waiting, .. }) if !waiting.is_empty() => {
            bail!("{} did not answer in time", count(waiting.len(), "proxy"))
        }
        Some(ApplyEvent::Done { .. } | ApplyEvent::Stored { .. }) => Ok(()),
        Some(ApplyEvent::Planned { .. }) if dry_run => Ok(()),
        other => bail!("the control plane ended its answer early, after {other:?}"),
    }
}

fn show(event: &ApplyEvent, dry_run: bool, bar: &ProgressBar) {
    match event {
        ApplyEvent::Planned {
            changes,
            warnings,
            proxies,
        } => {
            warnings
                .iter()
                .for_each(|warning| eprintln!("warning: {warning}"));
            changes
                .iter()
                .for_each(|change| show_change(change, dry_run));
            if dry_run {
                println!("would concern {}", count(proxies.len(), "connected proxy"));
                proxies.iter().for_each(|proxy| println!("  {proxy}"));
            }
        }
        ApplyEvent::Stored { revision } => println!("revision {revision} stored"),
        ApplyEvent::Progress {
            acknowledged,
            refused,
            waiting,
        } => {
            bar.set_length((acknowledged + refused + waiting) as u64);
            bar.set_position((acknowledged + refused) as u64);
        }
        ApplyEvent::Done {
            acknowledged,
            refused,
            waiting,
            ..
        } => {
            bar.finish_and_clear();
            if acknowledged.len() + refused.len() + waiting.len() == 0 {
                println!("no connected proxy has anything of it");
            } else {
                println!("acknowledged by {}", count(acknowledged.len(), "proxy"));
            }
            acknowledged.iter().for_each(|proxy| println!("  {proxy}"));
            refused
                .iter()
                .for_each(|Refusal { proxy, reason }| println!("refused by {proxy}: {reason}"));
            waiting
                .iter()
                .for_each(|proxy| println!("no answer from {proxy}"));
        }
    }
}

fn show_change(change: &Change, dry_run: bool) {
    let word = match (change.action, dry_run) {
        (Action::Created, true) => "would be created",
        (Action::Changed, true) => "would change",
        (Action::Deleted, true) => "would be deleted",
        (action, _) => action.past(),
    };
    println!("{} {word}", change.object);
    if dry_run {
        change.diff.iter().for_each(|line| println!("  {line}"));
    }
}

/// A bar on a terminal; nothing elsewhere.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} proxies")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

/// Who asks: the user's name, for the history.
pub(super) fn author() -> String {
    std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "unknown".to_owned())
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = super::duration::parse(text)?;
    let longest = Duration::from_secs(600);
    if wait > longest {
        return Err(format!("must be at most 10m, got {text}"));
    }
    Ok(wait)
}

#[cfg(test)]
impl Wait {
    /// Waits for nothing.
    pub(super) fn test_default() -> Self {
        Self {
            no_wait: true,
            timeout: Duration::ZERO,
        }
    }
}
