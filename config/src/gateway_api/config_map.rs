//! `ConfigMap`, of which the roots of a `BackendTLSPolicy` are taken.

use schemars::JsonSchema;
use serde::Serialize;

/// What is read of a core `ConfigMap`: certificates. All else in it is left aside and not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigMap {
    /// Its data.
    pub data: ConfigMapData,
}

/// The one entry that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigMapData {
    /// PEM of certificates that are trusted. At least one, at most 1 MiB.
    #[serde(rename = "ca.crt", skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
