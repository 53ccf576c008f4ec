//! Token buckets shared by all workers: one for the listener or route, and one per key of a descriptor.

mod keyed;

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use weft_config::policy::{LocalRateLimit, RateLimitDescriptor, RateLimitKey, TokenBucket};
use weft_config::route::RequestHead;

use self::keyed::KeyedBuckets;
use super::fault::falls;
use crate::telemetry::{Limit, LimitStats, Metrics, RateLimitStats};

/// Enforces one configured limit.
#[derive(Debug)]
pub struct LocalRateLimiter {
    config: Arc<LocalRateLimit>,
    epoch: Instant,
    bucket: Option<(Rate, AtomicU64)>,
    descriptors: Box<[Descriptor]>,
    hasher: foldhash::quality::RandomState,
    stats: Arc<RateLimitStats>,
    limits: Arc<LimitStats>,
}

#[derive(Debug)]
struct Descriptor {
    rate: Rate,
    buckets: KeyedBuckets,
}

/// What a limit says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// It may pass.
    Allow,
    /// It may not (flag `RL`).
    Deny {
        /// When the next one would pass.
        retry_after: Duration,
        /// Status of the refusal.
        status: u16,
    },
}

impl LocalRateLimiter {
    /// A limiter with full buckets.
    pub fn new(config: Arc<LocalRateLimit>, metrics: &Metrics) -> Self {
        let bucket = config
            .bucket
            .map(|bucket| (Rate::new(bucket), AtomicU64::new(0)));
        let descriptors = config.descriptors.iter().map(|descriptor| Descriptor {
            rate: Rate::new(descriptor.bucket),
            buckets: KeyedBuckets::new(config.keys_max),
        });
        Self {
            epoch: Instant::now(),
            bucket,
            descriptors: descriptors.collect(),
            hasher: foldhash::quality::RandomState::default(),
            stats: metrics.rate_limit(&config.name),
            limits: metrics.limits.clone(),
            config,
        }
    }

    /// What it was made for; an equal configuration can keep this limiter, and so its buckets.
    pub fn config(&self) -> &Arc<LocalRateLimit> {
        &self.config
    }

    /// Takes a token for this request: from the bucket of the first descriptor whose keys the request has, then
    /// from the common one.
    pub fn check<H: RequestHead + ?Sized>(
        &self,
        head: &H,
        peer: IpAddr,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> RateDecision {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1);
        let taken = self
            .take_keyed(head, peer, now)
            .and_then(|()| self.take_common(now));
        let Err(wait) = taken else {
            self.stats.allowed.inc();
            return RateDecision::Allow;
        };
        if !falls(rng, self.config.enforced_per_million) {
            self.stats.not_enforced.inc();
            return RateDecision::Allow;
        }
        self.stats.denied.inc();
        RateDecision::Deny {
            retry_after: wait,
            status: self.config.status,
        }
    }

    fn take_keyed<H: RequestHead + ?Sized>(
        &self,
        head: &H,
        peer: IpAddr,
        now: u64,
    ) -> Result<(), Duration> {
        let configured = self.config.descriptors.iter().zip(&self.descriptors);
        for (config, descriptor) in configured {
            if let Some(key) = self.key(config, head, peer) {
                let gave_up = || self.limits.hit(Limit::RateLimitKeys);
                let bucket = descriptor.buckets.bucket(key, now, gave_up);
                return bucket.map_or(Ok(()), |bucket| descriptor.rate.take(bucket, now));
            }
        }
        Ok(())
    }

    fn take_common(&self, now: u64) -> Result<(), Duration> {
        match &self.bucket {
            Some((rate, bucket)) => rate.take(bucket, now),
            None => Ok(()),
        }
    }

    /// The key of this request under a descriptor; `None` where it lacks a part of it.
    fn key<H: RequestHead + ?Sized>(
        &self,
        descriptor: &RateLimitDescriptor,
        head: &H,
        peer: IpAddr,
    ) -> Option<u64> {
        let mut hasher = self.hasher.build_hasher();
        let mut part = |bytes: &[u8]| {
            hasher.write_usize(bytes.len()); // so that ("ab", "c") is not ("a", "bc")
            hasher.write(bytes);
        };
        for key in &descriptor.keys {
            match key {
                RateLimitKey::Header(name) => part(header(head, name)?),
                RateLimitKey::HeaderEquals(name, wanted) => {
                    let value = header(head, name)?;
                    if value != wanted.as_bytes() {
                        return None;
                    }
                    part(value);
                }
                RateLimitKey::RemoteAddress => match peer.to_canonical() {
                    IpAddr::V4(ip) => part(&ip.octets()),
                    IpAddr::V6(ip) => part(&ip.octets()),
                },
                RateLimitKey::Constant(value) => part(value.as_bytes()),
            }
        }
        Some(hasher.finish())
    }
}

/// A header, or one of the pseudo-headers that descriptors may name.
fn header<'h, H: RequestHead + ?Sized>(head: &'h H, name: &str) -> Option<&'h [u8]> {
    match name {
        ":method" => Some(head.method()),
        ":authority" | "host" => Some(head.authority()),
        ":path" => Some(head.path_and_query()),
        _ => head.header(name),
    }
}

/// A bucket's rate. A bucket itself is one number: the moment, in nanoseconds, at which it would be full again
/// if every token taken so far were given back one after the other (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Time that one token takes to come.
    token: u64,
    /// Time that all tokens but one take to come.
    burst: u64,
}

impl Rate {
    fn new(bucket: TokenBucket) -> Self {
        let interval = u64::try_from(bucket.interval.as_nanos()).unwrap_or(u64::MAX);
        let token = (interval / u64::from(bucket.fill.max(1))).max(1);
        Self {
            token,
            burst: token.saturating_mul(u64::from(bucket.max.saturating_sub(1))),
        }
    }

    /// Takes a token, or says how long until there is one.
    fn take(&self, bucket: &AtomicU64, now: u64) -> Result<(), Duration> {
        let mut full_at = bucket.load(Ordering::Relaxed);
        loop {
            let from = full_at.max(now);
            let missing = from - now;
            if missing > self.burst {
                return Err(Duration::from_nanos(missing - self.burst));
            }
            let next = from.saturating_add(self.token);
            match bucket.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
