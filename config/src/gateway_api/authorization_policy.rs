//! `AuthorizationPolicy`: who may call a service, and how.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::policy_target::PolicyTarget;
use crate::listener::Cidr;

/// Rules for calls to the services that it attaches to, or to all services of its namespace.
///
/// Whom a policy that denies matches stays out. Once there is a policy that allows, only those get in whom one of those matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicy {
    /// The services, or single ports of them, that it is about. At most 16; none: all of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// Whether those whom a rule matches get in or stay out. Default `Allow`.
    #[schemars(default)]
    pub action: Action,
    /// Whether it is obeyed. Default `Enforce`.
    #[schemars(default)]
    pub mode: Mode,
    /// What becomes of connections and requests under way that it no longer lets in. Default `Keep`.
    #[schemars(default)]
    pub on_revoke: OnRevoke,
    /// Whom it is about: any of these. At most 64; of an `Allow` none means that nobody gets in.
    pub rules: Vec<AccessRule>,
}

/// What becomes of those whom a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Action {
    /// They get in.
    #[default]
    Allow,
    /// They stay out.
    Deny,
}

/// Whether a policy is obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// It is judged, counted and logged, and keeps nobody out.
    DryRun,
}

/// What becomes of what is under way and no longer allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum OnRevoke {
    /// It goes on to its end.
    #[default]
    Keep,
    /// It is cut.
    Close,
}

/// Somebody who does something: one of `from`, one of `to`, all of `when`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AccessRule {
    /// Its name, which logs tell. Default: its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who calls. At most 32; none: anybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub from: Vec<AccessSource>,
    /// What is called. At most 32; none: anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub to: Vec<AccessOperation>,
    /// What the caller's token says. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub when: Vec<ClaimCondition>,
}

/// Callers that all of these fields fit; of each list one entry has to, or none where it begins with `not`. Lists have at most 64
/// entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessSource {
    /// SPIFFE ids, `spiffe://TRUST-DOMAIN/…/*` for all below, or `*` for anybody who has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Wildcard>,
    /// Other ids than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_identities: Vec<Wildcard>,
    /// Namespaces of callers, as their ids say, whatever the trust domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Other namespaces than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<String>,
    /// Trust domains of callers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<String>,
    /// Other trust domains than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_trust_domains: Vec<String>,
    /// Addresses that connections come from, or ranges of them: `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRange>,
    /// Other addresses than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_addresses: Vec<AddressRange>,
}

/// Calls that all of these fields fit; of each list one entry has to, or none where it begins with `not`. Lists have at most 64
/// entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessOperation {
    /// Ports of the service, as it lists them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Other ports than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<u16>,
    /// Methods, in capitals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Other methods than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_methods: Vec<String>,
    /// Paths without query: `/exact`, `/begins/*`, `*/ends`. Of gRPC `/package.Service/Method`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Wildcard>,
    /// Other paths than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_paths: Vec<Wildcard>,
    /// Hosts, whatever port they come with: `a.example.com`, or `*.example.com` for any below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Wildcard>,
    /// Other hosts than these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_hosts: Vec<Wildcard>,
    /// Headers that all have to fit. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderCondition>,
}

impl AccessOperation {
    /// Whether it asks for something that only requests have.
    pub fn is_of_http(&self) -> bool {
        let lists = [&self.paths, &self.not_paths, &self.hosts, &self.not_hosts];
        let methods = [&self.methods, &self.not_methods];
        lists.iter().any(|list| !list.is_empty())
            || methods.iter().any(|list| !list.is_empty())
            || !self.headers.is_empty()
    }
}

/// A header with one of `values`, and none of `notValues`; without either, one that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderCondition {
    /// Its name.
    pub name: String,
    /// Values that it may have: `exact`, `begins*`, `*ends`, and `*` for any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub values: Vec<Wildcard>,
    /// Values that it may not have; a header that is not there has none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub not_values: Vec<Wildcard>,
}

/// A claim of a verified token that has, or holds in a list, one of `values`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClaimCondition {
    /// Its name, or the way to it: `realm_access.roles`.
    pub claim: String,
    /// Values: `exact`, `begins*`, `*ends`; `*`: any. At least one.
    pub values: Vec<Wildcard>,
}

/// A text, or one with a `*` at its beginning or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// Whatever is there.
    Any,
    /// This.
    Exact(String),
    /// What begins so.
    Prefix(String),
    /// What ends so.
    Suffix(String),
}

impl Wildcard {
    /// Reads `*`, `exact`, `begins*` or `*ends`.
    ///
    /// # Errors
    /// If it is empty, too long, or has a `*` elsewhere.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            let got = crate::yaml::shorten(text);
            format!("must be a text with at most one `*`, at its beginning or its end, got `{got}`")
        };
        if text.is_empty() || text.len() > WILDCARD_BYTES_MAX {
            return Err(format!(
                "must have from 1 to {WILDCARD_BYTES_MAX} bytes, got {}",
                text.len()
            ));
        }
        let found = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => return Ok(Self::Any),
            (Some(end), None) => (end, Self::Suffix(end.to_owned())),
            (None, Some(begin)) => (begin, Self::Prefix(begin.to_owned())),
            (None, None) => (text, Self::Exact(text.to_owned())),
            (Some(_), Some(_)) => return Err(bad()),
        };
        match found {
            (rest, wildcard) if !rest.contains('*') => Ok(wildcard),
            _ => Err(bad()),
        }
    }
}

const WILDCARD_BYTES_MAX: usize = 2048;

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
        }
    }
}

impl Serialize for Wildcard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Wildcard {
    fn schema_name() -> Cow<'static, str> {
        "Wildcard".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": WILDCARD_BYTES_MAX})
    }
}

/// An address, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(pub Cidr);

impl AddressRange {
    /// Reads `10.0.0.1` or `10.0.0.0/8`.
    ///
    /// # Errors
    /// If it is neither, or has bits behind its length.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            let got = crate::yaml::shorten(text);
            format!("must be an IP address, or a range such as `10.0.0.0/8`, got `{got}`")
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().ok().filter(|it| *it <= bits),
            None => Some(bits),
        };
        let range = Cidr::of(address, length.ok_or_else(bad)?);
        if range.address != address {
            let (address, length) = (range.address, range.length);
            return Err(format!(
                "has bits behind its length; write `{address}/{length}`"
            ));
        }
        Ok(Self(range))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cidr { address, length } = self.0;
        match (address, length) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{address}"),
            _ => write!(f, "{address}/{length}"),
        }
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for AddressRange {
    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "An IP address, or a range such as 10.0.0.0/8"})
    }
}
