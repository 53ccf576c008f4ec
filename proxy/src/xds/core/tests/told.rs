//! Secrets, and resources that name them.

use serde_json::{Value, json};

use super::*;
use crate::tls::tests::authority::{Authority, Issued, dns};

pub(super) fn issued() -> Issued {
    Authority::new("root").issue(&[dns("a.test")])
}

pub(super) fn certificate(name: &str, issued: &Issued) -> Any {
    let secret = json!({ "name": name, "tls_certificate": issued.json() });
    packed(Kind::Secret, &secret.to_string())
}

pub(super) fn roots(name: &str) -> Any {
    let authority = Authority::new("root");
    let secret = json!({ "name": name, "validation_context": {
        "trusted_ca": { "inline_string": authority.pem },
    } });
    packed(Kind::Secret, &secret.to_string())
}

pub(super) const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// A listener whose certificate comes from `source`; `further` are fields of its chain's filter.
pub(super) fn listener_from(name: &str, secret: &str, source: &Value, stat: &str) -> Any {
    let tls = json!({ "@type": format!("{TLS}.DownstreamTlsContext"), "common_tls_context": {
        "tls_certificate_sds_secret_configs": [{ "name": secret, "sds_config": source }],
    } });
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat, "cluster": "up",
    });
    let listener = json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{
            "filters": [{ "name": "tcp", "typed_config": proxy }],
            "transport_socket": { "name": "tls", "typed_config": tls },
        }],
    });
    packed(Kind::Listener, &listener.to_string())
}

pub(super) fn listener(name: &str, secret: &str) -> Any {
    listener_from(name, secret, &json!({ "ads": {} }), "s")
}

pub(super) fn cluster_from(name: &str, secret: &str, timeout: &str) -> Any {
    let tls = json!({ "@type": format!("{TLS}.UpstreamTlsContext"), "common_tls_context": {
        "validation_context_sds_secret_config": { "name": secret, "sds_config": { "ads": {} } },
    } });
    let cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": timeout,
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } },
        } }] }] },
        "transport_socket": { "name": "tls", "typed_config": tls },
    });
    packed(Kind::Cluster, &cluster.to_string())
}
