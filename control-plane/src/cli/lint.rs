//! `weft lint`.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use weft_config::diag::{Finding, Severity};

use super::manifest::Files;
use super::output::{OutputFormat, count};

/// Options of `weft lint`.
#[derive(Debug, Args)]
pub(super) struct Lint {
    #[command(flatten)]
    files: Files,
}

/// One finding, as JSON and YAML have it.
#[derive(Serialize)]
struct Line<'a> {
    severity: &'static str,
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
    path: &'a str,
    message: &'a str,
}

/// Checks files without a control plane.
///
/// # Errors
/// If a file cannot be read, or anything found is a fault.
pub(super) fn run(lint: &Lint, output: OutputFormat) -> anyhow::Result<()> {
    let files = lint.files.read()?;
    let findings = crate::api::check::lint(&files);
    let faults = findings
        .iter()
        .filter(|f| f.severity == Severity::Fault)
        .count();
    let lines: Vec<Line<'_>> = findings.iter().map(Line::new).collect();
    if !output.print_structured(&lines)? {
        for finding in &findings {
            let word = if finding.severity == Severity::Fault {
                "fault"
            } else {
                "warning"
            };
            println!("{word}: {finding}");
        }
        if faults == 0 {
            println!(
                "{}, no faults, {}",
                count(files.len(), "file"),
                count(findings.len(), "warning")
            );
        }
    }
    if faults > 0 {
        let warnings = findings.len() - faults;
        bail!("{}, {}", count(faults, "fault"), count(warnings, "warning"));
    }
    Ok(())
}

impl<'a> Line<'a> {
    fn new(finding: &'a Finding) -> Self {
        let location = finding.location.as_ref();
        Self {
            severity: if finding.severity == Severity::Fault {
                "fault"
            } else {
                "warning"
            },
            file: location.map(|l| l.file.as_str()),
            line: location.map(|l| l.line),
            column: location.map(|l| l.column),
            path: finding.path.as_str(),
            message: &finding.message,
        }
    }
}
