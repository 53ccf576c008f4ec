//! One object, whatever its kind.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    AuthenticationPolicy, AuthorizationPolicy, BackendTlsPolicy, ConfigMap, EndpointSlice,
    FaultInjection, GrpcRoute, HttpRoute, MeshService, Metadata, PolicyTarget, RateLimitPolicy,
    ReferenceGrant, Service, TcpRoute, TrafficPolicy,
};

/// The group of our own kinds.
pub const MESH_GROUP: &str = "mesh.weft.dev";

/// The group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The kinds that this version supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is its own name")]
pub enum Kind {
    Service,
    EndpointSlice,
    MeshService,
    HttpRoute,
    GrpcRoute,
    TcpRoute,
    ReferenceGrant,
    TrafficPolicy,
    RateLimitPolicy,
    FaultInjection,
    AuthorizationPolicy,
    AuthenticationPolicy,
    BackendTlsPolicy,
    ConfigMap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Service,
        Self::EndpointSlice,
        Self::MeshService,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::ReferenceGrant,
        Self::TrafficPolicy,
        Self::RateLimitPolicy,
        Self::FaultInjection,
        Self::AuthorizationPolicy,
        Self::AuthenticationPolicy,
        Self::BackendTlsPolicy,
        Self::ConfigMap,
    ];

    /// As written in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::MeshService => "MeshService",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TcpRoute => "TCPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::RateLimitPolicy => "RateLimitPolicy",
            Self::FaultInjection => "FaultInjection",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::AuthenticationPolicy => "AuthenticationPolicy",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// The name of many: `httproutes`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::MeshService => "meshservices",
            Self::HttpRoute => "httproutes",
            Self::GrpcRoute => "grpcroutes",
            Self::TcpRoute => "tcproutes",
            Self::ReferenceGrant => "referencegrants",
            Self::TrafficPolicy => "trafficpolicies",
            Self::RateLimitPolicy => "ratelimitpolicies",
            Self::FaultInjection => "faultinjections",
            Self::AuthorizationPolicy => "authorizationpolicies",
            Self::AuthenticationPolicy => "authenticationpolicies",
            Self::BackendTlsPolicy => "backendtlspolicies",
            Self::ConfigMap => "configmaps",
        }
    }

    /// Its API group; empty for the core.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service | Self::ConfigMap => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::HttpRoute
            | Self::GrpcRoute
            | Self::TcpRoute
            | Self::ReferenceGrant
            | Self::BackendTlsPolicy => GATEWAY_GROUP,
            Self::MeshService
            | Self::TrafficPolicy
            | Self::RateLimitPolicy
            | Self::FaultInjection
            | Self::AuthorizationPolicy
            | Self::AuthenticationPolicy => MESH_GROUP,
        }
    }

    /// The versions that are read; the first is the one written.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Service | Self::EndpointSlice | Self::GrpcRoute | Self::ConfigMap => &["v1"],
            Self::BackendTlsPolicy => &["v1", "v1alpha3"],
            Self::HttpRoute => &["v1", "v1beta1"],
            Self::TcpRoute => &["v1alpha2", "v1"],
            Self::ReferenceGrant => &["v1beta1", "v1"],
            Self::MeshService
            | Self::TrafficPolicy
            | Self::RateLimitPolicy
            | Self::FaultInjection
            | Self::AuthorizationPolicy
            | Self::AuthenticationPolicy => &["v1alpha1"],
        }
    }

    /// The `apiVersion` written: `gateway.networking.k8s.io/v1`.
    pub fn api_version(self) -> String {
        let version = self.versions().first().copied().unwrap_or_default();
        match self.group() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// The kind called `text` in `kind` or in its plural, in any case: `HTTPRoute`, `httproute`, `HTTPRoutes`.
    pub fn find(text: &str) -> Option<Self> {
        let is_called = |kind: &Self| {
            let names = [kind.name(), kind.plural()];
            names.iter().any(|name| name.eq_ignore_ascii_case(text))
        };
        Self::ALL.into_iter().find(is_called)
    }

    /// Whether it is a route: `HTTPRoute`, `GRPCRoute` or `TCPRoute`.
    pub fn is_route(self) -> bool {
        matches!(self, Self::HttpRoute | Self::GrpcRoute | Self::TcpRoute)
    }

    /// Whether it is a policy: `TrafficPolicy`, `RateLimitPolicy`, `FaultInjection`, `AuthorizationPolicy` or
    /// `AuthenticationPolicy`.
    pub fn is_policy(self) -> bool {
        matches!(
            self,
            Self::TrafficPolicy
                | Self::RateLimitPolicy
                | Self::FaultInjection
                | Self::AuthorizationPolicy
                | Self::AuthenticationPolicy
                | Self::BackendTlsPolicy
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Which object; unique in a desired state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectKey {
    /// Its kind, which says its group.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The object of `kind` called `name` in `namespace`.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The API group of its kind.
    pub fn group(&self) -> &'static str {
        self.kind.group()
    }
}

impl fmt::Display for ObjectKey {
    /// `HTTPRoute default/reviews`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// One object. `status` is not part of it: the control plane keeps that beside the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Who it is.
    pub metadata: Metadata,
    /// What it says.
    pub spec: Spec,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each is its own name")]
#[expect(
    clippy::large_enum_variant,
    reason = "objects live behind an `Arc`, one by one"
)]
pub enum Spec {
    Service(Service),
    EndpointSlice(EndpointSlice),
    MeshService(MeshService),
    HttpRoute(HttpRoute),
    GrpcRoute(GrpcRoute),
    TcpRoute(TcpRoute),
    ReferenceGrant(ReferenceGrant),
    TrafficPolicy(TrafficPolicy),
    RateLimitPolicy(RateLimitPolicy),
    FaultInjection(FaultInjection),
    AuthorizationPolicy(AuthorizationPolicy),
    AuthenticationPolicy(AuthenticationPolicy),
    BackendTlsPolicy(BackendTlsPolicy),
    ConfigMap(ConfigMap),
}

impl Spec {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::MeshService(_) => Kind::MeshService,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::TcpRoute(_) => Kind::TcpRoute,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::TrafficPolicy(_) => Kind::TrafficPolicy,
            Self::RateLimitPolicy(_) => Kind::RateLimitPolicy,
            Self::FaultInjection(_) => Kind::FaultInjection,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::AuthenticationPolicy(_) => Kind::AuthenticationPolicy,
            Self::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Self::ConfigMap(_) => Kind::ConfigMap,
        }
    }

    /// What a policy attaches to; nothing for other kinds.
    pub fn target_refs(&self) -> &[PolicyTarget] {
        match self {
            Self::TrafficPolicy(policy) => &policy.target_refs,
            Self::RateLimitPolicy(policy) => &policy.target_refs,
            Self::AuthorizationPolicy(policy) => &policy.target_refs,
            Self::AuthenticationPolicy(policy) => &policy.target_refs,
            Self::BackendTlsPolicy(policy) => &policy.target_refs,
            _ => &[],
        }
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.spec.kind()
    }

    /// Its identity.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind(), &self.metadata.namespace, &self.metadata.name)
    }

    /// The canonical JSON form, defaults filled in; reading it gives an equal object.
    pub fn to_json(&self) -> Value {
        let kind = self.kind();
        let mut object = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.name(),
            "metadata": self.metadata,
        });
        let spec = serde_json::to_value(&self.spec).expect("keys are strings, numbers are finite");
        if let Some(fields) = object.as_object_mut() {
            match (kind, spec) {
                (Kind::EndpointSlice | Kind::ConfigMap, Value::Object(own)) => fields.extend(own),
                (_, spec) => {
                    fields.insert("spec".to_owned(), spec);
                }
            }
        }
        object
    }
}
