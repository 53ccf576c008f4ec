//! The kinds that users write: Kubernetes Gateway API in its mesh form, and the policies of `mesh.weft.dev`.
//!
//! [`Object`] is one of them, read by [`parse`] with every fault of every document at once, written back by
//! [`Object::to_json`]. [`Resources`] holds a whole desired state by
//! [`ObjectKey`], which the control plane translates. Names are qualified while parsing: past the parser a reference always says
//! kind, namespace and name.

pub mod authentication_policy;
pub mod authorization_policy;
pub mod backend_tls_policy;
pub mod config_map;
pub mod document;
pub mod endpoint_slice;
pub mod fault_injection;
pub mod grpc_route;
pub mod http_route;
pub mod mesh_service;
pub mod metadata;
pub mod names;
pub mod object;
pub mod policy_target;
pub mod precedence;
pub mod quantity;
pub mod rate_limit;
mod read;
pub mod reference;
pub mod reference_grant;
pub mod resources;
pub mod service;
pub mod tcp_route;
pub mod traffic_policy;

pub use authentication_policy::{AuthenticationPolicy, JwtAuthentication, JwtProvider, MtlsMode};
pub use authorization_policy::AuthorizationPolicy;
pub use backend_tls_policy::BackendTlsPolicy;
pub use config_map::ConfigMap;
pub use document::{Document, Parsed, Source, parse, parse_json};
pub use endpoint_slice::EndpointSlice;
pub use fault_injection::FaultInjection;
pub use grpc_route::GrpcRoute;
pub use http_route::HttpRoute;
pub use mesh_service::MeshService;
pub use metadata::Metadata;
pub use names::ServiceName;
pub use object::{Kind, Object, ObjectKey, Spec};
pub use policy_target::{PolicyTarget, TargetKind};
pub use quantity::{Percent, RegexText, Span};
pub use rate_limit::RateLimitPolicy;
pub use reference::{BackendRef, ExtensionRef, ParentRef, ServiceKind, ServiceRef};
pub use reference_grant::ReferenceGrant;
pub use resources::{Entry, Resources};
pub use service::{AppProtocol, Service};
pub use tcp_route::TcpRoute;
pub use traffic_policy::TrafficPolicy;

#[cfg(test)]
mod tests;
