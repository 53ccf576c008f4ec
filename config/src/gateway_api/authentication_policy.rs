//! `AuthenticationPolicy`: how workloads prove to one another who they are, and whose tokens requests bring.

use schemars::JsonSchema;
use serde::Serialize;

use super::policy_target::PolicyTarget;

mod jwt;

pub use jwt::{ClaimToHeader, JwtAuthentication, JwtHeader, JwtProvider, Keys};

/// What services, or single ports of them, take: TLS of the mesh, or anything else as well; and whose tokens.
///
/// What says it of a port goes before what says it of a service, that before what says it of its namespace, and that before a policy
/// without targets in [`ROOT_NAMESPACE`](crate::spiffe::ROOT_NAMESPACE), which holds for the whole mesh. Of those that say it of the same the strictest counts,
/// and of tokens all of them together. TLS and tokens are each looked for by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationPolicy {
    /// The services, or single ports of them, that it is about. At most 16; none: all of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// What they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Whose tokens requests may bring, or must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtAuthentication>,
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
