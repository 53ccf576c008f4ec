//! What proxies would refuse, found by the code that they read resources with.

use std::fmt;

use weft_config::diag::Finding;
use weft_config::gateway_api::ObjectKey;
use weft_xds_proto::pb::google::protobuf::Any;

use crate::snapshot::Resource;

/// A resource that proxies would refuse.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Its type and name: `RDS reviews.default.svc.cluster.local:9080`.
    pub resource: String,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxies would refuse {}", self.resource)?;
        let mut separator = ": ";
        for finding in &self.findings {
            write!(f, "{separator}{finding}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// A resource that proxies would refuse, with the objects that bring it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Unservable {
    /// What differs from the state before and concerns the resource; at least one.
    pub causes: Vec<ObjectKey>,
    /// The resource.
    pub refused: Refused,
}

impl fmt::Display for Unservable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
        write!(f, "{}: {}", causes.join(", "), self.refused)
    }
}

/// Asks the code that a proxy reads resources with.
pub(crate) fn check(resource: &Resource) -> Option<Refused> {
    let packed = Any {
        type_url: resource.kind.type_url().to_owned(),
        value: resource.value().to_vec(),
    };
    let found = weft_config::resource::check(&packed);
    (!found.is_empty()).then(|| Refused {
        resource: format!("{} {}", resource.kind.short(), resource.name),
        findings: found.findings().to_vec(),
    })
}
