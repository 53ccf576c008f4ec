//! `BackendTLSPolicy` (Gateway API, GEP-1897): TLS that a sidecar begins with whom it calls.

use schemars::JsonSchema;
use serde::Serialize;

use super::object::{Kind, ObjectKey};
use super::policy_target::PolicyTarget;

/// How services outside of the mesh, or single ports of them, are spoken to: over TLS, which the sidecar of the caller begins.
///
/// What names a port goes before what names its service; of two for the same the older counts. Endpoints that are sidecars of the mesh
/// are spoken to over the mesh's own TLS whatever it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicy {
    /// The services, or single ports of them. At least one, at most 16.
    pub target_refs: Vec<PolicyTarget>,
    /// By what the server is judged.
    pub validation: BackendValidation,
}

/// By what a server is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendValidation {
    /// Where the roots are that are trusted; at most 8, none where `wellKnownCACertificates` is given. Where one is not there, nobody is
    /// trusted.
    #[serde(rename = "caCertificateRefs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub ca_refs: Vec<CaReference>,
    /// Roots that are there already.
    #[serde(
        rename = "wellKnownCACertificates",
        skip_serializing_if = "Option::is_none"
    )]
    pub well_known: Option<WellKnownRoots>,
    /// The name that is asked for (SNI), and that the server's certificate must have unless `subjectAltNames` says otherwise.
    pub hostname: String,
    /// Names of which the certificate must have one, instead of `hostname`. At most 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A `ConfigMap` of the policy's namespace with certificates as `ca.crt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CaReference {
    /// The core group: empty.
    pub group: String,
    /// `ConfigMap`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl CaReference {
    /// The `ConfigMap` called `name`.
    pub fn to_config_map(name: String) -> Self {
        Self {
            group: Kind::ConfigMap.group().to_owned(),
            kind: Kind::ConfigMap.name().to_owned(),
            name,
        }
    }

    /// The object that it names, from a policy in `namespace`.
    pub fn key(&self, namespace: &str) -> ObjectKey {
        ObjectKey::new(Kind::ConfigMap, namespace, &self.name)
    }
}

/// Roots that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum WellKnownRoots {
    /// Those of the machine that the sidecar runs on.
    System,
}

/// A name that a certificate may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum SubjectAltName {
    /// A DNS name; a wildcard in the certificate covers it as usual.
    Hostname {
        /// The name.
        hostname: String,
    },
    /// A URI, as SPIFFE ids are.
    #[serde(rename = "URI")]
    Uri {
        /// The URI, exactly.
        uri: String,
    },
}
