//! Reading manifests: the checks that `apply`, `diff` and `lint` share.

use std::sync::Arc;

use weft_config::diag::{FieldPath, Finding, Severity};
use weft_config::gateway_api::{self, Document, ObjectKey, Resources};

use super::model::SourceFile;
use crate::translate::{Translator, Unservable};

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
    findings.extend(unservable(&manifests.documents));
    findings.sort_by(|a, b| a.location.cmp(&b.location));
    findings
}

/// What proxies would refuse of what comes of these documents, at the place of the first that brings it about.
fn unservable(documents: &[Document]) -> Vec<Finding> {
    let objects = documents.iter().map(|it| Arc::clone(&it.object));
    let state: Resources = objects.collect();
    let faults = Translator::new("cluster.local".into()).judge(&state);
    let finding = |fault: &Unservable| {
        let path = FieldPath::root();
        let culprit = |key: &ObjectKey| documents.iter().find(|it| it.object.key() == *key);
        // A service is rarely to blame for what is attached to it.
        let routes_first = fault.causes.iter().filter(|key| key.kind.is_route());
        let first = routes_first.chain(&fault.causes).find_map(culprit);
        Finding {
            severity: Severity::Fault,
            location: first.map(|document| document.source.locate(&path)),
            path,
            message: fault.to_string(),
        }
    };
    faults.iter().map(finding).collect()
}
