mod named;

use serde_json::{Value, json};

use crate::diag::{Diagnostics, FieldPath};
use crate::testing::{findings, message};
use crate::tls::{
    CertificateSource, CipherSuite, DownstreamTls, KeyExchange, SecretName, TlsVersion,
    UpstreamTls, ValidationSource,
};

fn files() -> Value {
    json!({ "certificate_chain": { "filename": "/c" }, "private_key": { "filename": "/k" } })
}

fn downstream(mut value: Value) -> (Option<DownstreamTls>, Vec<String>) {
    if value["common_tls_context"]["tls_certificates"].is_null() {
        value["common_tls_context"]["tls_certificates"] = json!([files()]);
    }
    let mut diag = Diagnostics::new();
    let read = DownstreamTls::parse(&message(value), &FieldPath::root(), &mut diag);
    (read.filter(|_| !diag.has_faults()), findings(&diag))
}

fn upstream(value: Value) -> (Option<UpstreamTls>, Vec<String>) {
    let mut diag = Diagnostics::new();
    let read = UpstreamTls::parse(&message(value), &FieldPath::root(), &mut diag);
    (read.filter(|_| !diag.has_faults()), findings(&diag))
}

#[test]
fn the_plainest_context_has_the_defaults() {
    let (tls, found) = downstream(json!({}));
    assert_eq!(found, Vec::<String>::new());
    let tls = tls.unwrap();
    assert!(!tls.require_client_certificate && tls.common.validation.is_none());
    let parameters = &tls.common.parameters;
    assert_eq!(
        (parameters.version_min, parameters.version_max),
        (TlsVersion::Tls12, TlsVersion::Tls13)
    );
    assert_eq!(parameters.key_exchange[0], KeyExchange::X25519MlKem768);
    assert!(matches!(
        &tls.common.certificates[..],
        [CertificateSource::Inline(_)]
    ));
}

#[test]
fn parameters_are_read_by_the_names_of_openssl() {
    let (tls, found) = downstream(json!({ "common_tls_context": {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["P-256", "X25519"],
            "cipher_suites": ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "ECDHE-RSA-AES256-GCM-SHA384"],
        },
        "alpn_protocols": ["h2,http/1.1"],
    } }));
    assert_eq!(found, Vec::<String>::new());
    let common = tls.unwrap().common;
    assert_eq!(common.parameters.version_min, TlsVersion::Tls13);
    assert_eq!(
        common.parameters.key_exchange,
        [KeyExchange::P256, KeyExchange::X25519]
    );
    assert_eq!(
        common.parameters.cipher_suites,
        [
            CipherSuite::EcdsaAes128,
            CipherSuite::EcdsaChaCha20,
            CipherSuite::RsaAes256
        ]
    );
    assert_eq!(common.alpn, ["h2".into(), "http/1.1".into()]);
}

