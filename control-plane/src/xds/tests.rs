//! The protocol by tables, then over real connections.

mod machine;
mod silent;
mod wire;

use std::sync::Arc;

use crate::snapshot::{
    ListenerTemplate, Outbound, PortUnit, Resource, ResourceType, RouteUnit, ServiceUnit, Snapshot,
    encode_routes, root_ca,
};

/// The types that services are made of.
pub(super) const OF_SERVICES: [ResourceType; 4] = [
    ResourceType::Cluster,
    ResourceType::Endpoint,
    ResourceType::Listener,
    ResourceType::Route,
];

/// A snapshot of services `a`, `b`, … in `default`, port 80; `version` changes every cluster and route.
pub(super) fn snapshot(serial: u64, services: &[&str], version: &str) -> Snapshot {
    let units = services.iter().map(|name| Arc::new(unit(name, version)));
    let mut snapshot = Snapshot::new(serial, serial, "cluster.local".into(), units, []);
    snapshot.root_ca = Some(root_ca(version).into());
    snapshot
}

fn unit(name: &str, version: &str) -> ServiceUnit {
    let host = format!("{name}.default.svc.cluster.local");
    let canonical = format!("{host}:80");
    let value = |what: &str| format!("{what} {name} {version}").into_bytes();
    let resource =
        |kind, value: &[u8]| Arc::new(Resource::from_value(kind, canonical.as_str(), value));
    ServiceUnit {
        host: host.into(),
        name: name.into(),
        namespace: "default".into(),
        accounts: vec![],
        addresses: vec![],
        ports: vec![PortUnit {
            port: 80,
            outbound: Outbound {
                listener: Arc::new(ListenerTemplate::new(Vec::new())),
                by_address: None,
                route: Some(Arc::new(RouteUnit::new(&canonical, encode_routes(vec![])))),
                tcp_filter: None,
            },
            consumers: Default::default(),
            cluster: resource(ResourceType::Cluster, &value("cluster")),
            mesh_cluster: None,
            endpoints: resource(ResourceType::Endpoint, b"endpoints"),
        }],
    }
}
