//! `AuthenticationPolicy`: how workloads prove to one another who they are.

use schemars::JsonSchema;
use serde::Serialize;

use super::policy_target::PolicyTarget;

/// What services, or single ports of them, take: TLS of the mesh, or anything else as well.
///
/// What says it of a port goes before what says it of a service, that before what says it of its namespace, and that before a policy
/// without targets in [`ROOT_NAMESPACE`](crate::spiffe::ROOT_NAMESPACE), which holds for the whole mesh. Of those that say it of the same the strictest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationPolicy {
    /// The services, or single ports of them, that it is about. At most 16; none: all of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// What they take.
    pub mtls: Mtls,
}

/// TLS between sidecars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mtls {
    /// Whether it is demanded.
    pub mode: MtlsMode,
}

/// What an inbound port takes. The greater is the stricter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MtlsMode {
    /// Whatever comes goes to the application as it is; sidecars send in plain.
    Disable,
    /// TLS of the mesh, the application's own TLS, and plain text, told apart by the first bytes.
    #[default]
    Permissive,
    /// TLS of the mesh alone, from workloads that show who they are.
    Strict,
}
