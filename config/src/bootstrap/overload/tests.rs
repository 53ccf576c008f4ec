use super::*;
use crate::bootstrap::Bootstrap;
use crate::diag::Diagnostics;
use crate::testing::findings;

const HEAP: &str = "{name: heap, typed_config: {'@type': type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 1000}}";
const CONNECTIONS: &str = "{name: connections, typed_config: {'@type': type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 7}}";

fn parse(manager: &str) -> (Option<Overload>, Vec<String>) {
    let text = format!("overload_manager: {{{manager}}}");
    let mut diag = Diagnostics::new();
    let bootstrap = Bootstrap::parse_file(&text, "boot.yaml", &mut diag);
    let found = findings(&diag).into_iter().map(|line| {
        let (kind, rest) = line.split_once(": boot.yaml:").expect("a place");
        let (_, rest) = rest.split_once(": ").expect("a path");
        format!("{kind}: {}", rest.replace("overload_manager.", ""))
    });
    (bootstrap.and_then(|it| it.overload), found.collect())
}

/// What is found with one action `stop_accepting_requests` and one trigger of it.
fn trigger(trigger: &str) -> (Option<Overload>, Vec<String>) {
    parse(&format!(
        "resource_monitors: [{HEAP}], actions: [{{name: envoy.overload_actions.stop_accepting_requests, triggers: [{trigger}]}}]"
    ))
}

#[test]
fn monitors_and_actions_are_read() {
    let (overload, found) = parse(&format!(
        "refresh_interval: 0.25s, resource_monitors: [{HEAP}, {CONNECTIONS}], actions: [
          {{name: envoy.overload_actions.stop_accepting_requests, triggers: [
            {{name: heap, scaled: {{scaling_threshold: 0.5, saturation_threshold: 0.9}}}}, {{name: connections, threshold: {{value: 1}}}}]}},
          {{name: envoy.overload_actions.stop_accepting_connections, triggers: [{{name: heap, threshold: {{value: 0.95}}}}]}},
          {{name: envoy.overload_actions.reject_incoming_connections, triggers: [{{name: heap, threshold: {{value: 0}}}}]}}]"
    ));
    assert_eq!(found, Vec::<String>::new());
    let of = |action, resource, scaled_above, saturated_from| Trigger {
        action,
        resource,
        scaled_above,
        saturated_from,
    };
    let wanted = Overload {
        refresh_interval: Duration::from_millis(250),
        memory_bytes_max: NonZero::new(1000),
        connections_max: NonZero::new(7),
        beyond: Beyond::Refuse,
        triggers: vec![
            of(Action::StopRequests, Resource::Memory, 500_000, 900_000),
            of(Action::StopRequests, Resource::Connections, ALL, ALL),
            of(Action::StopConnections, Resource::Memory, 950_000, 950_000),
            of(Action::RejectConnections, Resource::Memory, 0, 0),
        ],
    };
    assert_eq!(overload, Some(wanted));
}

#[test]
fn what_is_not_said_is_as_in_envoy() {
    let (overload, found) = parse(&format!("resource_monitors: [{HEAP}]"));
    assert_eq!(found, Vec::<String>::new());
    let overload = overload.expect("it is sound");
    assert_eq!(overload.refresh_interval, Duration::from_secs(1));
    assert_eq!(overload.beyond, Beyond::Wait);
    assert_eq!(overload.triggers, []);
}

#[test]
fn the_default_value_of_a_runtime_bound_counts() {
    let heap = HEAP.replace(
        "max_heap_size_bytes: 1000",
        "max_heap_size_bytes_runtime: {default_value: 5, runtime_key: k}",
    );
    let (overload, found) = parse(&format!("resource_monitors: [{heap}]"));
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(overload.and_then(|it| it.memory_bytes_max), NonZero::new(5));
}

#[test]
fn every_fault_names_its_place_and_value() {
    let action = "envoy.overload_actions.stop_accepting_requests";
    let in_triggers = "actions[0].triggers[0]";
    for (text, wanted) in [
        ("", "resource_monitors: must not be empty".to_owned()),
        (
            &format!("refresh_interval: 0.001s, resource_monitors: [{HEAP}]"),
            "refresh_interval: must be at least 10ms, got 1ms".to_owned(),
        ),
        (
            &format!("resource_monitors: [{HEAP}, {}]", HEAP.replace("name: heap", "name: other")),
            "resource_monitors[1]: \"other\" stands twice".to_owned(),
        ),
        (
            &format!("resource_monitors: [{}]", HEAP.replace("1000", "0")),
            "resource_monitors[0].typed_config.max_heap_size_bytes: must be above 0, got 0".to_owned(),
        ),
        (
            &format!("resource_monitors: [{}]", CONNECTIONS.replace('7', "-7")),
            "resource_monitors[0].typed_config.max_active_downstream_connections: must be above 0, got -7".to_owned(),
        ),
        (
            "resource_monitors: [{name: a}]",
            "resource_monitors[0].typed_config: is missing".to_owned(),
        ),
        (
            &format!("resource_monitors: [{HEAP}], actions: [{{name: envoy.overload_actions.stop_accepting_request, triggers: []}}]"),
            "actions[0].name: \"envoy.overload_actions.stop_accepting_request\" is no overload action, did you mean \"envoy.overload_actions.stop_accepting_requests\"?".to_owned(),
        ),
        (
            &format!("resource_monitors: [{HEAP}], actions: [{{name: {action}}}]"),
            "actions[0].triggers: must not be empty".to_owned(),
        ),
        (
            &format!("resource_monitors: [{HEAP}], actions: [{{name: {action}, triggers: [{{name: haep, threshold: {{value: 1}}}}]}}]"),
            format!("{in_triggers}.name: \"haep\" is not among the resource monitors, did you mean \"heap\"?"),
        ),
    ] {
        let (overload, found) = parse(text);
        assert!(overload.is_none(), "{text}");
        assert_eq!(found, [format!("fault: {wanted}")], "{text}");
    }
}

