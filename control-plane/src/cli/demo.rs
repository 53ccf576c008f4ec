//! `weft demo`: a whole mesh on this machine in one command, without root and with nothing installed.
//!
//! Sidecars get their certificates by join tokens, and behind the storefront nothing but mTLS is taken.
//! The control plane runs in this process; the sample application's five workloads too, each with a `weft-proxy`
//! process of its own. Traffic enters through the storefront's sidecar while a canary of `reviews` moves from 0 to
//! 100 %. Nothing is left behind: state lives in a temporary folder, and the sidecars end with us.

mod load;
mod proof;
mod sample;
mod screen;
mod sidecar;
mod story;
mod summary;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use self::load::Load;
use self::sample::Sample;
use self::screen::Screen;
use self::story::Story;
use self::summary::Summary;
use super::OutputFormat;
use super::client::Client;
use crate::app::{Config, ControlPlane};

/// Options of `weft demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// No live table: run for `--duration`, print one summary, exit.
    #[arg(long, env = "WEFT_HEADLESS")]
    headless: bool,
    /// How long to run, 5s to 24h. Without it a terminal runs until Ctrl-C, and `--headless` for 20s.
    #[arg(long, env = "WEFT_DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Requests per second, 1 to 2000.
    #[arg(long, env = "WEFT_RATE", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
}

/// Runs the demonstration.
///
/// # Errors
/// If a part of the mesh cannot be started, if it does not become ready, or if any request failed.
pub(super) async fn run(demo: &Demo, output: OutputFormat) -> anyhow::Result<()> {
    let live = !demo.headless && std::io::stdout().is_terminal();
    let duration = match demo.duration {
        Some(duration) => Some(duration),
        None if live => None,
        None => Some(Duration::from_secs(20)),
    };
    let folder = tempfile::Builder::new()
        .prefix("weft-demo-")
        .tempdir()
        .context("making a folder for the demo's state")?;
    let control_plane = ControlPlane::start(Config::for_demo())
        .await
        .context("starting the control plane")?;
    let manifest = format!("{}---\n{}", story::MANIFEST, story::route(0));
    let client = Client::new(&format!("http://{}", control_plane.api_address()), None)?;
    client
        .apply_and_wait(&manifest, "demo", "the sample application")
        .await?;
    let sample = Sample::start(&control_plane, &client, folder.path()).await?;
    let load = Load::start(sample.entrance(), demo.rate);
    let story = Story::start(control_plane.api_address(), duration);
    let screen = Screen::new(live, &control_plane, &sample);

    let interrupted = screen.show_until_done(&load, &story, duration).await;

    let report = load.stop().await;
    let revisions = story.stop().await;
    let mtls = sample.speaks_mtls().await;
    sample.stop().await;
    control_plane.shutdown().await;
    drop(folder);

    let summary = Summary::new(&report, revisions, mtls);
    summary.print(output, interrupted)?;
    ensure!(summary.requests > 0, "no request was answered");
    ensure!(
        summary.failures == 0,
        "{} of {} requests failed",
        summary.failures,
        summary.requests
    );
    ensure!(
        summary.mtls,
        "a sidecar behind the entrance did not take mTLS alone"
    );
    Ok(())
}

/// `20s`, `5m`, `1h30m`: whole numbers with units, from 5 s to 24 h.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = super::duration::parse(text)?;
    let bounds = Duration::from_secs(5)..=Duration::from_secs(24 * 3600);
    if !bounds.contains(&duration) {
        return Err(format!("must be from 5s to 24h, got {text}"));
    }
    Ok(duration)
}
