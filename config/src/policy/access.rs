//! Who may do what: rules of Envoy's RBAC (`config.rbac.v3.RBAC`), and the one function that judges by them.
//!
//! The proxy asks per request, or per connection where bytes are passed on; whoever wants to know beforehand (`weft authz
//! check`) asks the same function with the same rules. What a rule says that cannot be honoured refuses the whole of it: an
//! ignored condition lets somebody in.

mod claims;
mod filter;
mod matching;
mod parse;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::listener::Cidr;
use crate::route::{HeaderMatch, RequestHead, StringMatch};
use crate::secret::SanKind;

pub use claims::{ClaimMatch, ClaimValue};
pub use filter::{CONTINUOUS, HTTP_RBAC, NETWORK_RBAC, OnRevoke};

/// A filter that lets requests or connections through, or not.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessFilter {
    /// Names it in metrics (`rules_stat_prefix`, `stat_prefix` of the network filter); may be empty.
    pub name: Arc<str>,
    /// What decides; `None`: everything passes.
    pub rules: Option<AccessRules>,
    /// What would have decided, for the log and the metrics alone (`shadow_rules`).
    pub shadow: Option<AccessRules>,
    /// Names the shadow in metrics (`shadow_rules_stat_prefix`); may be empty.
    pub shadow_name: Arc<str>,
    /// What becomes of what is under way when the rules no longer allow it.
    pub on_revoke: OnRevoke,
}

/// Rules of one action.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessRules {
    /// What a policy that matches leads to.
    pub action: AccessAction,
    /// Policies by name, in this order.
    pub policies: Box<[AccessPolicy]>,
}

/// `RBAC.Action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// Whom a policy matches gets in, and nobody else.
    Allow,
    /// Whom a policy matches stays out, and nobody else.
    Deny,
    /// Everybody gets in, and it is known who was matched.
    Log,
}

/// Whom it is about (one of the principals), and what they do (one of the permissions).
#[derive(Clone, Debug, PartialEq)]
pub struct AccessPolicy {
    /// Its name, which logs tell.
    pub name: Arc<str>,
    /// What is done: any of these.
    pub permissions: Box<[Condition]>,
    /// Who does it: any of these.
    pub principals: Box<[Condition]>,
}

/// A condition on a request or connection: a permission or a principal.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Always holds.
    Any,
    /// All of these hold.
    All(Box<[Condition]>),
    /// One of these holds.
    Either(Box<[Condition]>),
    /// This does not hold.
    Not(Box<Condition>),
    /// A header, or one of `:method`, `:path` (with query), `:authority` and `:scheme`. Of several of one name, one will do.
    Header(HeaderMatch),
    /// The path without query and fragment. Holds for no connection, and for no request without a path.
    Path(StringMatch),
    /// The address that was dialled.
    DestinationIp(Cidr),
    /// The port that was dialled: from the first to below the second.
    DestinationPort(u32, u32),
    /// The name that a TLS client asked for; empty where none was.
    ServerName(StringMatch),
    /// Somebody who came over TLS, by any of the names in the certificate: URIs, host names, the subject. Without names that came over
    /// TLS at all. Who showed no certificate has the empty subject alone, as in Envoy.
    Authenticated(Option<StringMatch>),
    /// The address of the peer of the connection.
    SourceIp(Cidr),
    /// The address that the request came from, as far as hops are trusted.
    RemoteIp(Cidr),
    /// What a token says of whoever asks.
    Claim(ClaimMatch),
}

/// What is judged: borrowed facts of a request, or of a connection where there is no `head`.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Whom the handshake has shown; `None`: the connection is plain.
    pub peer: Option<Peer<'a>>,
    /// The address of the peer of the connection.
    pub source: IpAddr,
    /// The address that the request came from, as far as hops are trusted.
    pub remote: IpAddr,
    /// Where the connection was meant to go.
    pub destination: SocketAddr,
    /// The name that the TLS client asked for; empty: none.
    pub server_name: &'a str,
    /// The head of the request, its path normalised as routing sees it.
    pub head: Option<&'a dyn RequestHead>,
    /// What the request's tokens say.
    pub claims: Option<&'a Claims>,
}

/// What a peer's certificate says; nothing where it showed none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// Subject alternative names, in order.
    pub names: &'a [(SanKind, Arc<str>)],
    /// The subject.
    pub subject: &'a str,
}

/// What verified tokens say: the payload by the name that their provider puts it under (`payload_in_metadata`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims(pub SmallVec<[(Arc<str>, Arc<serde_json::Value>); 1]>);

/// What rules say of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'r> {
    /// Whether they may.
    pub allowed: bool,
    /// The policy that matched. What is denied without one was not allowed by any.
    pub policy: Option<&'r Arc<str>>,
}

impl AccessRules {
    /// Judges, by the first policy that matches. Allocates nothing.
    pub fn judge(&self, asked: &Asked<'_>) -> Judgement<'_> {
        let matched = self.policies.iter().find(|it| it.matches(asked));
        let allowed = match self.action {
            AccessAction::Allow => matched.is_some(),
            AccessAction::Deny => matched.is_none(),
            AccessAction::Log => true,
        };
        Judgement {
            allowed,
            policy: matched.map(|policy| &policy.name),
        }
    }
}

impl AccessPolicy {
    /// Whether it is about what is asked.
    pub fn matches(&self, asked: &Asked<'_>) -> bool {
        let any = |of: &[Condition]| of.iter().any(|it| it.holds(asked));
        any(&self.principals) && any(&self.permissions)
    }
}

#[cfg(test)]
mod tests;