#[test]
fn triggers_have_shares_in_order() {
    for (text, wanted) in [
        ("{name: heap}", "has neither threshold nor scaled"),
        (
            "{name: heap, threshold: {value: 1.1}}",
            "threshold.value: must be from 0 to 1, got 1.1",
        ),
        (
            "{name: heap, threshold: {value: -0.1}}",
            "threshold.value: must be from 0 to 1, got -0.1",
        ),
        (
            "{name: heap, threshold: {value: NaN}}",
            "threshold.value: must be from 0 to 1, got NaN",
        ),
        (
            "{name: heap, scaled: {scaling_threshold: 0.9, saturation_threshold: 0.9}}",
            "scaled.scaling_threshold: must be below saturation_threshold",
        ),
    ] {
        let (overload, found) = trigger(text);
        assert!(overload.is_none(), "{text}");
        let line = found.first().map(String::as_str).unwrap_or_default();
        assert!(
            found.len() == 1
                && line.starts_with("fault: actions[0].triggers[0]")
                && line.ends_with(wanted),
            "{text}: {found:?}"
        );
    }
    let twice = "{name: heap, threshold: {value: 1}}, {name: heap, threshold: {value: 0.5}}";
    assert_eq!(
        trigger(twice).1,
        ["fault: actions[0].triggers[1].name: \"heap\" stands twice"]
    );
}

#[test]
fn what_would_only_shed_more_is_ignored_with_a_warning() {
    let cpu = "{name: cpu, typed_config: {'@type': type.googleapis.com/envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig}}";
    let (overload, found) = parse(&format!(
        "resource_monitors: [{HEAP}, {cpu}], actions: [
          {{name: envoy.overload_actions.shrink_heap, triggers: [{{name: heap, threshold: {{value: 0.9}}}}]}},
          {{name: envoy.overload_actions.stop_accepting_requests, triggers: [{{name: cpu, threshold: {{value: 0.9}}}}, {{name: heap, threshold: {{value: 1}}}}]}}],
         loadshed_points: [{{name: envoy.load_shed_points.tcp_listener_accept, triggers: [{{name: heap, threshold: {{value: 0.9}}}}]}}]"
    ));
    assert_eq!(
        found,
        [
            "warning: resource_monitors[1].typed_config: envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig is not supported yet and ignored, with its triggers",
            "warning: actions[0].name: envoy.overload_actions.shrink_heap is not supported yet and ignored",
            "warning: loadshed_points: is not supported yet and ignored",
        ]
    );
    let triggers = overload.expect("warnings refuse nothing").triggers;
    assert_eq!(
        triggers.iter().map(|it| it.resource).collect::<Vec<_>>(),
        [Resource::Memory]
    );
}

#[test]
fn a_trigger_asks_for_nothing_a_share_or_all() {
    let of = |action, scaled_above, saturated_from| Trigger {
        action,
        resource: Resource::Memory,
        scaled_above,
        saturated_from,
    };
    let threshold = of(Action::StopRequests, 900_000, 900_000);
    let scaled = of(Action::RejectConnections, 500_000, 900_000);
    let binary = of(Action::StopConnections, 500_000, 900_000);
    for (trigger, pressure, share) in [
        (threshold, 0, 0),
        (threshold, 899_999, 0),
        (threshold, 900_000, ALL),
        (threshold, u32::MAX, ALL),
        (scaled, 500_000, 0),
        (scaled, 600_000, 250_000),
        (scaled, 899_999, 999_997),
        (scaled, 900_000, ALL),
        (binary, 899_999, 0),
        (binary, 900_000, ALL),
        (of(Action::StopRequests, 0, 0), 0, ALL),
    ] {
        assert_eq!(trigger.share(pressure), share, "{trigger:?} at {pressure}");
    }
}

#[test]
fn a_budget_alone_brings_its_triggers_and_takes_none_away() {
    let budget = NonZero::new(64);
    let alone = Overload::default().with_memory(budget);
    assert_eq!(alone.memory_bytes_max, budget);
    assert_eq!(alone.lowest(Resource::Memory), Some(900_000));
    assert_eq!(alone.lowest(Resource::Connections), None);
    let (said, _) = trigger("{name: heap, threshold: {value: 0.5}}");
    let said = said.expect("it is sound");
    let changed = said.clone().with_memory(budget);
    assert_eq!(changed.memory_bytes_max, budget);
    assert_eq!(changed.triggers, said.triggers);
    let off = Overload::default().with_memory(None);
    assert_eq!(off, Overload::default());
}
