//! What is wrong between objects that are each in order: conflicts, dangling references, rules that never win.
//!
//! Pure: a set of objects in, remarks out. `weft lint` runs it on files, the control plane on what it is about to store.

mod policies;
mod references;
mod routes;
mod services;

use std::collections::BTreeMap;
use std::sync::Arc;

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
    let mut found = Remarks {
        resources,
        remarks: Vec::new(),
    };
    for object in resources.iter() {
        references::check(&mut found, object);
        services::check(&mut found, object);
        policies::check(&mut found, object);
    }
    routes::check(&mut found);
    found.remarks.sort_by(|a, b| a.object.cmp(&b.object));
    found.remarks
}

/// Judges documents together with the objects that are there already, which they replace by key. Only what concerns the documents is
/// reported, with its place; an object that stands in two documents is a fault.
pub fn lint_documents(documents: &[Document], present: &Resources) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut resources = present.clone();
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
        resources.insert(Arc::clone(&document.object));
    }
    for remark in lint(&resources) {
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

/// What has been found so far.
struct Remarks<'r> {
    resources: &'r Resources,
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
