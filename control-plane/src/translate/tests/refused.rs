//! What proxies would refuse is neither stored nor served.

use super::*;

/// Each part of the method compiles; put together in one path they do not, for the comment of the first runs on.
fn refused_route() -> String {
    service("cart", "app: cart")
        + "---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: odd}\nspec:\n  parentRefs: [{group: \
           mesh.weft.dev, kind: MeshService, name: cart}]\n  rules:\n  - matches: [{method: {type: RegularExpression, service: \
           '(?x)a # b', method: c}}]\n    backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: cart, port: 9080}]\n"
}

#[test]
fn a_state_is_judged_before_it_is_stored() {
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(resources(&service("cart", "app: cart")));
    translator.translate(&Discovered::default());
    let faults = translator.judge(&resources(&refused_route()));
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}")
    };
    let fault = fault.to_string();
    assert!(fault.contains("GRPCRoute default/odd"), "{fault}");
    assert!(
        fault.contains("RDS cart.default.svc.cluster.local:9080"),
        "{fault}"
    );
    assert!(
        translator
            .judge(&resources(&service("cart", "app: cart")))
            .is_empty()
    );
}

#[test]
fn the_last_good_form_is_served_for_as_long_as_the_newest_would_be_refused() {
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(resources(&service("cart", "app: cart")));
    let good = translator.translate(&Discovered::default());
    translator.set_resources(resources(&refused_route()));
    for _ in 0..2 {
        let done = translator.translate(&Discovered::default());
        assert!(Arc::ptr_eq(&done.units[0], &good.units[0]));
        assert_eq!(done.refused.len(), 1, "{:?}", done.refused);
    }
    translator.set_resources(resources(&service("cart", "app: cart, version: v1")));
    let done = translator.translate(&Discovered::default());
    assert!(done.refused.is_empty());
    assert_eq!(done.units.len(), 1);
}

#[test]
fn a_service_that_never_was_good_is_not_served() {
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(resources(&refused_route()));
    let done = translator.translate(&Discovered::default());
    assert!(done.units.is_empty());
    assert_eq!(done.refused.len(), 1);
}
