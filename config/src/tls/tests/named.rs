use std::time::Duration;

use super::*;
use crate::tls::{AwaitedSecret, SdsServer, SecretHolds, SecretOrigin};

/// A context whose certificate comes from `source`.
fn from(source: Value) -> (Option<DownstreamTls>, Vec<String>) {
    let mut value = json!({ "common_tls_context": {
        "tls_certificate_sds_secret_configs": [{ "name": "own", "sds_config": source }],
    } });
    value["common_tls_context"]["tls_certificates"] = json!([]);
    downstream(value)
}

fn awaited(source: Value) -> AwaitedSecret {
    let (tls, found) = from(source);
    assert_eq!(found, Vec::<String>::new());
    let common = tls.unwrap().common;
    let [awaited] = &common.awaited[..] else {
        panic!("{:?}", common.awaited)
    };
    assert_eq!(common.certificates[0].named(), Some(&awaited.secret.name));
    awaited.clone()
}

fn server(api_type: &str, services: Value) -> Value {
    json!({ "resource_api_version": "V3", "api_config_source": {
        "api_type": api_type, "transport_api_version": "V3", "grpc_services": services,
    } })
}

fn through(cluster: &str) -> Value {
    json!({ "envoy_grpc": { "cluster_name": cluster } })
}

#[test]
fn a_secret_may_come_from_ads_a_server_or_a_file() {
    let of_server = |delta| {
        SecretOrigin::Server(
            SdsServer {
                cluster: "agent".into(),
                delta,
            }
            .into(),
        )
    };
    for (source, origin) in [
        (json!({ "ads": {} }), SecretOrigin::Ads),
        (json!({ "self": {} }), SecretOrigin::Ads),
        (
            json!({ "path": "/s.yaml" }),
            SecretOrigin::File("/s.yaml".into()),
        ),
        (
            json!({ "path_config_source": { "path": "/s.yaml", "watched_directory": { "path": "/" } } }),
            SecretOrigin::File("/s.yaml".into()),
        ),
        (server("GRPC", json!([through("agent")])), of_server(false)),
        (
            server("DELTA_GRPC", json!([through("agent")])),
            of_server(true),
        ),
    ] {
        let awaited = awaited(source);
        assert_eq!(awaited.secret.name.origin, origin);
        assert_eq!(&*awaited.secret.name.name, "own");
        assert_eq!(awaited.secret.holds, SecretHolds::Certificate);
    }
}

#[test]
fn a_secret_is_waited_for_as_long_as_is_said_and_else_for_fifteen_seconds() {
    for (given, timeout) in [
        (Value::Null, Some(Duration::from_secs(15))),
        (json!("2.5s"), Some(Duration::from_millis(2_500))),
        (json!("0s"), None),
    ] {
        let source = json!({ "ads": {}, "initial_fetch_timeout": given });
        assert_eq!(awaited(source).fetch_timeout, timeout);
    }
}

#[test]
fn secrets_of_the_bootstrap_are_not_waited_for() {
    let (tls, _) = downstream(json!({ "common_tls_context": {
        "validation_context_sds_secret_config": { "name": "roots" },
    } }));
    assert_eq!(tls.unwrap().common.awaited, []);
}

#[test]
fn sources_that_cannot_be_asked_are_refused_with_their_place() {
    let at = "common_tls_context.tls_certificate_sds_secret_configs[0].sds_config";
    for (source, fault) in [
        (json!({}), ": names no source"),
        (
            json!({ "ads": {}, "initial_fetch_timeout": "-1s" }),
            ".initial_fetch_timeout: must not be negative, got -1s",
        ),
        (
            json!({ "path_config_source": { "path": "" } }),
            ".path_config_source.path: must not be empty",
        ),
        (
            json!({ "path_config_source": { "path": "/s", "watched_directory": { "path": "" } } }),
            ".path_config_source.watched_directory.path: must not be empty",
        ),
        (
            server("REST", json!([through("agent")])),
            ".api_config_source.api_type: must be GRPC or DELTA_GRPC",
        ),
        (
            server("AGGREGATED_GRPC", json!([through("agent")])),
            ".api_config_source.api_type: must be GRPC or DELTA_GRPC",
        ),
        (
            server("GRPC", json!([])),
            ".api_config_source.grpc_services: must not be empty",
        ),
        (
            server("GRPC", json!([through("a"), through("b")])),
            ".api_config_source.grpc_services: must be one, got 2",
        ),
        (
            server("GRPC", json!([through("")])),
            ".api_config_source.grpc_services[0].envoy_grpc.cluster_name: must not be empty",
        ),
        (
            server(
                "GRPC",
                json!([{ "google_grpc": { "target_uri": "unix:/s", "stat_prefix": "s" } }]),
            ),
            ".api_config_source.grpc_services[0]: only envoy_grpc is supported: name a static cluster, which may have a pipe \
             as its endpoint",
        ),
    ] {
        let (tls, found) = from(source);
        assert!(tls.is_none());
        assert_eq!(found, [format!("fault: {at}{fault}")]);
    }
}

#[test]
fn a_watched_directory_must_have_a_path() {
    let mut files = files();
    files["watched_directory"] = json!({ "path": "/certs" });
    let with = |files: &Value| {
        downstream(json!({ "common_tls_context": { "tls_certificates": [files] } }))
    };
    assert_eq!(with(&files).1, Vec::<String>::new());
    files["watched_directory"]["path"] = json!("");
    assert_eq!(
        with(&files).1,
        ["fault: common_tls_context.tls_certificates[0].watched_directory.path: must not be empty"]
    );
}
