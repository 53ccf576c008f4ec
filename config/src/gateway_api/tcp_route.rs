//! `TCPRoute` (`gateway.networking.k8s.io/v1alpha2` and `v1`), attached to services.

use schemars::JsonSchema;
use serde::Serialize;

use super::reference::{BackendRef, ParentRef};

/// Where the connections of a service go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// The services whose connections it routes. At least one, at most 32.
    pub parent_refs: Vec<ParentRef>,
    /// Exactly one rule: a connection carries nothing by which rules could be told apart.
    pub rules: Vec<TcpRule>,
}

/// The rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpRule {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where connections go. From 1 to 16.
    pub backend_refs: Vec<BackendRef>,
}
