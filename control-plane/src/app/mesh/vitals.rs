//! What the control plane counts and measures of itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use weft_config::diag::Severity;
use weft_config::gateway_api::Resources;

use super::{Directory, Mesh};
use crate::accept::Bound;
use crate::identity::IssueCounters;
use crate::source::files;
use crate::store::Writes;
use crate::xds::XdsCounters;

/// What is counted and measured.
#[derive(Debug)]
pub(crate) struct Vitals<'a> {
    /// Connected proxies by state: synced, pending, refused.
    pub(crate) proxies: BTreeMap<&'static str, usize>,
    /// The connections of each server.
    pub(crate) connections: Vec<&'a Bound>,
    /// Open streams.
    pub(crate) streams: usize,
    /// Of the xDS server.
    pub(crate) counters: &'a XdsCounters,
    /// The newest revision stored.
    pub(crate) revision: u64,
    /// The revision that is served; `None`: nothing is yet.
    pub(crate) revision_served: Option<u64>,
    /// Counts snapshots.
    pub(crate) snapshot: u64,
    /// Objects in force.
    pub(crate) objects: u64,
    /// Services among them.
    pub(crate) services: u64,
    /// Registered workloads.
    pub(crate) workloads: u64,
    /// Resources that proxies would refuse.
    pub(crate) unservable: u64,
    /// Time spent on translating, and how often.
    pub(crate) translations: (Duration, u64),
    /// Services made anew.
    pub(crate) translated_services: u64,
    /// What writing revisions has cost.
    pub(crate) writes: Writes,
    /// What issuing certificates has come to.
    pub(crate) issuing: &'a IssueCounters,
    /// Until when the authority can sign, in seconds since 1970.
    pub(crate) authority_expires: i64,
}

/// The files that have faults and of which nothing is in force.
pub(super) fn unread(directory: Option<&Directory>, resources: &Resources) -> Vec<String> {
    let findings = directory.map(|it| it.borrow().clone()).unwrap_or_default();
    let faults = findings
        .into_iter()
        .filter(|it| it.severity == Severity::Fault);
    let files = faults.filter_map(|it| Some(it.location?.file));
    let mut files: Vec<String> = files
        .filter(|file| files::is_manifest(Path::new(file)))
        .filter(|file| !resources.iter().any(|it| files::owner(it) == Some(file)))
        .collect();
    files.sort();
    files.dedup();
    files
}

impl Mesh {
    /// A file of the watched directory that has had faults since the start, and of which nothing was ever in force: whom it would keep
    /// out gets in, so proxies had better wait. One that comes later is told of and holds up nobody.
    pub(crate) fn unread_since_start(&self) -> Option<String> {
        let now = unread(self.directory.as_ref(), &self.resources());
        let mut since = self.unread.iter();
        since.find(|file| now.contains(file)).cloned()
    }
}

impl Mesh {
    /// What is counted and measured, now.
    pub(crate) fn vitals(&self) -> Vitals<'_> {
        let mut proxies: BTreeMap<_, _> = ["synced", "pending", "refused"].map(|it| (it, 0)).into();
        for proxy in self.board.proxies() {
            *proxies.entry(proxy.state).or_default() += 1;
        }
        let view = self.view.borrow();
        Vitals {
            proxies,
            connections: vec![self.xds.bound(), &self.api_bound],
            streams: self.xds.streams(),
            counters: self.xds.counters(),
            revision: self.store.current().revision,
            revision_served: (view.serial > 0).then_some(view.state.revision),
            snapshot: view.serial,
            objects: view.state.resources.len() as u64,
            services: view.index.services().len() as u64,
            workloads: view.discovered.workloads.len() as u64,
            unservable: view.refused.len() as u64,
            translations: (view.translations.time, view.translations.count),
            translated_services: view.translations.services,
            writes: self.store.writes(),
            issuing: self.issuance().counters(),
            authority_expires: self.authority().current().not_after().as_second(),
        }
    }
}

#[cfg(test)]
impl<'a> Vitals<'a> {
    /// Of a control plane that has done nothing.
    pub(crate) fn empty(counters: &'a XdsCounters, issuing: &'a IssueCounters) -> Self {
        Self {
            proxies: BTreeMap::new(),
            connections: Vec::new(),
            streams: 0,
            counters,
            revision: 0,
            revision_served: None,
            snapshot: 0,
            objects: 0,
            services: 0,
            workloads: 0,
            unservable: 0,
            translations: (Duration::ZERO, 0),
            translated_services: 0,
            writes: Writes::default(),
            issuing,
            authority_expires: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::app::{Config, ControlPlane};

    #[tokio::test]
    async fn a_file_of_which_nothing_was_ever_in_force_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let deny = |rules: &str| {
            format!(
                "apiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: p}}\nspec: {{action: Deny, rules: {rules}}}\n"
            )
        };
        // Refused; good; refused again, with what it said before in force.
        for (rules, waits) in [("[]", true), ("[{}]", false), ("[]", false)] {
            std::fs::write(manifests.join("deny.yaml"), deny(rules)).unwrap();
            let config = Config {
                store: Some(folder.path().join("store.redb")),
                config_dir: Some(manifests.clone()),
                ..Config::for_demo()
            };
            let plane = ControlPlane::start(config).await.unwrap();
            let unread = plane.mesh().unread_since_start();
            assert_eq!(unread.is_some(), waits, "{rules}: {unread:?}");
            plane.shutdown().await;
        }
    }
}
