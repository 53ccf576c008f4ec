//! Workloads that have not proved who they are, beside ports that are for proven ones alone.

use weft_config::spiffe::SpiffeId;
use weft_xds_proto::pb::envoy::config::core::v3::SocketAddress;
use weft_xds_proto::pb::envoy::config::core::v3::address::Address;
use weft_xds_proto::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use weft_xds_proto::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;

use super::*;
use crate::translate::{Index, kept_out};

/// Where the endpoints of `web:9080` are, and whether they are spoken to over TLS.
fn endpoints(yaml: &str, workloads: Vec<Arc<Registration>>) -> Vec<(u32, bool)> {
    let snapshot = snapshot(yaml, workloads);
    let name = "web.default.svc.cluster.local:9080";
    let assignment: ClusterLoadAssignment = read(&snapshot, ResourceType::Endpoint, name);
    let all = assignment
        .endpoints
        .into_iter()
        .flat_map(|it| it.lb_endpoints);
    all.map(|it| {
        let Some(HostIdentifier::Endpoint(endpoint)) = it.host_identifier else {
            panic!("an endpoint")
        };
        let Some(Address::SocketAddress(SocketAddress {
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..
        })) = endpoint.address.and_then(|it| it.address)
        else {
            panic!("an address")
        };
        (port, it.metadata.is_some())
    })
    .collect()
}

/// One that has proved nothing, which says that its application listens on `ports`.
fn stranger(service: &str, ports: &[u16]) -> Arc<Registration> {
    let mut registration = Registration::clone(&workload(service, "v1", 7001));
    registration.workload.ports = ports.to_vec();
    let labels = &mut registration.workload.labels;
    labels.insert("app".to_owned(), "web".to_owned());
    registration.into()
}

fn member() -> Arc<Registration> {
    let mut registration = Registration::clone(&workload("web", "v1", 7002));
    let id = SpiffeId::parse("spiffe://cluster.local/ns/default/sa/web").unwrap();
    registration.workload.identity = Some(id);
    registration.into()
}

fn with_policy(namespace: &str, target: &str, mode: &str) -> String {
    format!(
        "{}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\n\
         spec: {{{target}mtls: {{mode: {mode}}}}}\n",
        service("web", "app: web").replace("9080, ", "9080, name: http, targetPort: 8080, ")
    )
}

const WEB: &str = "targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: web}], ";
const HTTP: &str =
    "targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: web, sectionName: http}], ";

#[test]
fn where_mtls_is_strict_a_workload_without_an_identity_is_no_endpoint() {
    let strict = [
        with_policy("default", WEB, "STRICT"),
        with_policy("default", HTTP, "STRICT"),
        with_policy("default", "", "STRICT"),
        with_policy("weft-system", "", "STRICT"),
    ];
    // What it calls itself, and where it says that it listens, changes nothing.
    let strangers = [
        stranger("web", &[8080]),
        stranger("evil", &[8080]),
        stranger("web", &[9999]),
        stranger("evil", &[9999]),
        stranger("evil", &[1, 2]),
    ];
    for yaml in &strict {
        for stranger in &strangers {
            let found = endpoints(yaml, vec![stranger.clone(), member()]);
            assert_eq!(found, [(7002, true)], "{yaml}\n{stranger:?}");
        }
    }
}

#[test]
fn where_mtls_is_not_strict_a_workload_without_an_identity_is_spoken_to_in_plain() {
    for mode in ["PERMISSIVE", "DISABLE"] {
        let yaml = with_policy("default", WEB, mode);
        let found = endpoints(&yaml, vec![stranger("web", &[8080]), member()]);
        assert_eq!(found, [(7001, false), (7002, mode == "PERMISSIVE")]);
    }
}

#[test]
fn whoever_is_left_out_is_told_with_the_port() {
    let index = Index::new(resources(&with_policy("default", WEB, "STRICT")));
    let discovered = Discovered {
        workloads: vec![stranger("evil", &[8080]), member()],
        ..Discovered::default()
    };
    let (_, web) = index.services().first_key_value().unwrap();
    let out = kept_out(&index, &discovered, web);
    let told: Vec<_> = out.iter().map(|(port, it)| (*port, &*it.node_id)).collect();
    assert_eq!(told, [(9080, "evil-v1-7001")]);
}

#[test]
fn a_service_that_newly_selects_a_stranger_takes_it_out_of_others() {
    let two = |selector: &str| {
        let policy = with_policy("default", WEB, "STRICT");
        let web = policy.replace("{app: web}", &format!("{{{selector}}}"));
        format!("{web}{}", service("other", "app: web"))
    };
    let mut translator = Translator::new(crate::translate::Names::default());
    let discovered = Discovered {
        workloads: vec![stranger("evil", &[8080])],
        ..Discovered::default()
    };
    let mut count = |yaml: &str| {
        translator.set_resources(resources(yaml));
        let done = translator.translate(&discovered);
        let snapshot = Snapshot::new(1, 1, "cluster.local".into(), done.units, done.inbound);
        let name = "other.default.svc.cluster.local:9080";
        let assignment: ClusterLoadAssignment = read(&snapshot, ResourceType::Endpoint, name);
        assignment.endpoints.len()
    };
    assert_eq!(
        (count(&two("app: nobody")), count(&two("app: web"))),
        (1, 0)
    );
}

#[test]
fn a_milder_policy_about_some_of_a_name_makes_it_no_milder_for_all() {
    let some = format!(
        "{}{}---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {{name: some}}\nspec: {{targetRefs: [{{group: \
         mesh.weft.dev, kind: MeshService, name: web-v2}}], mtls: {{mode: DISABLE}}}}\n",
        with_policy("default", "", "STRICT"),
        service("web-v2", "version: v2")
            .replace("workloads: {", "workloads: {serviceAccounts: [web], "),
    );
    let of = |version: &str, port| {
        let mut registration = Registration::clone(&member());
        registration.node_id = version.into();
        registration.workload.inbound_port = port;
        let labels = &mut registration.workload.labels;
        labels.insert("version".to_owned(), version.to_owned());
        Arc::new(registration)
    };
    // They share a listener, which those that call them know of all of them.
    let both = vec![of("v1", 7003), of("v2", 7004)];
    assert_eq!(endpoints(&some, both), [(7003, true), (7004, true)]);
    assert_eq!(endpoints(&some, vec![of("v2", 7004)]), [(7004, false)]);
}
