//! `metadata`: who an object is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// Identity and labels of an object.
///
/// What a Kubernetes API server adds for itself (`managedFields`, `ownerReferences`, `finalizers`, …) is accepted when
/// read and not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// A DNS-1123 name; for services a single label, since it becomes part of a host name.
    pub name: String,
    /// A DNS-1123 label. Default `default`.
    #[schemars(default = "default_namespace")]
    pub namespace: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub annotations: BTreeMap<String, String>,
    /// How often the spec has changed; set by the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// When the object was made, as `2026-01-31T23:59:59Z`; set by the store. Older routes win over newer ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// The API server's id of this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The API server's version of this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// The namespace of an object that names none.
pub fn default_namespace() -> String {
    "default".to_owned()
}
