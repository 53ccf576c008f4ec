//! Reading manifests: the checks that `apply`, `diff` and `lint` share.

use weft_config::diag::{Finding, Severity};
use weft_config::gateway_api::{self, Document, Resources};

use super::model::SourceFile;

/// Objects of several files, with everything found while they were read.
pub(crate) struct Manifests {
    /// What could be read.
    pub(crate) documents: Vec<Document>,
    /// All faults and warnings, by place.
    pub(crate) findings: Vec<Finding>,
}

impl Manifests {
    /// Reads all files.
    pub(crate) fn read(files: &[SourceFile]) -> Self {
        let mut whole = Self {
            documents: Vec::new(),
            findings: Vec::new(),
        };
        for file in files {
            let parsed = gateway_api::parse(&file.name, &file.text);
            whole.documents.extend(parsed.documents);
            whole.findings.extend(parsed.findings);
        }
        whole
    }

    /// The faults, as text.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Fault);
        faults.map(Finding::to_string).collect()
    }
}

/// Everything that can be said about files without a control plane, by place.
pub(crate) fn lint(files: &[SourceFile]) -> Vec<Finding> {
    let manifests = Manifests::read(files);
    let mut findings = manifests.findings;
    findings.extend(weft_config::lint::lint_documents(
        &manifests.documents,
        &Resources::new(),
    ));
    findings.sort_by(|a, b| a.location.cmp(&b.location));
    findings
}
