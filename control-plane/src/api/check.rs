//! Reading manifests: the checks that `apply`, `diff` and `lint` share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_config::diag::{FieldPath, Finding, Severity};
use weft_config::gateway_api::{self, Document, ObjectKey, Resources};
use weft_config::lint::{Concern, Remark, foreign_callers, lint_concerned};
use weft_config::spiffe::TrustDomain;

use super::model::SourceFile;
use crate::store::ObjectChange;
use crate::translate::{Names, Translator, Unservable};

/// Objects of several files, with everything found while they were read.
pub(crate) struct Manifests {
    /// What could be read.
    pub(crate) documents: Vec<Document>,
    /// All faults and warnings, by place.
    pub(crate) findings: Vec<Finding>,
    /// Names of what could not be read.
    refused: Vec<ObjectKey>,
}

impl Manifests {
    /// Reads all files.
    pub(crate) fn read(files: &[SourceFile]) -> Self {
        let mut whole = Self {
            documents: Vec::new(),
            findings: Vec::new(),
            refused: Vec::new(),
        };
        for file in files {
            let parsed = gateway_api::parse(&file.name, &file.text);
            whole.documents.extend(parsed.documents);
            whole.findings.extend(parsed.findings);
            whole.refused.extend(parsed.refused);
        }
        whole
    }

    /// The faults, as text; an object that stands there twice is one.
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Fault);
        let twice = weft_config::lint::duplicates(&self.documents);
        faults.chain(&twice).map(Finding::to_string).collect()
    }
}

/// Everything that can be said about files without a control plane, by place.
pub(crate) fn lint(manifests: Manifests, trust_domain: &TrustDomain) -> Vec<Finding> {
    let mut findings = manifests.findings;
    findings.extend(manifests.documents.iter().flat_map(|document| {
        let foreign = foreign_callers(&document.object, trust_domain).into_iter();
        foreign.map(|remark| Finding {
            location: Some(document.source.locate(&remark.finding.path)),
            ..remark.finding
        })
    }));
    findings.extend(weft_config::lint::lint_documents(
        &manifests.documents,
        &manifests.refused,
        &Resources::new(),
    ));
    findings.extend(unservable(&manifests.documents));
    findings.sort_by(|a, b| a.location.cmp(&b.location));
    findings
}

/// What lint says of a change from `before` to `after`: all of it about the documents, at their places, and what it would not have
/// said before about other objects.
pub(crate) fn warnings(
    documents: &[Document],
    changes: &[ObjectChange],
    (before, after): (&Resources, &Resources),
    trust_domain: &TrustDomain,
) -> Vec<String> {
    let documents: BTreeMap<ObjectKey, &Document> = documents
        .iter()
        .map(|document| (document.object.key(), document))
        .collect();
    let changed: BTreeSet<ObjectKey> = changes.iter().map(|change| change.key.clone()).collect();
    let concern = Concern::of(&changed, &[before, after]);
    // A message may differ by what it suggests, so the place says what is known.
    let place = |it: &Remark| (it.object.clone(), it.finding.path.as_str().to_owned());
    let known = lint_concerned(before, &concern);
    let known: BTreeSet<_> = known.iter().map(place).collect();
    let objects = changes.iter().filter_map(|change| change.after.as_deref());
    let foreign = objects.flat_map(|object| foreign_callers(object, trust_domain));
    let remarks = lint_concerned(after, &concern).into_iter().chain(foreign);
    let told = remarks.filter_map(|remark| match documents.get(&remark.object) {
        Some(document) => {
            let location = Some(document.source.locate(&remark.finding.path));
            let finding = Finding {
                location,
                ..remark.finding
            };
            Some(finding.to_string())
        }
        None if known.contains(&place(&remark)) => None,
        None => Some(format!("{}: {}", remark.object, remark.finding)),
    });
    told.collect()
}

/// What proxies would refuse of what comes of these documents, at the place of the first that brings it about.
fn unservable(documents: &[Document]) -> Vec<Finding> {
    let objects = documents.iter().map(|it| Arc::clone(&it.object));
    let state: Resources = objects.collect();
    let faults = Translator::new(Names::default()).judge(&state);
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
