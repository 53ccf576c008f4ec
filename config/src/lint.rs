//! What is wrong between objects that are each in order: conflicts, dangling references, rules that never win.
//!
//! Pure: a set of objects in, remarks out. `weft lint` runs it on files, the control plane on what it is about to store.

mod access;
mod concern;
mod foreign;
mod policies;
mod references;
mod routes;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::concern::Concern;
pub use self::foreign::foreign_callers;
use crate::diag::{FieldPath, Finding, Severity};
use crate::gateway_api::{Document, Kind, Object, ObjectKey, Resources, Source};

/// A finding about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The object.
    pub object: ObjectKey,
    /// What was found in it.
    pub finding: Finding,
}

/// Judges all objects of `resources`, in the order of their keys. Nothing here refuses an object: what fails, fails visibly and
/// alone, so all of it are warnings.
pub fn lint(resources: &Resources) -> Vec<Remark> {
    judge(resources, &[], |_| true)
}

/// Judges as [`lint`] does, but only the objects that `concern` includes: what a change brings about costs as much as the change.
pub fn lint_concerned(resources: &Resources, concern: &Concern) -> Vec<Remark> {
    judge(resources, &[], |object| concern.includes(object))
}

fn judge(
    resources: &Resources,
    refused: &[ObjectKey],
    wanted: impl Fn(&Object) -> bool,
) -> Vec<Remark> {
    let mut found = Remarks {
        resources,
        refused,
        hints: 0,
        remarks: Vec::new(),
    };
    let mut judged = BTreeSet::new();
    for object in resources.iter().filter(|object| wanted(object)) {
        judged.insert(object.key());
        references::check(&mut found, object);
        services::check(&mut found, object);
        policies::check(&mut found, object);
        access::check(&mut found, object);
    }
    routes::check(&mut found);
    found.remarks.retain(|it| judged.contains(&it.object));
    found.remarks.sort_by(|a, b| a.object.cmp(&b.object));
    found.remarks
}

/// Judges documents together with the objects that are there already, which they replace by key. Only what concerns the documents is
/// reported, with its place; an object that stands in two documents is a fault. What refers to one of `refused`, which are written
/// down but have faults, is not said to refer to nothing.
pub fn lint_documents(
    documents: &[Document],
    refused: &[ObjectKey],
    present: &Resources,
) -> Vec<Finding> {
    let (sources, mut findings) = by_key(documents);
    let mut resources = present.clone();
    for document in documents.iter().rev() {
        resources.insert(Arc::clone(&document.object)); // the first of those with one key stays
    }
    for remark in judge(&resources, refused, |_| true) {
        if let Some(source) = sources.get(&remark.object) {
            let location = Some(source.locate(&remark.finding.path));
            findings.push(Finding {
                location,
                ..remark.finding
            });
        }
    }
    findings.sort_by(|a, b| a.location.cmp(&b.location));
    findings
}

/// Objects that stand in two documents, each with both places.
pub fn duplicates(documents: &[Document]) -> Vec<Finding> {
    by_key(documents).1
}

/// Where each object stands first, and a fault for each further place.
fn by_key(documents: &[Document]) -> (BTreeMap<ObjectKey, &Source>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut sources: BTreeMap<ObjectKey, &Source> = BTreeMap::new();
    for document in documents {
        let key = document.object.key();
        if let Some(first) = sources.get(&key) {
            let path = FieldPath::root().field("metadata").field("name");
            let before = first.locate(&path);
            findings.push(Finding {
                severity: Severity::Fault,
                location: Some(document.source.locate(&path)),
                path,
                message: format!("{key} stands already at {before}"),
            });
            continue;
        }
        sources.insert(key, &document.source);
    }
    (sources, findings)
}

/// What has been found so far.
struct Remarks<'r> {
    resources: &'r Resources,
    refused: &'r [ObjectKey],
    /// Near names that were looked for.
    hints: usize,
    remarks: Vec<Remark>,
}

impl Remarks<'_> {
    fn warn(&mut self, object: ObjectKey, path: FieldPath, message: String) {
        self.remarks.push(Remark {
            object,
            finding: Finding {
                severity: Severity::Warning,
                path,
                location: None,
                message,
            },
        });
    }

    /// Whether a route of the namespace has faults, so that what it refers to is not known.
    fn has_refused_route(&self, namespace: &str) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|key| key.kind.is_route() && key.namespace == namespace)
    }

    /// Notes that `missing`, which `object` names at `path`, is not there.
    fn warn_missing(
        &mut self,
        object: ObjectKey,
        path: FieldPath,
        missing: &ObjectKey,
        consequence: &str,
    ) {
        if self.refused.contains(missing) {
            return; // its own faults are told
        }
        self.hints += 1;
        let hint = match self.hints > HINTS_MAX {
            true => String::new(),
            false => self.hint(missing),
        };
        let hint = match consequence {
            "" => hint.as_str(),
            _ => hint.trim_end_matches('?'),
        };
        self.warn(
            object,
            path,
            format!("there is no {missing}{hint}{consequence}"),
        );
    }

    /// `, did you mean …?`: another object of the kind in the namespace, or one of the same name elsewhere.
    fn hint(&self, missing: &ObjectKey) -> String {
        let names = self
            .resources
            .of_kind(missing.kind)
            .filter(|object| object.metadata.namespace == missing.namespace)
            .map(|object| object.metadata.name.as_str());
        if let Some(near) = crate::diag::near_name(&missing.name, names) {
            return format!(", did you mean `{near}`?");
        }
        let other = match missing.kind {
            Kind::Service => Kind::MeshService,
            Kind::MeshService => Kind::Service,
            kind => kind,
        };
        let twin = ObjectKey::new(other, &missing.namespace, &missing.name);
        if other != missing.kind && self.resources.contains(&twin) {
            return format!(", but there is a {twin}");
        }
        let elsewhere = self
            .resources
            .of_kind(missing.kind)
            .find(|object| object.metadata.name == missing.name);
        elsewhere.map_or(String::new(), |object| {
            format!(", but there is a {}", object.key())
        })
    }
}

/// Near names that are looked for: each costs a look at all names of its kind.
const HINTS_MAX: usize = 100;

fn spec() -> FieldPath {
    FieldPath::root().field("spec")
}

fn rule_path(index: usize) -> FieldPath {
    spec().field("rules").index(index)
}

/// Parents of a route; none of other kinds.
fn parents_of(object: &Object) -> &[crate::gateway_api::ParentRef] {
    use crate::gateway_api::Spec;
    match &object.spec {
        Spec::HttpRoute(route) => &route.parent_refs,
        Spec::GrpcRoute(route) => &route.parent_refs,
        Spec::TcpRoute(route) => &route.parent_refs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
