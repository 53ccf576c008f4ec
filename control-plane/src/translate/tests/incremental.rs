//! A change costs what it concerns.

use super::*;

/// A translator that knows `yaml`, and the state.
fn knowing(yaml: &str) -> (Translator, Resources) {
    let state = resources(yaml);
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(state.clone());
    translator.translate(&Discovered::default());
    (translator, state)
}

/// How many services are looked at and made anew when the objects of `yaml` come or take the place of others.
fn change(translator: &mut Translator, state: &mut Resources, yaml: &str) -> (usize, usize) {
    for object in resources(yaml).iter() {
        state.insert(Arc::clone(object));
    }
    translator.set_resources(state.clone());
    let done = translator.translate(&Discovered::default());
    (done.looked_at, done.rebuilt)
}

fn weighted(weight: u32) -> String {
    reviews(&format!(
        "  - backendRefs: [{V1}, weight: {weight}}}, {V2}}}]\n"
    ))
}

#[test]
fn only_services_that_a_change_concerns_are_looked_at() {
    let (mut translator, mut state) = knowing(&weighted(1));
    let same = weighted(1);
    assert_eq!(change(&mut translator, &mut state, &same), (0, 0));
    let route = weighted(2);
    let route = route.split("---").last().expect("the route");
    assert_eq!(change(&mut translator, &mut state, route), (1, 1));
}

#[test]
fn a_workload_concerns_the_services_that_select_it() {
    let (mut translator, _) = knowing(&weighted(1));
    let mut discovered = Discovered::default();
    assert_eq!(translator.translate(&discovered).looked_at, 0);
    discovered.workloads.push(workload("reviews", "v2", 7002));
    let done = translator.translate(&discovered);
    assert_eq!(
        (done.looked_at, done.rebuilt),
        (2, 2),
        "reviews and reviews-v2"
    );
    assert_eq!(translator.translate(&discovered).looked_at, 0);
    discovered.workloads.clear();
    assert_eq!(translator.translate(&discovered).rebuilt, 2);
}

#[test]
fn a_backend_that_comes_later_concerns_the_service_that_waits_for_it() {
    let later = "{group: mesh.weft.dev, kind: MeshService, name: later, port: 9080}";
    let yaml = reviews(&format!("  - backendRefs: [{later}]\n"));
    let (mut translator, mut state) = knowing(&yaml);
    let came = service("later", "app: later");
    assert_eq!(change(&mut translator, &mut state, &came), (2, 2));
    let done = translator.translate(&Discovered::default());
    let snapshot = Snapshot::new(1, 1, "cluster.local".into(), done.units, done.inbound);
    let action = routes(&snapshot, REVIEWS).remove(0).action;
    assert!(matches!(action, Some(Action::Route(_))), "{action:?}");
}

#[test]
fn a_policy_of_a_route_concerns_the_service_of_the_route() {
    let (mut translator, mut state) = knowing(&weighted(1));
    let policy = "apiVersion: mesh.weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: slow}\nspec:\n  targetRefs: \
                  [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: reviews}]\n  timeouts: {request: 3s}\n";
    assert_eq!(change(&mut translator, &mut state, policy), (1, 1));
}

#[test]
fn a_grant_concerns_the_services_whose_routes_cross_namespaces() {
    let far = "{group: mesh.weft.dev, kind: MeshService, name: far, namespace: shop, port: 9080}";
    let yaml = reviews(&format!("  - backendRefs: [{far}]\n"))
        + &service("far", "app: far").replace("{name: far}", "{name: far, namespace: shop}");
    let (mut translator, mut state) = knowing(&yaml);
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: shop}\n\
                 spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n  to: [{group: \
                 mesh.weft.dev, kind: MeshService}]\n";
    assert_eq!(change(&mut translator, &mut state, grant), (1, 1));
}

#[test]
fn a_service_that_goes_takes_its_resources_with_it() {
    let (mut translator, mut state) = knowing(&weighted(1));
    let gone = state
        .iter()
        .find(|it| it.metadata.name == "reviews-v2")
        .map(|it| it.key());
    state.remove(&gone.expect("there"));
    translator.set_resources(state);
    let done = translator.translate(&Discovered::default());
    assert_eq!(done.units.len(), 2);
    assert_eq!(done.looked_at, 2, "itself, and reviews that sends to it");
}
