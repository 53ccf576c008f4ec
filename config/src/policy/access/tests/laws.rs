//! What holds for all rules.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn leaf() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "any": true }),
        json!({ "destination_port": 8080 }),
        json!({ "destination_port": 9 }),
        json!({ "url_path": { "path": { "prefix": "/items" } } }),
        json!({ "url_path": { "path": { "exact": "/admin" } } }),
        json!({ "header": { "name": "x-team", "string_match": { "exact": "red" } } }),
        json!({ "header": { "name": "x-none", "present_match": true } }),
        json!({ "header": { "name": ":method", "string_match": { "exact": "POST" } } }),
        json!({ "requested_server_name": { "suffix": ".test" } }),
    ])
}

fn permission() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| json!({ "not_rule": it })),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|it| json!({ "and_rules": { "rules": it } })),
            prop::collection::vec(inner, 1..4)
                .prop_map(|it| json!({ "or_rules": { "rules": it } })),
        ]
    })
}

fn cases() -> [Case; 3] {
    [request(), request().plain(), request().plain().connection()]
}

fn allows(permissions: &[Value]) -> Vec<bool> {
    let any = json!([{ "any": true }]);
    let rules =
        rules(json!({ "policies": { "p": { "permissions": permissions, "principals": any } } }));
    cases().iter().map(|case| case.judged(&rules).0).collect()
}

proptest! {
    #[test]
    fn what_is_turned_round_twice_is_as_it_was(permission in permission()) {
        let twice = json!({ "not_rule": { "not_rule": permission } });
        prop_assert_eq!(allows(&[permission]), allows(&[twice]));
    }

    #[test]
    fn a_condition_or_its_opposite_holds(permission in permission()) {
        let not = json!({ "not_rule": permission });
        let both = allows(std::slice::from_ref(&permission));
        for (is, is_not) in both.iter().zip(allows(&[not])) {
            prop_assert_ne!(*is, is_not);
        }
    }

    #[test]
    fn the_order_of_conditions_changes_nothing(parts in prop::collection::vec(permission(), 1..5)) {
        let turned: Vec<Value> = parts.iter().rev().cloned().collect();
        prop_assert_eq!(allows(&parts), allows(&turned));
        for set in ["and_rules", "or_rules"] {
            let of = |rules: &[Value]| json!({ set: { "rules": rules } });
            prop_assert_eq!(allows(&[of(&parts)]), allows(&[of(&turned)]));
        }
    }

    #[test]
    fn the_names_of_policies_change_nothing_but_who_is_named(parts in prop::collection::vec(permission(), 1..5)) {
        let by = |name: fn(usize) -> String| {
            let policies: serde_json::Map<String, Value> = parts.iter().enumerate().map(|(index, part)| {
                (name(index), json!({ "permissions": [part], "principals": [{ "any": true }] }))
            }).collect();
            let rules = rules(json!({ "policies": policies }));
            cases().iter().map(|case| case.judged(&rules).0).collect::<Vec<_>>()
        };
        prop_assert_eq!(by(|index| format!("a{index}")), by(|index| format!("{}", 9 - index)));
    }

    #[test]
    fn what_one_action_lets_in_the_other_keeps_out(permission in permission()) {
        let any = json!({ "any": true });
        let (allow, deny) = (rules(one("ALLOW", &permission, &any)), rules(one("DENY", &permission, &any)));
        for case in cases() {
            prop_assert_ne!(case.judged(&allow).0, case.judged(&deny).0);
            prop_assert_eq!(case.judged(&allow).1, case.judged(&deny).1);
        }
    }
}
