//! Reading `MeshService`.

use super::service::own_protocol;
use super::{Fields, Item, Reader, check, metadata};
use crate::gateway_api::mesh_service::{
    DnsDiscovery, DnsRecord, MeshDiscovery, MeshPort, MeshService, StaticDiscovery, StaticEndpoint,
    WorkloadDiscovery, dns_refresh,
};

/// Reads the `spec` of a `MeshService`.
pub(crate) fn mesh_service(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<MeshService> {
    let ports = fields.require(cx, "ports").map(|list| {
        let ports = list.each(cx, 1, 64, port);
        check::unique(cx, &list, &ports, "the port", |port| Some(port.port));
        check::unique(cx, &list, &ports, "the port name", |port| port.name.clone());
        ports
    });
    let discovery = fields
        .require(cx, "discovery")
        .and_then(|item| discovery(cx, &item));
    let addresses = fields.get("addresses").map(|list| {
        let addresses = list.each(cx, 0, 16, check::address);
        check::unique(cx, &list, &addresses, "the address", Some);
        addresses
    });
    Some(MeshService {
        ports: ports?,
        discovery: discovery?,
        addresses: addresses.unwrap_or_default(),
    })
}

fn port(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<MeshPort> {
    let mut fields = item.fields(cx)?;
    let name = fields.get("name").and_then(|item| check::label(cx, &item));
    let port = fields.require(cx, "port").and_then(|item| item.port(cx));
    let target_port = fields.get("targetPort").and_then(|item| item.port(cx));
    let app_protocol = fields
        .get("appProtocol")
        .and_then(|item| own_protocol(cx, &item));
    fields.finish(cx);
    Some(MeshPort {
        name,
        port: port?,
        target_port,
        app_protocol: app_protocol.unwrap_or_default(),
    })
}

fn discovery(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<MeshDiscovery> {
    let mut fields = item.fields(cx)?;
    let given = [
        fields.get("static").map(|item| static_discovery(cx, &item)),
        fields.get("dns").map(|item| dns(cx, &item)),
        fields.get("workloads").map(|item| workloads(cx, &item)),
    ];
    let mut found = given.into_iter().flatten();
    let (first, second) = (found.next(), found.next());
    if first.is_none() || second.is_some() {
        fields.fault(
            cx,
            "must have exactly one of `static`, `dns` and `workloads`",
        );
    }
    fields.finish(cx);
    first.flatten()
}

fn static_discovery(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<MeshDiscovery> {
    let mut fields = item.fields(cx)?;
    let endpoints = fields.require(cx, "endpoints").map(|list| {
        let endpoints = list.each(cx, 0, 1000, endpoint);
        check::unique(cx, &list, &endpoints, "the endpoint", |endpoint| {
            let port = endpoint
                .port
                .map_or(String::new(), |port| format!(" port {port}"));
            Some(format!("{}{port}", endpoint.address))
        });
        endpoints
    });
    fields.finish(cx);
    Some(MeshDiscovery::Static(StaticDiscovery {
        endpoints: endpoints?,
    }))
}

fn endpoint(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<StaticEndpoint> {
    let mut fields = item.fields(cx)?;
    let address = fields
        .require(cx, "address")
        .and_then(|item| check::address(cx, &item));
    let port = fields.get("port").and_then(|item| item.port(cx));
    let weight = fields
        .get("weight")
        .and_then(|item| item.number(cx, 1, 1_000_000));
    let zone = fields.get("zone").and_then(|item| item.string(cx));
    fields.finish(cx);
    Some(StaticEndpoint {
        address: address?,
        port,
        weight: weight.unwrap_or(1),
        zone,
    })
}

fn dns(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<MeshDiscovery> {
    let mut fields = item.fields(cx)?;
    let record = fields
        .get("type")
        .and_then(|item| item.choice(cx, &[("A", DnsRecord::A), ("SRV", DnsRecord::Srv)]));
    let record = record.unwrap_or_default();
    let host = fields.require(cx, "host").and_then(|item| match record {
        DnsRecord::A => check::precise_host(cx, &item),
        DnsRecord::Srv => srv_name(cx, &item),
    });
    let refresh = fields
        .get("refresh")
        .and_then(|item| check::span_within(cx, &item, 1000, 3_600_000));
    fields.finish(cx);
    Some(MeshDiscovery::Dns(DnsDiscovery {
        host: host?,
        record,
        refresh: refresh.unwrap_or_else(dns_refresh),
    }))
}

/// `_http._tcp.shop.example.com`: labels that may begin with `_`.
fn srv_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let bare = text
            .split('.')
            .map(|label| label.strip_prefix('_').unwrap_or(label));
        let bare = bare.collect::<Vec<_>>().join(".");
        match crate::gateway_api::names::is_dns_subdomain(&bare) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "must be a lower-case DNS name such as `_http._tcp.shop.example.com`, got `{}`",
                crate::yaml::shorten(text)
            )),
        }
    })
}

fn workloads(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<MeshDiscovery> {
    let mut fields = item.fields(cx)?;
    if fields.require(cx, "selector").is_some_and(
        |item| matches!(&item.node.data, crate::yaml::Data::Map(map) if map.is_empty()),
    ) {
        fields.fault(
            cx,
            "`selector` must have at least one label: an empty one would select every workload",
        );
    }
    let selector = metadata::labels(cx, &mut fields, "selector");
    let service_accounts = fields.get("serviceAccounts").map(|list| {
        let accounts = list.each(cx, 1, 64, |cx, item| check::subdomain(cx, item));
        check::unique(cx, &list, &accounts, "the service account", |it| {
            Some(it.clone())
        });
        accounts
    });
    fields.finish(cx);
    Some(MeshDiscovery::Workloads(WorkloadDiscovery {
        selector,
        service_accounts: service_accounts.unwrap_or_default(),
    }))
}
