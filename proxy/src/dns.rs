//! The one wrapper around the resolver: names become addresses, and clusters of names follow them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use weft_config::cluster::DnsFamily;

mod follow;

pub use follow::Followers;

/// Resolves names as the system is configured to; cheap to clone.
#[derive(Clone, Default)]
pub struct Resolver {
    /// One for each family: the order of questions belongs to the resolver.
    by_family: Arc<Mutex<BTreeMap<u8, TokioResolver>>>,
}

/// Addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the answer; never empty.
    pub addresses: Vec<IpAddr>,
    /// How long the answer may be used; `None` for what needed no answer.
    pub ttl: Option<Duration>,
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The system's configuration cannot be used.
    #[error("the system's resolver configuration cannot be used: {0}")]
    Configuration(String),
    /// No server gave an answer with addresses.
    #[error("resolving {host}: {what}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver says.
        what: String,
    },
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// As `/etc/resolv.conf` and `/etc/hosts` say; they are read at the first question.
    pub fn system() -> Self {
        Self::default()
    }

    /// The addresses of `host`. An address is its own answer.
    ///
    /// # Errors
    /// If no server has an address of the family asked for.
    pub async fn lookup(&self, host: &str, family: DnsFamily) -> Result<Answer, DnsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Answer {
                addresses: vec![address],
                ttl: None,
            });
        }
        let resolver = self.of(family)?;
        let failed = |what: String| DnsError::Failed {
            host: host.to_owned(),
            what,
        };
        let found = resolver
            .lookup_ip(host)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let addresses: Vec<_> = found.iter().collect();
        if addresses.is_empty() {
            return Err(failed("the answer has no address".to_owned()));
        }
        let records = found.as_lookup().answers().iter();
        let ttl = records.map(|record| record.ttl).min();
        Ok(Answer {
            addresses,
            ttl: ttl.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }

    fn of(&self, family: DnsFamily) -> Result<TokioResolver, DnsError> {
        let (key, strategy) = match family {
            DnsFamily::Auto => (0, LookupIpStrategy::Ipv6thenIpv4),
            DnsFamily::V4Only => (1, LookupIpStrategy::Ipv4Only),
            DnsFamily::V6Only => (2, LookupIpStrategy::Ipv6Only),
            DnsFamily::V4Preferred => (3, LookupIpStrategy::Ipv4thenIpv6),
            DnsFamily::All => (4, LookupIpStrategy::Ipv4AndIpv6),
        };
        let mut by_family = self
            .by_family
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = by_family.get(&key) {
            return Ok(resolver.clone());
        }
        let wrong = |error: &dyn std::fmt::Display| DnsError::Configuration(error.to_string());
        let mut builder = TokioResolver::builder_tokio().map_err(|error| wrong(&error))?;
        let options = builder.options_mut();
        options.ip_strategy = strategy;
        options.timeout = Duration::from_secs(2);
        options.try_tcp_on_error = true;
        // Who asks again wants to know again: how often is the cluster's business.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| wrong(&error))?;
        by_family.insert(key, resolver.clone());
        Ok(resolver)
    }
}

#[cfg(test)]
mod tests;
