//! Whose token a request brings: gates that look for tokens, judge them, and say what becomes of the request.
//!
//! Nothing waits here. Where keys are not there yet, whoever asked is told which to wait for, and asks again; nothing of the
//! request has been changed by then.

mod cache;
mod good;
mod judging;
mod keys;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weft_config::policy::authn::{JwtAuthn, JwtOverride, Provider, Requirement};
use weft_config::route::RequestHead;

use crate::telemetry::{JwtStats, Metrics};

pub use cache::TokenCache;
pub use good::Good;
pub use judging::{Accepted, Judging, Opinion};
pub use keys::{KEYS_WAIT_MAX, Keys, KeysError};
pub use ring::KeyRing;

/// One configured filter that looks at tokens.
#[derive(Debug)]
pub struct JwtGate {
    config: Arc<JwtAuthn>,
    issuers: Box<[Issuer]>,
    stats: Arc<JwtStats>,
}

/// A provider with its keys.
#[derive(Debug)]
pub struct Issuer {
    /// Names it among all that the process has had; workers remember tokens by it.
    id: u64,
    provider: Arc<Provider>,
    keys: Arc<Keys>,
}

/// What a request needs, or why that cannot be said.
#[derive(Debug)]
pub enum Needs<'g> {
    /// Nothing.
    Nothing,
    /// This.
    Tokens(&'g Requirement),
    /// Its route names a requirement that is not there.
    Unknown,
}

impl JwtGate {
    /// A gate whose keys are those of `ring`.
    pub fn new(config: Arc<JwtAuthn>, ring: &KeyRing, metrics: &Metrics) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let issuer = |provider: &Arc<Provider>| Issuer {
            id: LAST.fetch_add(1, Ordering::Relaxed),
            provider: provider.clone(),
            keys: ring.keys(&provider.keys),
        };
        Self {
            issuers: config.providers.iter().map(issuer).collect(),
            stats: metrics.jwt(&config.name),
            config,
        }
    }

    /// What it was made for.
    pub fn config(&self) -> &Arc<JwtAuthn> {
        &self.config
    }

    /// What is counted.
    pub fn stats(&self) -> &JwtStats {
        &self.stats
    }

    /// What a request needs, by its route's word or by the filter's rules.
    pub fn needs<'g>(&'g self, head: &impl RequestHead, route: Option<&JwtOverride>) -> Needs<'g> {
        if self.config.bypass_cors_preflight && is_preflight(head) {
            return Needs::Nothing;
        }
        let required = match route {
            Some(JwtOverride::Off) => None,
            Some(JwtOverride::Named(name)) => match self.config.named.get(name) {
                Some(requirement) => Some(requirement),
                None => return Needs::Unknown,
            },
            None => self.config.required(head),
        };
        required.map_or(Needs::Nothing, Needs::Tokens)
    }

    fn issuer(&self, index: usize) -> Option<&Issuer> {
        self.issuers.get(index)
    }
}

/// A question of a browser before the request proper, which brings no token (Fetch §3.2.2).
fn is_preflight(head: &impl RequestHead) -> bool {
    let given = |name| head.header(name).is_some_and(|it| !it.is_empty());
    head.method() == b"OPTIONS" && given("origin") && given("access-control-request-method")
}

#[cfg(test)]
mod tests;
