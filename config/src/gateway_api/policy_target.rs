//! `targetRefs`: what a policy attaches to (GEP-713, direct attachment).

use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::SerializeStruct;

use super::object::{Kind, MESH_GROUP, ObjectKey};

/// The kinds that policies attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// `Service`; `sectionName` names a port.
    Service,
    /// `MeshService`; `sectionName` names a port.
    MeshService,
    /// `HTTPRoute`; `sectionName` names a rule.
    HttpRoute,
    /// `GRPCRoute`; `sectionName` names a rule.
    GrpcRoute,
}

impl TargetKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Service,
        Self::MeshService,
        Self::HttpRoute,
        Self::GrpcRoute,
    ];

    /// The kind of object.
    pub fn kind(self) -> Kind {
        match self {
            Self::Service => Kind::Service,
            Self::MeshService => Kind::MeshService,
            Self::HttpRoute => Kind::HttpRoute,
            Self::GrpcRoute => Kind::GrpcRoute,
        }
    }

    /// Whether it is a service, not a route.
    pub fn is_service(self) -> bool {
        matches!(self, Self::Service | Self::MeshService)
    }
}

/// What a policy attaches to, in the policy's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTarget {
    /// Which kind.
    pub kind: TargetKind,
    /// The policy's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Only the port or rule of this name. A more specific policy wins over one for the whole.
    pub section_name: Option<String>,
}

impl PolicyTarget {
    /// The object that it names.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind.kind(), &self.namespace, &self.name)
    }
}

impl Serialize for PolicyTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("PolicyTarget", 4)?;
        fields.serialize_field("group", self.kind.kind().group())?;
        fields.serialize_field("kind", self.kind.kind().name())?;
        fields.serialize_field("name", &self.name)?;
        match &self.section_name {
            Some(section) => fields.serialize_field("sectionName", section)?,
            None => fields.skip_field("sectionName")?,
        }
        fields.end()
    }
}

impl JsonSchema for PolicyTarget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PolicyTarget".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "properties": {
                "group": {"type": "string", "enum": ["", "core", MESH_GROUP, "gateway.networking.k8s.io"]},
                "kind": {"type": "string", "enum": TargetKind::ALL.map(|kind| kind.kind().name())},
                "name": {"type": "string"},
                "sectionName": {"type": "string", "description": "Only the port of a service, or the rule of a route, of this name"},
            },
            "required": ["kind", "name"],
        })
    }
}
