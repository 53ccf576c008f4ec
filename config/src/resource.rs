//! Any xDS resource, read by its type URL: the entrance that the xDS client and the control plane's checks share.

use std::sync::Arc;

use weft_xds_proto::any::{self, AnyError};
use weft_xds_proto::pb::google::protobuf::Any;
use weft_xds_proto::type_url;

use crate::cluster::Cluster;
use crate::diag::{Diagnostics, FieldPath};
use crate::endpoint::EndpointSet;
use crate::listener::Listener;
use crate::route::RouteTable;
use crate::secret::Secret;

/// A resource of one of the kinds that a proxy asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// LDS.
    Listener(Arc<Listener>),
    /// RDS.
    Route(Arc<RouteTable>),
    /// CDS.
    Cluster(Arc<Cluster>),
    /// EDS, with the name of the resource.
    Endpoints(Arc<str>, Arc<EndpointSet>),
    /// SDS.
    Secret(Arc<Secret>),
}

impl Resource {
    /// Reads the resource in `packed`; every fault and warning is noted in `diag`.
    ///
    /// `None` means that it is refused.
    pub fn parse(packed: &Any, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        match packed.type_url.as_str() {
            type_url::LISTENER => {
                let proto = unpack(packed, at, diag)?;
                Listener::parse(&proto, at, diag).map(|it| Self::Listener(it.into()))
            }
            type_url::ROUTE => {
                let proto = unpack(packed, at, diag)?;
                RouteTable::parse(&proto, at, diag).map(|it| Self::Route(it.into()))
            }
            type_url::CLUSTER => {
                let proto = unpack(packed, at, diag)?;
                Cluster::parse(&proto, at, diag).map(|it| Self::Cluster(it.into()))
            }
            type_url::ENDPOINT => {
                let proto: weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment =
                    unpack(packed, at, diag)?;
                let name = proto.cluster_name.as_str().into();
                EndpointSet::parse(&proto, at, diag).map(|it| Self::Endpoints(name, it.into()))
            }
            type_url::SECRET => {
                let proto = unpack(packed, at, diag)?;
                Secret::parse(&proto, at, diag).map(|it| Self::Secret(it.into()))
            }
            other => {
                diag.fault(
                    at.clone(),
                    format!("resources of type {other:?} are not known"),
                );
                None
            }
        }
    }

    /// The name under which the resource is asked for.
    pub fn name(&self) -> &str {
        match self {
            Self::Listener(listener) => &listener.name,
            Self::Route(table) => &table.name,
            Self::Cluster(cluster) => &cluster.name,
            Self::Endpoints(name, _) => name,
            Self::Secret(secret) => &secret.name,
        }
    }
}

/// Everything that a proxy would find wrong with `packed`; whoever makes resources asks before sending them.
pub fn check(packed: &Any) -> Diagnostics {
    let mut diag = Diagnostics::new();
    Resource::parse(packed, &FieldPath::root(), &mut diag);
    diag
}

fn unpack<M: prost::Name + Default>(
    packed: &Any,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<M> {
    let message: Result<M, AnyError> = any::unpack(packed);
    diag.keep(at.clone(), message)
}

#[cfg(test)]
mod tests;
