//! What was found out, not written: registered workloads and answers of the DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_config::gateway_api::{ServiceName, ServiceRef};

use super::endpoints;
use super::index::Index;
use crate::xds::Registration;

/// Everything found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovered {
    /// Workloads that registered themselves.
    pub workloads: Vec<Arc<Registration>>,
    /// Answers of the DNS; a question without an answer yet is missing.
    pub dns: Arc<BTreeMap<DnsQuestion, DnsAnswer>>,
}

impl Discovered {
    /// The services of `index` whose endpoints may differ from those with what was found out `before`.
    pub(crate) fn services_that_differ(&self, before: &Self, index: &Index) -> Vec<ServiceName> {
        let moved = difference(&before.workloads, &self.workloads);
        let same_answers = Arc::ptr_eq(&before.dns, &self.dns) || before.dns == self.dns;
        if moved.is_empty() && same_answers {
            return Vec::new();
        }
        let differs = |service: &ServiceRef| {
            let member =
                |it: &Arc<Registration>| endpoints::is_member(index, service, &it.workload);
            let answered = || {
                let question = endpoints::question(index, service).map(|(question, _)| question);
                question.is_some_and(|it| before.dns.get(&it) != self.dns.get(&it))
            };
            moved.iter().any(member) || (!same_answers && answered())
        };
        let services = index.services().iter();
        let services = services.filter(|(_, service)| differs(service));
        services.map(|(name, _)| name.clone()).collect()
    }
}

/// Workloads that are in one list and not, or not the same, in the other.
fn difference(before: &[Arc<Registration>], after: &[Arc<Registration>]) -> Vec<Arc<Registration>> {
    let by_node = |list: &[Arc<Registration>]| -> BTreeMap<Arc<str>, Arc<Registration>> {
        let pairs = list
            .iter()
            .map(|it| (Arc::clone(&it.node_id), Arc::clone(it)));
        pairs.collect()
    };
    let (old, new) = (by_node(before), by_node(after));
    let gone_or_changed = old.iter().filter(|(node, it)| new.get(*node) != Some(it));
    let come_or_changed = new.iter().filter(|(node, it)| old.get(*node) != Some(it));
    let moved = gone_or_changed.chain(come_or_changed);
    moved.map(|(_, it)| Arc::clone(it)).collect()
}

/// A question to the DNS.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DnsQuestion {
    /// The name.
    pub host: String,
    /// SRV rather than A and AAAA.
    pub srv: bool,
}

/// The answer last heard. A failing look-up keeps the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DnsAnswer {
    /// What was found, in a stable order.
    pub records: Vec<DnsRecord>,
}

/// One endpoint found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DnsRecord {
    /// SRV priority; 0 for addresses.
    pub priority: u16,
    /// Its address.
    pub address: IpAddr,
    /// SRV port; `None` for addresses.
    pub port: Option<u16>,
    /// SRV weight, at least 1.
    pub weight: u16,
}
