//! Reading `Service`, `MeshService` and `EndpointSlice`.

use std::net::IpAddr;

use super::{Fields, Item, Reader, check, metadata, suggestion};
use crate::gateway_api::endpoint_slice::{
    AddressType, Conditions, EndpointSlice, SliceEndpoint, SlicePort,
};
use crate::gateway_api::metadata::Metadata;
use crate::gateway_api::service::{
    AppProtocol, ClusterIps, Service, ServicePort, ServiceType, TargetPort, Transport,
};
use crate::yaml::{Meaning, shorten};

/// Reads the `spec` of a `Service`.
pub(crate) fn service(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Service> {
    let service_type = fields.get("type").and_then(|item| {
        item.choice(
            cx,
            &[
                ("ClusterIP", ServiceType::ClusterIP),
                ("NodePort", ServiceType::NodePort),
                ("LoadBalancer", ServiceType::LoadBalancer),
                ("ExternalName", ServiceType::ExternalName),
            ],
        )
    });
    let service_type = service_type.unwrap_or_default();
    let external = service_type == ServiceType::ExternalName;
    let external_name = fields
        .get("externalName")
        .and_then(|item| check::precise_host(cx, &item));
    if external && external_name.is_none() {
        fields.fault(cx, "a service of type ExternalName has an `externalName`");
    }
    let list = fields.get("ports");
    let min = usize::from(!external);
    if list.is_none() && !external {
        fields.fault(cx, "`ports` is required");
    }
    let ports = list
        .as_ref()
        .map(|list| list.each(cx, min, 250, service_port))
        .unwrap_or_default();
    if let Some(list) = &list {
        check_service_ports(cx, list, &ports);
    }
    let service = Service {
        service_type,
        cluster_ips: cluster_ips(cx, fields),
        ports,
        selector: metadata::labels(cx, fields, "selector"),
        external_name,
    };
    if let Some(item) = fields.get("sessionAffinity") {
        match item.text(cx) {
            Some("None") | None => {}
            Some(_) => item.warn(
                cx,
                "session affinity is not supported yet: requests are balanced without it",
            ),
        }
    }
    fields.accept(KUBERNETES_ONLY);
    Some(service)
}

fn cluster_ips(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> ClusterIps {
    let single = fields
        .get("clusterIP")
        .and_then(|item| cluster_ip(cx, &item));
    let many = fields
        .get("clusterIPs")
        .map(|item| item.each(cx, 0, 16, cluster_ip));
    let all: Vec<Option<IpAddr>> = match (many, single) {
        (Some(many), _) if !many.is_empty() => many,
        (_, Some(single)) => vec![single],
        _ => Vec::new(),
    };
    if all.iter().any(Option::is_none) {
        return ClusterIps::Headless;
    }
    ClusterIps::Assigned(all.into_iter().flatten().collect())
}

/// An address, or `None` inside for a headless service.
fn cluster_ip(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Option<IpAddr>> {
    match item.meaning() {
        Some(Meaning::Text("None")) => Some(None),
        Some(Meaning::Text("")) => None,
        _ => check::address(cx, item).map(Some),
    }
}

fn service_port(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ServicePort> {
    let mut fields = item.fields(cx)?;
    let name = fields.get("name").and_then(|item| check::label(cx, &item));
    let port = fields.require(cx, "port").and_then(|item| item.port(cx));
    let target_port = fields
        .get("targetPort")
        .and_then(|item| target_port(cx, &item));
    let protocol = transport(cx, &mut fields);
    let said = fields
        .get("appProtocol")
        .and_then(|item| foreign_protocol(cx, &item));
    fields.accept(&["nodePort"]);
    fields.finish(cx);
    let app_protocol = said.unwrap_or_else(|| protocol_by_name(name.as_deref()));
    Some(ServicePort {
        name,
        port: port?,
        target_port,
        app_protocol,
        protocol,
    })
}

fn check_service_ports(cx: &mut Reader<'_>, list: &Item<'_>, ports: &[ServicePort]) {
    check::unique(cx, list, ports, "the port", |p| {
        Some(format!("{} {:?}", p.port, p.protocol))
    });
    check::unique(cx, list, ports, "the port name", |p| p.name.clone());
    if ports.len() > 1 && ports.iter().any(|port| port.name.is_none()) {
        list.fault(cx, "where there is more than one port each has a name");
    }
}

fn target_port(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<TargetPort> {
    match item.meaning() {
        Some(Meaning::Text(_)) => check::label(cx, item).map(TargetPort::Name),
        _ => item.port(cx).map(TargetPort::Number),
    }
}

fn transport(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Transport {
    fields
        .get("protocol")
        .and_then(|item| {
            item.choice(
                cx,
                &[
                    ("TCP", Transport::Tcp),
                    ("UDP", Transport::Udp),
                    ("SCTP", Transport::Sctp),
                ],
            )
        })
        .unwrap_or_default()
}

/// What a name such as `http-web` says (the part before the first `-`).
fn protocol_by_name(name: Option<&str>) -> AppProtocol {
    let prefix = name
        .unwrap_or_default()
        .split('-')
        .next()
        .unwrap_or_default();
    known_protocol(prefix).unwrap_or_default()
}

fn known_protocol(text: &str) -> Option<AppProtocol> {
    let lower = text.to_ascii_lowercase();
    PROTOCOLS
        .iter()
        .find(|(name, _)| *name == lower)
        .map(|(_, protocol)| *protocol)
}

/// `appProtocol` of an object of our own: one of the known.
pub(crate) fn own_protocol(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AppProtocol> {
    let text = item.text(cx)?;
    let found = known_protocol(text);
    if found.is_none() {
        let names = PROTOCOLS.iter().map(|(name, _)| *name);
        let hint = suggestion(text, names.clone());
        let all = names.collect::<Vec<_>>().join(", ");
        item.fault(
            cx,
            format!("must be one of {all}, got `{}`{hint}", shorten(text)),
        );
    }
    found
}

/// `appProtocol` of a Kubernetes object, where others may have put words of their own.
fn foreign_protocol(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<AppProtocol> {
    let text = item.text(cx)?;
    let found = known_protocol(text);
    if found.is_none() {
        let hint = suggestion(text, PROTOCOLS.iter().map(|(name, _)| *name));
        let got = shorten(text);
        item.warn(
            cx,
            format!("unknown protocol `{got}`{hint} it is found out from the first bytes"),
        );
    }
    found
}

/// Reads an `EndpointSlice`, whose fields stand beside `metadata`.
pub(crate) fn endpoint_slice(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    metadata: &Metadata,
) -> Option<EndpointSlice> {
    let address_type = fields.require(cx, "addressType").and_then(|item| {
        if item.meaning() == Some(Meaning::Text("FQDN")) {
            item.fault(
                cx,
                "FQDN is not supported: use a MeshService with `discovery.dns`",
            );
            return None;
        }
        item.choice(
            cx,
            &[("IPv4", AddressType::IPv4), ("IPv6", AddressType::IPv6)],
        )
    });
    let endpoints = fields.get("endpoints").map(|list| {
        list.each(cx, 0, 1000, |cx, item| {
            slice_endpoint(cx, item, address_type)
        })
    });
    let list = fields.get("ports");
    let ports = list
        .as_ref()
        .map(|list| list.each(cx, 0, 100, slice_port))
        .unwrap_or_default();
    if let Some(list) = &list {
        check::unique(cx, list, &ports, "the port name", |port| {
            Some(port.name.clone())
        });
    }
    Some(EndpointSlice {
        service: metadata.labels.get(SERVICE_LABEL).cloned(),
        address_type: address_type?,
        endpoints: endpoints.unwrap_or_default(),
        ports,
    })
}

fn slice_endpoint(
    cx: &mut Reader<'_>,
    item: &Item<'_>,
    address_type: Option<AddressType>,
) -> Option<SliceEndpoint> {
    let mut fields = item.fields(cx)?;
    let addresses = fields.require(cx, "addresses").map(|list| {
        list.each(cx, 1, 100, |cx, item| {
            let address = check::address(cx, item)?;
            let fits = match address_type {
                Some(AddressType::IPv4) => address.is_ipv4(),
                Some(AddressType::IPv6) => address.is_ipv6(),
                None => true,
            };
            if !fits {
                item.fault(
                    cx,
                    format!("is not of the slice's `addressType`, got {address}"),
                );
            }
            Some(address)
        })
    });
    let conditions = fields
        .get("conditions")
        .and_then(|item| conditions(cx, &item))
        .unwrap_or_default();
    let endpoint = SliceEndpoint {
        addresses: addresses.unwrap_or_default(),
        conditions,
        hostname: fields
            .get("hostname")
            .and_then(|item| check::label(cx, &item)),
        node_name: fields.get("nodeName").and_then(|item| item.string(cx)),
        zone: fields.get("zone").and_then(|item| item.string(cx)),
    };
    fields.accept(&["targetRef", "hints", "deprecatedTopology"]);
    fields.finish(cx);
    Some(endpoint)
}

fn conditions(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Conditions> {
    let mut fields = item.fields(cx)?;
    let ready = fields
        .get("ready")
        .and_then(|item| item.bool(cx))
        .unwrap_or(true);
    let serving = fields
        .get("serving")
        .and_then(|item| item.bool(cx))
        .unwrap_or(ready);
    let terminating = fields
        .get("terminating")
        .and_then(|item| item.bool(cx))
        .unwrap_or(false);
    fields.finish(cx);
    Some(Conditions {
        ready,
        serving,
        terminating,
    })
}

fn slice_port(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<SlicePort> {
    let mut fields = item.fields(cx)?;
    let name = fields.get("name").and_then(|item| match item.meaning() {
        Some(Meaning::Text("")) => None,
        _ => check::label(cx, &item),
    });
    let port = fields.require(cx, "port").and_then(|item| item.port(cx));
    let protocol = transport(cx, &mut fields);
    let app_protocol = fields
        .get("appProtocol")
        .and_then(|item| foreign_protocol(cx, &item));
    fields.finish(cx);
    Some(SlicePort {
        name: name.unwrap_or_default(),
        port: port?,
        protocol,
        app_protocol: app_protocol.unwrap_or_default(),
    })
}

/// The label that names the service of a slice.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Words for protocols. TLS of the application's own and server-first protocols are opaque.
const PROTOCOLS: &[(&str, AppProtocol)] = &[
    ("http", AppProtocol::Http),
    ("http1", AppProtocol::Http),
    ("kubernetes.io/ws", AppProtocol::Http),
    ("http2", AppProtocol::Http2),
    ("h2c", AppProtocol::Http2),
    ("kubernetes.io/h2c", AppProtocol::Http2),
    ("grpc", AppProtocol::Grpc),
    ("tcp", AppProtocol::Tcp),
    ("tls", AppProtocol::Tcp),
    ("https", AppProtocol::Tcp),
    ("kubernetes.io/wss", AppProtocol::Tcp),
    ("mysql", AppProtocol::Tcp),
    ("postgres", AppProtocol::Tcp),
    ("redis", AppProtocol::Tcp),
    ("mongo", AppProtocol::Tcp),
    ("smtp", AppProtocol::Tcp),
    ("detect", AppProtocol::Detect),
];

/// Fields of a `Service` that change nothing inside the mesh.
const KUBERNETES_ONLY: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "sessionAffinityConfig",
    "trafficDistribution",
];
