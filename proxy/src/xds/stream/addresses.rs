//! Where a server may be, one address after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::cluster::DnsFamily;
use weft_config::endpoint::Address;

use super::Target;
use crate::balance::{Cluster, EndpointId, PickContext};
use crate::dns::Resolver;
use crate::tls::Inside;
use crate::xds::channel::Way;

/// The next address to try.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    attempts: usize,
    failed: Vec<EndpointId>,
}

impl Addresses {
    pub(crate) async fn next(
        &mut self,
        target: &Target,
        resolver: &Resolver,
        rng: &mut fastrand::Rng,
    ) -> Result<Way, String> {
        match target {
            Target::Host { host, port } => {
                let answer = resolver.lookup(host, DnsFamily::All).await;
                let found = answer.map_err(|error| error.to_string())?.addresses;
                let index = self.attempts.checked_rem(found.len()).unwrap_or(0);
                self.attempts += 1;
                let ip = found
                    .get(index)
                    .ok_or_else(|| format!("{host} has no address"))?;
                Ok(Way {
                    address: Address::Socket(SocketAddr::new(*ip, *port)),
                    dial: None,
                })
            }
            Target::Clusters(clusters) => self.pick(clusters, rng),
        }
    }

    /// An endpoint that did not fail yet, of the first cluster that has one; then all over again.
    fn pick(&mut self, clusters: &[Arc<Cluster>], rng: &mut fastrand::Rng) -> Result<Way, String> {
        for _round in 0..2 {
            for cluster in clusters {
                let picked = cluster.pick(&mut PickContext {
                    now: Instant::now(),
                    rng,
                    avoid: &self.failed,
                    original_dst: None,
                });
                let Ok(endpoint) = picked else { continue };
                if self.failed.contains(&endpoint.id) {
                    continue;
                }
                self.failed.push(endpoint.id);
                let (_, dial) = cluster.dial(&endpoint, Inside::Http2);
                return Ok(Way {
                    address: endpoint.address.clone(),
                    dial: Some(dial),
                });
            }
            self.failed.clear();
        }
        let names: Vec<_> = clusters.iter().map(|cluster| &*cluster.name).collect();
        Err(format!("no endpoint in cluster {}", names.join(", ")))
    }
}
