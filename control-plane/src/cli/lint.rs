//! `weft lint`.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use weft_config::diag::{FieldPath, Finding, Severity};
use weft_config::spiffe::TrustDomain;

use super::manifest::Files;
use super::output::{OutputFormat, count, say};

/// Options of `weft lint`.
#[derive(Debug, Args)]
pub(super) struct Lint {
    #[command(flatten)]
    files: Files,
    /// The trust domain of the mesh.
    #[arg(long, default_value_t, value_name = "NAME")]
    trust_domain: TrustDomain,
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
/// If anything found is a fault; a file that cannot be read is one.
pub(super) fn run(lint: &Lint, output: OutputFormat) -> anyhow::Result<()> {
    let (files, unread) = lint.files.read_what_can_be();
    let manifests = crate::api::check::Manifests::read(&files);
    let objects = manifests.documents.len();
    let mut findings: Vec<Finding> = unread.into_iter().map(unreadable).collect();
    findings.extend(crate::api::check::lint(manifests, &lint.trust_domain));
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
            say!("{word}: {finding}")?;
        }
        if faults == 0 {
            say!(
                "{} in {}, no faults, {}",
                count(objects, "object"),
                count(files.len(), "file"),
                count(findings.len(), "warning")
            )?;
        }
    }
    if faults > 0 {
        let warnings = findings.len() - faults;
        bail!("{}, {}", count(faults, "fault"), count(warnings, "warning"));
    }
    Ok(())
}

/// A file that is not there or cannot be read is a fault among the others.
fn unreadable(message: String) -> Finding {
    Finding {
        severity: Severity::Fault,
        path: FieldPath::root(),
        location: None,
        message,
    }
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
