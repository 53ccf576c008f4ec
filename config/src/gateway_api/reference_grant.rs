//! `ReferenceGrant` (`gateway.networking.k8s.io/v1beta1` and `v1`): leave to refer into this namespace.

use schemars::JsonSchema;
use serde::Serialize;

use super::object::{Kind, ObjectKey};

/// Leave for objects of other namespaces to refer to objects of this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReferenceGrant {
    /// Who may refer. From 1 to 16.
    pub from: Vec<GrantFrom>,
    /// To what. From 1 to 16.
    pub to: Vec<GrantTo>,
}

/// Who may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrantFrom {
    /// API group of the referring kind; empty for the core.
    pub group: String,
    /// The referring kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
}

/// To what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrantTo {
    /// API group of the kind referred to; empty for the core.
    pub group: String,
    /// The kind referred to.
    pub kind: String,
    /// Only the object of this name. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl ReferenceGrant {
    /// Whether objects of `kind` in `namespace` may refer to `to`, which is in the grant's own namespace.
    pub fn permits(&self, kind: Kind, namespace: &str, to: &ObjectKey) -> bool {
        let from = self
            .from
            .iter()
            .any(|f| f.group == kind.group() && f.kind == kind.name() && f.namespace == namespace);
        from && self.to.iter().any(|t| {
            t.group == to.kind.group()
                && t.kind == to.kind.name()
                && t.name.as_ref().is_none_or(|name| *name == to.name)
        })
    }
}
