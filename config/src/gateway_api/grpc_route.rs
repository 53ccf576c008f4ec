//! `GRPCRoute` (`gateway.networking.k8s.io/v1`), attached to services.

use schemars::JsonSchema;
use serde::Serialize;

use super::http_route::{HeaderMatch, HeaderModifier};
use super::quantity::RegexText;
use super::reference::{BackendRef, ExtensionRef, ParentRef};

/// Routes of gRPC calls that go to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRoute {
    /// The services whose calls it routes. At least one, at most 32.
    pub parent_refs: Vec<ParentRef>,
    /// Meant for gateways: kept, warned of and not used in a mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hostnames: Vec<String>,
    /// Rules. At most 16; none given means one that sends every call to the service itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub rules: Vec<GrpcRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRule {
    /// Its name, unique in the route; policies can attach to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it applies: any of these. Default: every call. At most 64.
    #[schemars(default = "every_call")]
    pub matches: Vec<GrpcMatch>,
    /// What is changed. At most 16, each type but `ExtensionRef` at most once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub filters: Vec<GrpcFilter>,
    /// Where calls go. None given: `UNAVAILABLE`. At most 16.
    #[schemars(default)]
    pub backend_refs: Vec<GrpcBackendRef>,
}

/// All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrpcMatch {
    /// The method. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<GrpcMethodMatch>,
    /// Headers, at most 16, no name twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub headers: Vec<HeaderMatch>,
}

/// The method of a call; at least one of service and method is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum GrpcMethodMatch {
    /// Equal. The default type.
    Exact {
        /// The service with its package: `shop.v1.Cart`.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The method: `AddItem`.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    },
    /// The whole name matches the expression.
    RegularExpression {
        /// The service.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<RegexText>,
        /// The method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<RegexText>,
    },
}

/// What is done to a call or its response. `RequestMirror` is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum GrpcFilter {
    /// Edits request headers.
    RequestHeaderModifier {
        /// The edits.
        #[serde(rename = "requestHeaderModifier")]
        edits: HeaderModifier,
    },
    /// Edits response headers.
    ResponseHeaderModifier {
        /// The edits.
        #[serde(rename = "responseHeaderModifier")]
        edits: HeaderModifier,
    },
    /// A filter of our own: `FaultInjection`.
    ExtensionRef {
        /// Which.
        #[serde(rename = "extensionRef")]
        reference: ExtensionRef,
    },
}

impl GrpcFilter {
    /// The filter of our own that it names, where it is one.
    pub fn extension(&self) -> Option<&ExtensionRef> {
        match self {
            Self::ExtensionRef { reference } => Some(reference),
            _ => None,
        }
    }
}

/// A backend, with header edits of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrpcBackendRef {
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// Edits of what goes to this backend: `RequestHeaderModifier` and `ResponseHeaderModifier` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub filters: Vec<GrpcFilter>,
}

/// The matches of a rule that names none.
pub(crate) fn every_call() -> Vec<GrpcMatch> {
    vec![GrpcMatch::default()]
}
