//! `weft apply` and `weft diff`.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Client;
use super::manifest::Files;
use super::output::{OutputFormat, count, say};
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
#[derive(Clone, Debug, Args)]
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
    let ending = match (request.dry_run, request.wait_seconds) {
        (true, _) => Ending::Planned,
        (false, None) => Ending::Stored,
        (false, Some(_)) => Ending::Answered,
    };
    watch("/v1/apply", request, ending, client, output).await
}

/// How far a change is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is only a dry run.
    Planned,
    /// The proxies are not waited for.
    Stored,
    /// Until the proxies have answered.
    Answered,
}

/// Posts `request`, follows its events up to `ending`, and fails if a proxy refused or was silent.
///
/// # Errors
/// As [`run`].
pub(super) async fn watch(
    path: &str,
    request: &impl serde::Serialize,
    ending: Ending,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let bar = progress_bar();
    let mut events = Vec::new();
    let mut shown = Ok(());
    client
        .post_events(path, request, |event| {
            // A reader who has gone does not stop what is followed, nor hide how it ends.
            if matches!(output, OutputFormat::Table | OutputFormat::Wide) && shown.is_ok() {
                shown = show(&event, changes_something(&events), ending, &bar);
            }
            events.push(event);
            Ok(())
        })
        .await?;
    bar.finish_and_clear();
    let printed = output.print_structured(&events);
    verdict(events.last(), ending)?;
    shown?;
    printed.map(drop)
}

/// Whether the change came to its end, and to a good one.
fn verdict(last: Option<&ApplyEvent>, ending: Ending) -> anyhow::Result<()> {
    match (last, ending) {
        (Some(ApplyEvent::Done { refused, .. }), _) if !refused.is_empty() => {
            bail!("{} refused it", count(refused.len(), "proxy"))
        }
        (Some(ApplyEvent::Done { waiting, .. }), _) if !waiting.is_empty() => {
            bail!("{} did not answer in time", count(waiting.len(), "proxy"))
        }
        (Some(ApplyEvent::Done { .. }), _)
        | (Some(ApplyEvent::Stored { .. }), Ending::Stored)
        | (Some(ApplyEvent::Planned { .. }), Ending::Planned) => Ok(()),
        (Some(ApplyEvent::Stored { .. } | ApplyEvent::Progress { .. }), _) => bail!(
            "it is stored, but the control plane stopped before it could say what the proxies make of it"
        ),
        (Some(ApplyEvent::Planned { .. }) | None, _) => {
            bail!("the control plane stopped before it had stored anything")
        }
    }
}

/// Whether any object was planned to change.
fn changes_something(events: &[ApplyEvent]) -> bool {
    events.iter().any(|event| {
        matches!(event, ApplyEvent::Planned { changes, .. }
            if changes.iter().any(|change| change.action != Action::Unchanged))
    })
}

fn show(
    event: &ApplyEvent,
    changed: bool,
    ending: Ending,
    bar: &ProgressBar,
) -> std::io::Result<()> {
    match event {
        ApplyEvent::Planned {
            changes,
            warnings,
            proxies,
        } => {
            warnings
                .iter()
                .for_each(|warning| eprintln!("warning: {warning}"));
            let dry_run = ending == Ending::Planned;
            for change in changes {
                show_change(change, dry_run)?;
            }
            if dry_run {
                say!("would concern {}", count(proxies.len(), "connected proxy"))?;
                show_names(proxies)?;
            }
        }
        ApplyEvent::Stored { revision } if changed => say!("revision {revision} stored")?,
        ApplyEvent::Stored { revision } => {
            say!("nothing changes: it is as in revision {revision}")?;
        }
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
            left,
            ..
        } => {
            bar.finish_and_clear();
            if acknowledged.len() + refused.len() + waiting.len() + left.len() == 0 {
                say!("no connected proxy has anything of it")?;
            } else {
                say!("acknowledged by {}", count(acknowledged.len(), "proxy"))?;
            }
            show_names(acknowledged)?;
            for Refusal { proxy, reason } in refused {
                say!("refused by {proxy}: {reason}")?;
            }
            for proxy in waiting {
                say!("no answer from {proxy}")?;
            }
            for proxy in left {
                say!("disconnected before it answered: {proxy}")?;
            }
        }
    }
    Ok(())
}

fn show_names(proxies: &[String]) -> std::io::Result<()> {
    proxies.iter().try_for_each(|proxy| say!("  {proxy}"))
}

fn show_change(change: &Change, dry_run: bool) -> std::io::Result<()> {
    let word = match (change.action, dry_run) {
        (Action::Created, true) => "would be created",
        (Action::Changed, true) => "would change",
        (Action::Deleted, true) => "would be deleted",
        (action, _) => action.past(),
    };
    say!("{} {word}", change.object)?;
    if dry_run {
        change.diff.iter().try_for_each(|line| say!("  {line}"))?;
    }
    Ok(())
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
    let said = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
    said("USER")
        .or_else(|| said("LOGNAME"))
        .unwrap_or_else(|| "unknown".to_owned())
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