#[test]
fn what_would_let_somebody_in_is_refused_with_its_place() {
    let common = |common: Value| json!({ "common_tls_context": common });
    for (value, fault) in [
        (
            json!({ "require_client_certificate": true }),
            "common_tls_context.validation_context: must say whom to trust: a certificate is required, and any would do",
        ),
        (
            json!({ "require_client_certificate": true, "common_tls_context": { "validation_context": {} } }),
            "common_tls_context.validation_context: must say whom to trust: a certificate is required, and any would do",
        ),
        (
            common(json!({ "validation_context": { "trust_chain_verification": 7 } })),
            "common_tls_context.validation_context.trust_chain_verification: must be 0 or 1, got 7",
        ),
        (
            common(json!({ "tls_certificates": [{ "certificate_chain": { "filename": "/c" } }] })),
            "common_tls_context.tls_certificates[0].private_key: is missing",
        ),
        (
            common(json!({ "tls_params": { "tls_minimum_protocol_version": "TLSv1_1" } })),
            "common_tls_context.tls_params.tls_minimum_protocol_version: TLS 1.0 and 1.1 are not spoken (RFC 8996)",
        ),
        (
            common(
                json!({ "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_2" } }),
            ),
            "common_tls_context.tls_params.tls_minimum_protocol_version: must not be above tls_maximum_protocol_version",
        ),
        (
            common(json!({ "tls_params": { "ecdh_curves": ["P-521"] } })),
            "common_tls_context.tls_params.ecdh_curves[0]: must be one of X25519MLKEM768, X25519, P-256, P-384, got \"P-521\"",
        ),
        (
            common(json!({ "alpn_protocols": [""] })),
            "common_tls_context.alpn_protocols[0]: must have from 1 to 255 bytes, got 0",
        ),
        (
            common(json!({ "key_log": { "path": "/keys" } })),
            "common_tls_context.key_log: is not supported: keys are never written",
        ),
    ] {
        let (tls, found) = downstream(value);
        assert!(tls.is_none());
        assert_eq!(found, [format!("fault: {fault}")]);
    }
    let (tls, found) = upstream(json!({}));
    assert!(tls.is_none());
    assert_eq!(found, ["fault: common_tls_context: is missing"]);
    let (tls, found) =
        upstream(json!({ "common_tls_context": {}, "auto_sni_san_validation": true }));
    assert!(tls.is_none());
    assert_eq!(found, ["fault: auto_sni_san_validation: needs sni"]);
    let (tls, found) = upstream(json!({ "common_tls_context": {}, "sni": "a b.test" }));
    assert!(tls.is_none());
    assert_eq!(
        found,
        ["fault: sni: must be a host name or an IP address, got \"a b.test\""]
    );
}

#[test]
fn secrets_are_named_where_they_are_not_written_out() {
    let (tls, found) = downstream(json!({ "common_tls_context": {
        "tls_certificates": [],
        "tls_certificate_sds_secret_configs": [{ "name": "own" }],
        "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": "spiffe://td/a" } }] },
            "validation_context_sds_secret_config": { "name": "roots" },
        },
    } }));
    assert_eq!(found, Vec::<String>::new());
    let common = tls.unwrap().common;
    let names: Vec<_> = common
        .certificates
        .iter()
        .filter_map(CertificateSource::named)
        .collect();
    assert_eq!(names, [&SecretName::of_bootstrap("own")]);
    let validation = common.validation.unwrap();
    assert_eq!(validation.named(), Some(&SecretName::of_bootstrap("roots")));
    let ValidationSource::Combined(base, _) = validation else {
        panic!("{validation:?}")
    };
    assert_eq!(base.subject_alt_names.len(), 1);
}

#[test]
fn the_workloads_own_identity_is_a_certificate_provider() {
    let provider = json!({ "instance_name": "default" });
    let names = json!([{ "san_type": "URI", "matcher": { "exact": "spiffe://td/ns/a/sa/b" } }]);
    let context = json!({ "ca_certificate_provider_instance": provider, "match_typed_subject_alt_names": names });
    for validation in [
        json!({ "validation_context": context }),
        json!({ "combined_validation_context": { "default_validation_context": context } }),
    ] {
        let mut common = validation;
        common["tls_certificate_provider_instance"] = provider.clone();
        let (tls, found) = upstream(json!({ "common_tls_context": common }));
        assert_eq!(found, Vec::<String>::new());
        let common = tls.unwrap().common;
        let own = SecretName::of_workload();
        assert_eq!(common.certificates, [CertificateSource::Named(own.clone())]);
        let Some(ValidationSource::Combined(base, named)) = common.validation else {
            panic!("{:?}", common.validation)
        };
        assert_eq!((base.subject_alt_names.len(), named), (1, own));
    }
    let (tls, found) = upstream(json!({ "common_tls_context": {
        "tls_certificate_provider_instance": { "instance_name": "other" },
        "validation_context": { "ca_certificate_provider_instance": { "instance_name": "default", "certificate_name": "x" } },
    } }));
    assert!(tls.is_none());
    assert_eq!(
        found,
        [
            "fault: common_tls_context.tls_certificate_provider_instance: instance_name must be \"default\", got \"other\"",
            "fault: common_tls_context.validation_context.ca_certificate_provider_instance: certificate_name: there is but one root_certificate_name",
        ]
    );
}
