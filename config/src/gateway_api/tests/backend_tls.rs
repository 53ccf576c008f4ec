//! `BackendTLSPolicy` and `ConfigMap`: whom to trust is said, once, and well.

use super::*;

fn policy(validation: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: t}}\nspec:\n  targetRefs: [{{group: '', kind: Service, name: a}}]\n  validation: {{{validation}}}\n"
    )
}

#[test]
fn a_policy_says_whom_to_trust_and_by_which_name() {
    let roots = "caCertificateRefs: [{group: '', kind: ConfigMap, name: r}]";
    let system = "wellKnownCACertificates: System";
    let table = [
        ("hostname: a.test".to_owned(), "whom to trust must be said"),
        (
            format!("hostname: a.test, {system}, {roots}"),
            "exclude each other",
        ),
        (
            "hostname: a.test, caCertificateRefs: []".to_owned(),
            "is empty",
        ),
        (system.to_owned(), "validation.hostname: is required"),
        (
            format!("hostname: '*.a.test', {system}"),
            "must be a lower-case host name",
        ),
        (format!("hostname: 10.0.0.1, {system}"), "not an address"),
        (
            roots.replace("ConfigMap", "Secret") + ", hostname: a.test",
            "caCertificateRefs[0].kind",
        ),
        (
            format!("hostname: a.test, {system}, subjectAltNames: [{{type: URI, hostname: a}}]"),
            "subjectAltNames[0].uri: is required",
        ),
        (
            format!("hostname: a.test, {system}, subjectAltNames: [{{type: URI, uri: a b}}]"),
            "must be a URI with its scheme",
        ),
        (
            format!("hostname: a.test, {system}, sni: b"),
            "unknown field `sni`",
        ),
    ];
    for (validation, message) in table {
        let found = findings(&policy(&validation));
        assert!(
            found.iter().any(|it| it.contains(message)),
            "{validation}: {found:#?}"
        );
    }
    let of_a_route = policy(&format!("hostname: a.test, {system}"))
        .replace("group: ''", "group: gateway.networking.k8s.io")
        .replace("kind: Service", "kind: HTTPRoute");
    let found = findings(&of_a_route);
    assert!(
        found[0].contains("attaches to a Service or MeshService"),
        "{found:#?}"
    );
    let options = policy(&format!("hostname: a.test, {system}")) + "  options: {a/b: c}\n";
    assert!(findings(&options)[0].contains("no options are known"));
}

#[test]
fn of_a_config_map_certificates_are_read_and_nothing_else_is_kept() {
    let map = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: r}}\nimmutable: true\ndata: {data}\n"
        )
    };
    for bad in ["{ca.crt: nothing}", "{ca.crt: ''}", "{ca.crt: 1}"] {
        let found = findings(&map(bad));
        assert!(found[0].contains("ca.crt"), "{bad}: {found:#?}");
    }
    assert!(findings(&map("[]"))[0].contains("must be a map"));
    let parsed = parse("f.yaml", &map("{password: secret}"));
    assert!(!parsed.has_faults());
    assert!(parsed.findings[0].message.contains("has no `ca.crt`"));
    let kept = parsed.documents[0].object.to_json().to_string();
    assert!(!kept.contains("secret"), "{kept}");
}
