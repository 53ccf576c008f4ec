//! References from routes to services and filters.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::names::ServiceName;
use super::object::{Kind, MESH_GROUP, ObjectKey};

/// The kinds that traffic can be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    /// The core `Service`.
    #[default]
    Service,
    /// Our own `MeshService`.
    MeshService,
}

/// A service that a route names, with its namespace filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// Which kind.
    pub kind: ServiceKind,
    /// Its namespace and name.
    pub name: ServiceName,
}

impl ServiceKind {
    /// Its API group; empty for the core.
    pub fn group(self) -> &'static str {
        match self {
            Self::Service => "",
            Self::MeshService => MESH_GROUP,
        }
    }

    /// Its name in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::MeshService => "MeshService",
        }
    }
}

impl ServiceRef {
    /// The object that it names.
    pub fn key(&self) -> ObjectKey {
        let kind = match self.kind {
            ServiceKind::Service => Kind::Service,
            ServiceKind::MeshService => Kind::MeshService,
        };
        ObjectKey::new(kind, &self.name.namespace, &self.name.name)
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

impl Serialize for ServiceRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ServiceRef", 4)?;
        fields.serialize_field("group", self.kind.group())?;
        fields.serialize_field("kind", self.kind.name())?;
        fields.serialize_field("namespace", &self.name.namespace)?;
        fields.serialize_field("name", &self.name.name)?;
        fields.end()
    }
}

impl JsonSchema for ServiceRef {
    fn schema_name() -> Cow<'static, str> {
        "ServiceRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "group": {"type": "string", "enum": ["", "core", MESH_GROUP], "default": ""},
                "kind": {"type": "string", "enum": ["Service", "MeshService"], "default": "Service"},
                "namespace": {"type": "string", "description": "Default: the namespace of the route"},
                "name": {"type": "string"},
            },
            "required": ["name"],
        })
    }
}

/// What a route attaches to: in a mesh, a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The service.
    #[serde(flatten)]
    pub service: ServiceRef,
    /// Only this port of it; `None`: all ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Only the port of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Where a route sends traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// The service.
    #[serde(flatten)]
    pub service: ServiceRef,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Its share among its neighbours. From 0 to 1,000,000, default 1; 0 gets nothing.
    #[schemars(default = "super::mesh_service::one", range(max = 1_000_000))]
    pub weight: u32,
}

/// A filter of our own, in the route's namespace: a `FaultInjection`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionRef {
    /// Always `mesh.weft.dev`.
    pub group: String,
    /// Always `FaultInjection`.
    pub kind: String,
    /// Its name.
    pub name: String,
}
