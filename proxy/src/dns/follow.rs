//! Clusters whose endpoints are names: each is resolved again and again, and keeps its last answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};
use weft_config::cluster::{ClusterName, Discovery, DnsCluster};
use weft_config::endpoint::{
    Address, DnsEndpoint, Endpoint, EndpointSet, Health, LocalityEndpoints,
};

use super::{Answer, Resolver};
use crate::balance::Cluster;

/// Pauses after a failure grow from the cluster's refresh time up to this.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Names are not resolved more often, whatever TTL or configuration say.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The clusters that are followed; each by a task that ends with this value.
#[derive(Debug)]
pub struct Followers {
    resolver: Resolver,
    tasks: JoinSet<()>,
    by_cluster: BTreeMap<ClusterName, AbortHandle>,
    /// Told when a cluster has its first endpoints.
    warmed: Arc<Notify>,
}

impl Followers {
    /// Follows nothing yet; `warmed` is told when a cluster has its first endpoints.
    pub fn new(resolver: Resolver, warmed: Arc<Notify>) -> Self {
        Self {
            resolver,
            tasks: JoinSet::new(),
            by_cluster: BTreeMap::new(),
            warmed,
        }
    }

    /// Follows the names of `cluster` as its configuration says now, instead of what was followed for it before.
    pub fn follow(&mut self, cluster: Arc<Cluster>) {
        self.leave(&cluster.name);
        let config = cluster.config();
        let (dns, take) = match &config.discovery {
            Discovery::StrictDns(dns) => (dns.clone(), Take::All),
            Discovery::LogicalDns(dns) => (dns.clone(), Take::First),
            _ => return,
        };
        let name = cluster.name.clone();
        let task = follow(
            self.resolver.clone(),
            cluster,
            dns,
            take,
            self.warmed.clone(),
        );
        let handle = self.tasks.spawn(task);
        self.by_cluster.insert(name, handle);
    }

    /// Follows the names of `cluster` no longer. Its endpoints stay as they are.
    pub fn leave(&mut self, cluster: &ClusterName) {
        if let Some(task) = self.by_cluster.remove(cluster) {
            task.abort();
        }
        // Ended tasks leave their slot.
        while self.tasks.try_join_next().is_some() {}
    }
}

/// How many addresses of a name become endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    /// Every one (`STRICT_DNS`).
    All,
    /// The first (`LOGICAL_DNS`).
    First,
}

async fn follow(
    resolver: Resolver,
    cluster: Arc<Cluster>,
    dns: DnsCluster,
    take: Take,
    warmed: Arc<Notify>,
) {
    let mut last: Vec<Option<Answer>> = vec![None; dns.endpoints.len()];
    let mut in_force: Option<EndpointSet> = None;
    let mut failures: u32 = 0;
    loop {
        let hosts = dns.endpoints.iter().map(|endpoint| &*endpoint.target.host);
        let answers = join_all(hosts.map(|host| resolver.lookup(host, dns.family))).await;
        let mut failed = false;
        for (last, answer) in last.iter_mut().zip(answers) {
            match answer {
                Ok(answer) => *last = Some(answer),
                Err(error) => {
                    failed = true;
                    // Said when it begins, not again and again.
                    match failures {
                        0 => warn!(cluster = %cluster.name, %error, "the last answers stay"),
                        _ => {
                            debug!(cluster = %cluster.name, %error, failures, "still not resolved")
                        }
                    }
                }
            }
        }
        failures = if failed {
            failures.saturating_add(1)
        } else {
            0
        };
        if last.iter().any(Option::is_some) {
            let set = endpoints(&dns.endpoints, &last, take);
            if in_force.as_ref() != Some(&set) {
                cluster.set_endpoints(&set);
                in_force = Some(set);
                warmed.notify_one();
            }
        }
        sleep_until(Instant::now() + pause(&dns, &last, failures)).await;
    }
}

/// How long to wait before the next questions.
fn pause(dns: &DnsCluster, last: &[Option<Answer>], failures: u32) -> Duration {
    if failures > 0 {
        let doubled = dns
            .refresh
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let longest = FAILURE_PAUSE_MAX.max(dns.refresh);
        let jitter = 0.75 + fastrand::f64() / 2.0;
        return doubled.min(longest).max(PAUSE_MIN).mul_f64(jitter);
    }
    let shortest_ttl = last.iter().flatten().filter_map(|answer| answer.ttl).min();
    let pause = match shortest_ttl {
        // A TTL of zero says nothing about how often to ask.
        Some(ttl) if dns.respect_ttl && !ttl.is_zero() => ttl,
        _ => dns.refresh,
    };
    pause.max(PAUSE_MIN)
}

/// What the answers make: localities as configured, endpoints sorted, so that servers that turn their answers change nothing.
fn endpoints(names: &[DnsEndpoint], answers: &[Option<Answer>], take: Take) -> EndpointSet {
    let mut localities: BTreeMap<_, LocalityEndpoints> = BTreeMap::new();
    for (name, answer) in names.iter().zip(answers) {
        let addresses = answer.iter().flat_map(|answer| &answer.addresses).copied();
        let addresses: BTreeSet<_> = match take {
            Take::All => addresses.collect(),
            Take::First => addresses.take(1).collect(),
        };
        let key = (name.priority, name.locality.clone());
        let locality = localities.entry(key).or_insert_with(|| LocalityEndpoints {
            locality: name.locality.clone(),
            priority: name.priority,
            weight: 1,
            endpoints: Vec::new(),
        });
        for address in addresses {
            locality.endpoints.push(Endpoint {
                address: Address::Socket(SocketAddr::new(address, name.target.port)),
                weight: name.weight,
                health: Health::Healthy,
                hostname: name.target.host.clone(),
                metadata: BTreeMap::new(),
                socket_labels: name.socket_labels.clone(),
            });
        }
    }
    EndpointSet {
        localities: localities.into_values().collect(),
        overprovisioning_percent: 140,
        drop_per_million: 0,
    }
}

#[cfg(test)]
mod tests;
