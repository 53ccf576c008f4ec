//! What goes over the HTTP API, as JSON. These shapes are stable: fields are added, never renamed.

mod credentials;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use self::credentials::{
    ApiTokenBody, ApiTokenCreated, ApiTokenRequest, CertificateBody, TokenBody, TokenCreated,
    TokenRequest,
};

/// A file of manifests, as the user named it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct SourceFile {
    /// Its name in messages.
    pub name: String,
    /// YAML or JSON, one document or several.
    pub text: String,
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ObjectName {
    /// The kind, such as `HTTPRoute`.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} in {}", self.kind, self.name, self.namespace)
    }
}

/// A change of the desired state: all of it becomes one revision, or none of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApplyRequest {
    /// Objects to create or replace.
    pub files: Vec<SourceFile>,
    /// Objects to delete.
    pub delete: Vec<ObjectName>,
    /// Who asks.
    pub author: String,
    /// Why.
    pub message: String,
    /// Only say what would change.
    pub dry_run: bool,
    /// Seconds to wait for the proxies concerned, 0 to 600; `null`: do not wait.
    pub wait_seconds: Option<u32>,
}

/// One line of the answer to a change, in this order: `planned`, then (unless it was a dry run) `stored`, any number of
/// `progress`, and `done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ApplyEvent {
    /// What changes.
    Planned {
        /// Each object concerned.
        changes: Vec<Change>,
        /// Warnings about the objects, with their places.
        warnings: Vec<String>,
        /// Names of the connected proxies that it concerns.
        proxies: Vec<String>,
    },
    /// It is stored.
    Stored {
        /// As this revision.
        revision: u64,
    },
    /// Proxies have answered.
    Progress {
        /// How many have acknowledged.
        acknowledged: usize,
        /// How many have refused.
        refused: usize,
        /// How many have not answered.
        waiting: usize,
    },
    /// All that were waited for have answered, or the time was over.
    Done {
        /// The revision in question.
        revision: u64,
        /// Who acknowledged.
        acknowledged: Vec<String>,
        /// Who refused, and why.
        refused: Vec<Refusal>,
        /// Who had not answered when the time was over.
        waiting: Vec<String>,
        /// Who went away before an answer.
        #[serde(default)]
        left: Vec<String>,
    },
}

/// A proxy that refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The proxy's name.
    pub proxy: String,
    /// What it said.
    pub reason: String,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// What happens.
    pub action: Action,
    /// Lines that differ in its YAML form, each led by `+`, `-` or a space.
    pub diff: Vec<String>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is new.
    Created,
    /// It changes.
    Changed,
    /// It stays as it is.
    Unchanged,
    /// It goes.
    Deleted,
}

impl Action {
    /// What has happened, in a word.
    pub fn past(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence.
    pub error: String,
    /// Each fault, with its place.
    #[serde(default)]
    pub faults: Vec<String>,
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ErrorBody {}

/// One revision.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevisionBody {
    /// Its number.
    pub revision: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Who, as he said himself.
    pub author: String,
    /// Who, as the API knew him: the name of his token, `--token`, or `loopback` without one. Empty: it did not come over the API.
    #[serde(default)]
    pub principal: String,
    /// Why.
    pub message: String,
    /// What changed.
    pub changes: Vec<Change>,
}

/// Back to an earlier state.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision whose state shall be in force again; `null`: the one before the newest.
    pub revision: Option<u64>,
    /// Who asks.
    pub author: String,
    /// See [`ApplyRequest::wait_seconds`].
    pub wait_seconds: Option<u32>,
}

/// A service as the mesh sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceBody {
    /// Kind of the object that declares it.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Ports, with the protocol of each.
    pub ports: Vec<PortBody>,
    /// Endpoints in all.
    pub endpoints: usize,
    /// Routes attached to it.
    pub routes: Vec<String>,
}

/// A port of a service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PortBody {
    /// The port.
    pub port: u16,
    /// The protocol, or `detect`.
    pub protocol: String,
}

/// An endpoint of a service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointBody {
    /// The service and port that it serves: `NAME.NAMESPACE:PORT`.
    pub service: String,
    /// Where it is.
    pub address: String,
    /// Its health as the control plane knows it.
    pub health: String,
    /// Its weight.
    pub weight: u32,
    /// Who it has proved to be, a SPIFFE id: sidecars speak to it over TLS unless a policy says `DISABLE`. `null`: it is spoken to in
    /// plain.
    #[serde(default)]
    pub identity: Option<String>,
}

/// A workload that says it is of a service and is no endpoint of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftOutBody {
    /// The service and port that it would serve: `NAME.NAMESPACE:PORT`.
    pub service: String,
    /// Where it says that it is.
    pub address: String,
    /// What its node calls itself.
    pub node: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// A connected proxy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProxyBody {
    /// Its name: the node id.
    pub name: String,
    /// Who it has proved to be, a SPIFFE id; `null` where nobody was asked.
    #[serde(default)]
    pub identity: Option<String>,
    /// The service beside which it runs, where it says so.
    pub service: String,
    /// What it calls itself, with its version.
    pub user_agent: String,
    /// Since when it is connected, RFC 3339.
    pub connected_since: String,
    /// The newest revision that concerns it.
    pub intended: u64,
    /// The newest revision that it was sent.
    pub sent: u64,
    /// The newest revision that it acknowledged in full.
    pub acknowledged: u64,
    /// Why it refused what it was sent last, where it did.
    pub refused: Option<String>,
    /// Resources that it has, by type.
    pub resources: BTreeMap<String, usize>,
}

/// Who may call one port of a service, and what he has to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortAccessBody {
    /// The port.
    pub port: u16,
    /// What is taken of callers: `STRICT`, `PERMISSIVE` or `DISABLE`.
    pub mtls: String,
    /// The policy that says so: `NAMESPACE/NAME`; `null`: none does.
    #[serde(default)]
    pub mtls_by: Option<String>,
    /// Whose tokens are looked at, by which policy, and whether one is demanded: a sentence each.
    pub tokens: Vec<String>,
    /// Who may call: a sentence for each rule, in the order in which they are judged.
    pub callers: Vec<String>,
}

/// Everything about one service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceDescription {
    /// The service.
    pub service: ServiceBody,
    /// The object that declares it.
    pub object: Value,
    /// Routes attached to it, whole.
    pub routes: Vec<Value>,
    /// Policies attached to it or to its routes, and those of its namespace and of the mesh that hold for it, whole.
    pub policies: Vec<Value>,
    /// Who may call, by port; none where it has no sidecars, so that nobody judges.
    #[serde(default)]
    pub access: Vec<PortAccessBody>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointBody>,
    /// Workloads that say they are of it and are no endpoints.
    #[serde(default)]
    pub left_out: Vec<LeftOutBody>,
    /// Faults and warnings about any of these.
    pub findings: Vec<String>,
}

/// Everything about one object.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectDescription {
    /// The object.
    pub object: Value,
    /// The services that it is attached to or aims at: `NAMESPACE/NAME`.
    pub services: Vec<String>,
    /// Of a route: for each parent whether it is accepted and whether its references hold.
    pub conditions: Vec<String>,
    /// Faults and warnings about it.
    pub findings: Vec<String>,
}
