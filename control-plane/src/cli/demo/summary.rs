//! The one result that `weft demo --headless` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::load::Counts;
use super::story::State;
use crate::cli::OutputFormat;
use crate::cli::output::{count, say};

/// The summary; its JSON form is stable.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Requests sent to the storefront that were answered or failed.
    pub requests: u64,
    /// Those that were not answered with 200 by every service on their way.
    pub failures: u64,
    /// Why the first five of them failed.
    pub first_failures: Vec<String>,
    /// Seconds of traffic.
    pub duration_seconds: f64,
    /// Answers by service, then by version.
    pub services: BTreeMap<String, BTreeMap<String, u64>>,
    /// Latency at the entrance, milliseconds.
    pub latency_ms: Latency,
    /// Revisions that every sidecar acknowledged while traffic flowed.
    pub revisions: Vec<u64>,
    /// Percentage of `reviews` on version 2 at the end.
    pub canary_percent: u32,
    /// What went wrong with the canary, if anything did.
    pub trouble: Option<String>,
    /// Whether all sidecars but the one where traffic enters took mTLS of others, and refused plain text.
    pub mtls: bool,
}

/// Quantiles.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Summary {
    pub(super) fn new(counts: &Counts, story: State, mtls: bool) -> Self {
        let mut services: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for ((service, version), count) in &counts.served {
            services
                .entry(service.clone())
                .or_default()
                .insert(version.clone(), *count);
        }
        let ms = |quantile| millis(counts.latency.value_at_quantile(quantile));
        Self {
            requests: counts.requests,
            failures: counts.failures,
            first_failures: counts.first_failures.clone(),
            duration_seconds: counts.elapsed.as_secs_f64(),
            services,
            latency_ms: Latency {
                p50: ms(0.5),
                p90: ms(0.9),
                p99: ms(0.99),
                max: millis(counts.latency.max()),
            },
            revisions: story.revisions,
            canary_percent: story.percent,
            trouble: story.trouble,
            mtls,
        }
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// If standard output is gone.
    pub(super) fn print(&self, output: OutputFormat, interrupted: bool) -> anyhow::Result<()> {
        if output.print_structured(self)? {
            return Ok(());
        }
        let ended = if interrupted {
            "interrupted after"
        } else {
            "ran"
        };
        say!(
            "{ended} {:.1} s: {} requests, {} failures",
            self.duration_seconds,
            self.requests,
            self.failures
        )?;
        for (service, versions) in &self.services {
            let counts: Vec<String> = versions
                .iter()
                .map(|(version, count)| format!("{version} {count}"))
                .collect();
            say!("  {service:<12} {}", counts.join(", "))?;
        }
        let latency = &self.latency_ms;
        say!(
            "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.2}",
            latency.p50,
            latency.p90,
            latency.p99,
            latency.max
        )?;
        say!(
            "canary at {} %, {} acknowledged by all, mTLS {}",
            self.canary_percent,
            count(self.revisions.len(), "revision"),
            if self.mtls { "on" } else { "off" }
        )?;
        for why in self.first_failures.iter().chain(&self.trouble) {
            say!("failed: {why}")?;
        }
        Ok(())
    }
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
