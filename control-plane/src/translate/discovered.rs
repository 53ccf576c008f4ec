//! What was found out, not written: registered workloads and answers of the DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::xds::Registration;

/// Everything found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovered {
    /// Workloads that registered themselves.
    pub workloads: Vec<Arc<Registration>>,
    /// Answers of the DNS; a question without an answer yet is missing.
    pub dns: Arc<BTreeMap<DnsQuestion, DnsAnswer>>,
}

/// A question to the DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsQuestion {
    /// The name.
    pub host: String,
    /// SRV rather than A and AAAA.
    pub srv: bool,
}

/// The answer last heard. A failing look-up keeps the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAnswer {
    /// What was found, in a stable order.
    pub records: Vec<DnsRecord>,
}

/// One endpoint found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
