//! Clusters that sidecars fetch keys of tokens from. Their names say everything; each exists as soon as it is asked for.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use weft_xds_proto::pb::envoy::config::core::v3::{
    Address, SocketAddress, TransportSocket, address, socket_address::PortSpecifier,
};
use weft_xds_proto::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weft_xds_proto::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
    common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType,
};

use super::proto::{ads, exact_name, system_roots, tls_socket, u32_value};

/// What the names of these clusters begin with: `jwks|https|HOST|PORT`.
pub(super) const PREFIX: &str = "jwks|";

/// Where keys are fetched, as the name of a cluster says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeysHost {
    encrypted: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The name of the cluster for keys at `uri`; a host without a dot is a service of `namespace`.
pub fn keys_cluster_name(uri: &str, namespace: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("http", uri));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let default = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.parse::<SocketAddr>() {
        Ok(address) => (address.ip().to_string(), address.port()),
        Err(_) => match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !host.contains(':') => {
                (host.to_owned(), port.parse().unwrap_or(default))
            }
            _ => (authority.trim_matches(['[', ']']).to_owned(), default),
        },
    };
    let host = host.to_ascii_lowercase();
    let qualified = host.contains('.') || host.parse::<IpAddr>().is_ok();
    match qualified {
        true => format!("{PREFIX}{scheme}|{host}|{port}"),
        false => format!("{PREFIX}{scheme}|{host}.{namespace}|{port}"),
    }
}

impl KeysHost {
    /// What `name` says; `None`: it is no name of such a cluster.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('|');
        let encrypted = match parts.next()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = (parts.next()?, parts.next()?.parse().ok()?);
        let named = !host.is_empty() && host.bytes().all(|it| it.is_ascii_graphic());
        (named && port > 0 && parts.next().is_none()).then(|| Self {
            encrypted,
            host: host.to_owned(),
            port,
        })
    }

    /// Whether a service of the mesh may be meant: what asks for TLS is spoken to as it says.
    pub(super) fn may_be_service(&self) -> bool {
        !self.encrypted
    }

    /// The cluster of a host that is no service of the mesh.
    pub(super) fn cluster(&self, name: &str) -> Cluster {
        let ip = self.host.parse::<IpAddr>().ok();
        let kind = match ip {
            Some(_) => DiscoveryType::Static,
            None => DiscoveryType::StrictDns,
        };
        let endpoint = LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(self.address()),
                ..Endpoint::default()
            })),
            ..LbEndpoint::default()
        };
        Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
            load_assignment: Some(ClusterLoadAssignment {
                cluster_name: name.to_owned(),
                endpoints: vec![LocalityLbEndpoints {
                    lb_endpoints: vec![endpoint],
                    load_balancing_weight: Some(u32_value(1)),
                    ..LocalityLbEndpoints::default()
                }],
                ..ClusterLoadAssignment::default()
            }),
            transport_socket: self.encrypted.then(|| self.tls(ip)),
            ..Cluster::default()
        }
    }

    fn address(&self) -> Address {
        Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: self.host.clone(),
                port_specifier: Some(PortSpecifier::PortValue(self.port.into())),
                ..SocketAddress::default()
            })),
        }
    }

    /// By the roots of the sidecar's machine, and by name.
    fn tls(&self, ip: Option<IpAddr>) -> TransportSocket {
        let kind = match ip {
            Some(_) => SanType::IpAddress,
            None => SanType::Dns,
        };
        let validation = CertificateValidationContext {
            match_typed_subject_alt_names: vec![exact_name(kind, self.host.clone())],
            ..system_roots()
        };
        tls_socket(&UpstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
                ..CommonTlsContext::default()
            }),
            sni: ip.map_or_else(|| self.host.clone(), |_| String::new()),
            ..UpstreamTlsContext::default()
        })
    }
}

/// The cluster of a service of the mesh under the name `name`: spoken to as ever, over HTTP/1.1, which keys are fetched by.
pub(super) fn of_service(service: Cluster, name: &str) -> Cluster {
    Cluster {
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: service.name,
        }),
        name: name.to_owned(),
        typed_extension_protocol_options: HashMap::new(),
        ..service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_keys_are() {
        for (uri, name) in [
            ("https://IdP.example/keys", "jwks|https|idp.example|443"),
            ("http://idp.example:8080?x", "jwks|http|idp.example|8080"),
            ("http://keycloak/keys", "jwks|http|keycloak.shop|80"),
            ("http://keycloak:8080/keys", "jwks|http|keycloak.shop|8080"),
            ("http://127.0.0.1:9/", "jwks|http|127.0.0.1|9"),
            ("https://[::1]:9/", "jwks|https|::1|9"),
            ("https://[::1]/", "jwks|https|::1|443"),
        ] {
            assert_eq!(keys_cluster_name(uri, "shop"), name);
            let host = KeysHost::parse(name).unwrap();
            assert_eq!(host.encrypted, uri.starts_with("https"), "{uri}");
        }
        for name in [
            "jwks|",
            "jwks|ftp|a|1",
            "jwks|http|a|0",
            "jwks|http||1",
            "jwks|http|a|1|2",
            "jwks|http|a b|1",
        ] {
            assert_eq!(KeysHost::parse(name), None, "{name}");
        }
    }

    #[test]
    fn proxies_take_clusters_of_either_kind() {
        for name in [
            "jwks|https|idp.example|443",
            "jwks|http|idp.example|80",
            "jwks|https|::1|443",
        ] {
            let cluster = KeysHost::parse(name).unwrap().cluster(name);
            let mut diag = weft_config::diag::Diagnostics::new();
            let at = weft_config::diag::FieldPath::root();
            let read = weft_config::cluster::Cluster::parse(&cluster, &at, &mut diag);
            assert!(
                read.is_some() && diag.is_empty(),
                "{name}: {:?}",
                diag.findings()
            );
        }
    }
}
