//! Whose token a request must bring (Envoy's `jwt_authn`): issuers, where tokens are looked for, and what becomes of them.
//!
//! What a filter says that cannot be honoured refuses the whole of it: an ignored condition lets somebody in.

mod location;
mod parse;
mod provider;
mod remote;
mod requirement;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterName;
use crate::jwt::{Expected, KeySet};
use crate::route::{RequestHead, RouteMatch, StringMatch};

pub use location::{Found, Place, is_parameter};
pub use parse::{JWT_AUTHN, JWT_AUTHN_NAME, JWT_PER_ROUTE};

/// A filter that looks at tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtAuthn {
    /// Names it in metrics (`stat_prefix`); may be empty.
    pub name: Arc<str>,
    /// Who issues tokens; requirements name them by their index.
    pub providers: Box<[Arc<Provider>]>,
    /// What requests need, by the first rule that matches. A request without a rule needs nothing.
    pub rules: Box<[Rule]>,
    /// Requirements that routes name.
    pub named: BTreeMap<Arc<str>, Requirement>,
    /// Whether CORS preflight requests need nothing: browsers send no token with them.
    pub bypass_cors_preflight: bool,
    /// Whether callers are not told why.
    pub strip_failure_response: bool,
}

/// What requests that match need.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which requests.
    pub matches: RouteMatch,
    /// What they need; `None`: nothing.
    pub requires: Option<Requirement>,
}

/// What a request must bring.
#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    /// A good token of this provider.
    Provider {
        /// Its index.
        provider: usize,
        /// For whom it must be meant, instead of what the provider says.
        audiences: Option<Box<[Arc<str>]>>,
    },
    /// One of these.
    Any(Box<[Requirement]>),
    /// All of these.
    All(Box<[Requirement]>),
    /// No token of these providers, or good ones.
    AllowMissing(Box<[usize]>),
    /// Anything; what good tokens say is still noted.
    AllowMissingOrFailed(Box<[usize]>),
}

/// What a route says instead of the filter's rules (`PerRouteConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtOverride {
    /// Nothing is needed.
    Off,
    /// A requirement of the filter's [`JwtAuthn::named`]; one that is not there lets nobody in.
    Named(Arc<str>),
}

/// Who issues tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// What requirements call it.
    pub name: Arc<str>,
    /// What tokens call it (`iss`); `None`: it is not looked at.
    pub issuer: Option<Arc<str>>,
    /// For whom tokens must be meant: one of these; empty: it is not looked at.
    pub audiences: Box<[Arc<str>]>,
    /// Whom it may speak of; `None`: anybody.
    pub subjects: Option<StringMatch>,
    /// Whether tokens must have an end.
    pub require_expiration: bool,
    /// How far away the end of a token may be; `None`: any time.
    pub lifetime_max: Option<Duration>,
    /// How far clocks may be apart. Default 60 s.
    pub skew: Duration,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Where its tokens are looked for.
    pub places: Box<[Place]>,
    /// Whether a token goes on with the request.
    pub forward: bool,
    /// The field that a good token's payload goes on in, as it was sent.
    pub payload_header: Option<PayloadHeader>,
    /// Fields that claims go on in.
    pub claim_headers: Box<[ClaimHeader]>,
    /// Fields that only its good tokens may fill, also as they are spelt who hand fields on as variables (RFC 3875 §4.1.18), so that
    /// `x_user` is `x-user` to them.
    pub reserved: Box<[Arc<str>]>,
    /// The name that rules find the payload under.
    pub payload_name: Option<Arc<str>>,
    /// The name that rules find the header under.
    pub header_name: Option<Arc<str>>,
    /// Claims that rules see as lists: texts of words with spaces between them.
    pub word_lists: Box<[Arc<str>]>,
    /// Good tokens that each worker remembers.
    pub cached_tokens_max: usize,
    /// Bytes of a token that is remembered.
    pub cached_token_bytes_max: usize,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// They stand in the configuration.
    Inline(Arc<KeySet>),
    /// From a file, looked at again when it changes.
    File(Arc<str>),
    /// From a server.
    Remote(RemoteKeys),
}

/// Keys that are fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteKeys {
    /// The cluster to ask. Whether it is spoken to over TLS is the cluster's word.
    pub cluster: ClusterName,
    /// `Host` of the request.
    pub authority: Arc<str>,
    /// Path and query.
    pub path: Arc<str>,
    /// Bound of one attempt. Above zero.
    pub timeout: Duration,
    /// How long an answer is good; it is fetched again before that. Default 10 min, at least 1 s.
    pub cache_duration: Duration,
    /// Further attempts, one after the other. Default 0.
    pub retries_max: u32,
    /// Pause before the first of them; doubled with each.
    pub backoff_base: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Pause after attempts that all failed. Default 1 s.
    pub failed_pause: Duration,
}

/// A field for the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadHeader {
    /// Its name.
    pub name: Arc<str>,
    /// Whether Base64url is padded.
    pub padded: bool,
}

/// A field for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// Its name.
    pub name: Arc<str>,
    /// The way to the claim.
    pub path: Box<[Arc<str>]>,
}

impl JwtAuthn {
    /// What a request needs by the filter's rules; `None`: nothing.
    pub fn required(&self, head: &impl RequestHead) -> Option<&Requirement> {
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.matches.mismatch(head, 0).is_none())?;
        rule.requires.as_ref()
    }

    /// Fields that only good tokens may fill, of all providers: whatever a caller puts there is removed.
    pub fn reserved(&self) -> impl Iterator<Item = &str> {
        let all = self.providers.iter().flat_map(|it| &it.reserved);
        all.map(|name| &**name)
    }
}

impl Provider {
    /// What its tokens must say; `audiences` instead of its own where they are given.
    pub fn expected<'a>(&'a self, audiences: Option<&'a [Arc<str>]>) -> Expected<'a> {
        Expected {
            issuer: self.issuer.as_deref(),
            audiences: audiences.unwrap_or(&self.audiences),
            subjects: self.subjects.as_ref(),
            skew: self.skew,
            require_expiration: self.require_expiration,
            lifetime_max: self.lifetime_max,
        }
    }
}

#[cfg(test)]
mod tests;
