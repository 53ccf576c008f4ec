//! Reading an overload manager.

use std::collections::HashSet;
use std::num::NonZero;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::overload::v3 as pb;
use weft_xds_proto::pb::envoy::extensions::resource_monitors::downstream_connections::v3 as downstream;
use weft_xds_proto::pb::envoy::extensions::resource_monitors::fixed_heap::v3 as heap;
use weft_xds_proto::pb::google::protobuf::Any;

use super::{ALL, Action, Beyond, Overload, Resource, Trigger};
use crate::diag::{Diagnostics, FieldPath, near_name};
use crate::proto::{optional_duration, type_name, unpack};

/// Time between two looks where an overload manager does not say, as in Envoy.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Looking more often would be the load.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What the names of all of Envoy's actions begin with.
const PREFIX: &str = "envoy.overload_actions.";

/// Envoy's further actions. To do without them sheds less.
const NOT_SUPPORTED: [&str; 4] = [
    "disable_http_keepalive",
    "shrink_heap",
    "reduce_timeouts",
    "reset_high_memory_stream",
];

/// The monitors by the names that triggers call them; `None`: one that is ignored, and said to be.
type Monitors<'p> = Vec<(&'p str, Option<Resource>)>;

impl Overload {
    pub(in crate::bootstrap) fn parse(
        proto: &pb::OverloadManager,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut overload = Self {
            refresh_interval: refresh_interval(proto, at, diag),
            ..Self::default()
        };
        let monitors = overload.monitors(&proto.resource_monitors, at, diag);
        let mut names = HashSet::new();
        for (index, action) in proto.actions.iter().enumerate() {
            let at = at.field("actions").index(index);
            if !names.insert(&action.name) {
                let rule = format!("{:?} stands twice", action.name);
                diag.fault(at.field("name"), rule);
            }
            overload.action(action, &monitors, &at, diag);
        }
        let mut ignored = |name: &str, given: bool| {
            if given {
                diag.warn(at.field(name), "is not supported yet and ignored");
            }
        };
        ignored("loadshed_points", !proto.loadshed_points.is_empty());
        ignored(
            "buffer_factory_config",
            proto.buffer_factory_config.is_some(),
        );
        overload
    }

    fn monitors<'p>(
        &mut self,
        protos: &'p [pb::ResourceMonitor],
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Monitors<'p> {
        let list = at.field("resource_monitors");
        if protos.is_empty() {
            diag.fault(list.clone(), "must not be empty");
        }
        let mut monitors = Monitors::new();
        for (index, proto) in protos.iter().enumerate() {
            let at = list.index(index);
            let resource = self.monitor(proto, &at, diag);
            let twice = |(name, known): &(&str, Option<Resource>)| {
                *name == proto.name || (known.is_some() && *known == resource)
            };
            if proto.name.is_empty() {
                diag.fault(at.field("name"), "must not be empty");
            } else if monitors.iter().any(twice) {
                diag.fault(at, format!("{:?} stands twice", proto.name));
            }
            monitors.push((&proto.name, resource));
        }
        monitors
    }

    /// Reads one monitor by the type of its configuration, as Envoy does.
    fn monitor(
        &mut self,
        proto: &pb::ResourceMonitor,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Resource> {
        use pb::resource_monitor::ConfigType;
        let Some(ConfigType::TypedConfig(config)) = &proto.config_type else {
            diag.fault(at.field("typed_config"), "is missing");
            return None;
        };
        let at = at.field("typed_config");
        match type_name(config) {
            "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig" => {
                self.memory_bytes_max = memory_bytes_max(config, &at, diag);
                Some(Resource::Memory)
            }
            "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig" =>
            {
                self.connections_max = connections_max(config, &at, diag);
                self.beyond = Beyond::Refuse;
                Some(Resource::Connections)
            }
            other => {
                let rule = format!("{other} is not supported yet and ignored, with its triggers");
                diag.warn(at, rule);
                None
            }
        }
    }

    fn action(
        &mut self,
        proto: &pb::OverloadAction,
        monitors: &Monitors<'_>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) {
        let name = proto.name.strip_prefix(PREFIX).unwrap_or(&proto.name);
        let ours = proto.name.starts_with(PREFIX);
        let action = Action::EVERY
            .into_iter()
            .find(|action| ours && action.as_str() == name);
        let Some(action) = action else {
            return not_ours(&proto.name, name, at, diag);
        };
        if proto.typed_config.is_some() {
            let rule = format!("{name} takes no configuration");
            diag.fault(at.field("typed_config"), rule);
        }
        let list = at.field("triggers");
        if proto.triggers.is_empty() {
            diag.fault(list.clone(), "must not be empty");
        }
        let mut seen = HashSet::new();
        for (index, proto) in proto.triggers.iter().enumerate() {
            let at = list.index(index);
            if !seen.insert(&proto.name) {
                let rule = format!("{:?} stands twice", proto.name);
                diag.fault(at.field("name"), rule);
            }
            let resource = monitor_of(&proto.name, monitors, &at, diag);
            let bounds = bounds(proto, &at, diag);
            if let (Some(resource), Some((scaled_above, saturated_from))) = (resource, bounds) {
                self.triggers.push(Trigger {
                    action,
                    resource,
                    scaled_above,
                    saturated_from,
                });
            }
        }
    }
}

fn refresh_interval(
    proto: &pb::OverloadManager,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Duration {
    let name = "refresh_interval";
    let given = optional_duration(&proto.refresh_interval, at, name, diag);
    let given = given.unwrap_or(REFRESH_INTERVAL);
    if given < REFRESH_INTERVAL_MIN {
        let rule = format!("must be at least {REFRESH_INTERVAL_MIN:?}, got {given:?}");
        diag.fault(at.field(name), rule);
    }
    given
}

/// Exactly one of the two fields is given, and it is above 0. Of the runtime value its default counts, since there is no
/// runtime layer to look the key up in.
fn memory_bytes_max(config: &Any, at: &FieldPath, diag: &mut Diagnostics) -> Option<NonZero<u64>> {
    let proto: heap::FixedHeapConfig = unpack(config, at, diag)?;
    let (name, bytes) = match &proto.max_heap_size_bytes_runtime {
        None => ("max_heap_size_bytes", proto.max_heap_size_bytes),
        Some(runtime) => ("max_heap_size_bytes_runtime", runtime.default_value),
    };
    if name != "max_heap_size_bytes" && proto.max_heap_size_bytes > 0 {
        let rule = "must not be given beside max_heap_size_bytes";
        diag.fault(at.field(name), rule);
    }
    let above_zero = NonZero::new(bytes).ok_or("must be above 0, got 0");
    diag.keep(at.field(name), above_zero)
}

fn connections_max(config: &Any, at: &FieldPath, diag: &mut Diagnostics) -> Option<NonZero<u64>> {
    let proto: downstream::DownstreamConnectionsConfig = unpack(config, at, diag)?;
    let given = proto.max_active_downstream_connections;
    let above_zero = u64::try_from(given).ok().and_then(NonZero::new);
    let above_zero = above_zero.ok_or_else(|| format!("must be above 0, got {given}"));
    diag.keep(at.field("max_active_downstream_connections"), above_zero)
}

/// Says of an action that we do not have whether Envoy has it.
fn not_ours(given: &str, name: &str, at: &FieldPath, diag: &mut Diagnostics) {
    let at = at.field("name");
    if given.starts_with(PREFIX) && NOT_SUPPORTED.contains(&name) {
        return diag.warn(at, format!("{given} is not supported yet and ignored"));
    }
    let known = Action::EVERY.map(Action::as_str);
    let near = near_name(name, known.into_iter().chain(NOT_SUPPORTED));
    let near = near
        .map(|near| format!(", did you mean \"{PREFIX}{near}\"?"))
        .unwrap_or_default();
    diag.fault(at, format!("{given:?} is no overload action{near}"));
}

/// What the monitor `name` looks at; `None` where it is ignored or, a fault, not there.
fn monitor_of(
    name: &str,
    monitors: &Monitors<'_>,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<Resource> {
    if let Some((_, resource)) = monitors.iter().find(|(known, _)| *known == name) {
        return *resource;
    }
    let near = near_name(name, monitors.iter().map(|(known, _)| *known));
    let near = near
        .map(|near| format!(", did you mean {near:?}?"))
        .unwrap_or_default();
    let rule = format!("{name:?} is not among the resource monitors{near}");
    diag.fault(at.field("name"), rule);
    None
}

/// The pressures above which a trigger begins, and from which it is saturated.
fn bounds(proto: &pb::Trigger, at: &FieldPath, diag: &mut Diagnostics) -> Option<(u32, u32)> {
    use pb::trigger::TriggerOneof;
    match &proto.trigger_oneof {
        Some(TriggerOneof::Threshold(threshold)) => {
            let at = at.field("threshold").field("value");
            let value = diag.keep(at, share(threshold.value))?;
            Some((value, value))
        }
        Some(TriggerOneof::Scaled(scaled)) => {
            let at = at.field("scaled");
            let from = diag.keep(
                at.field("scaling_threshold"),
                share(scaled.scaling_threshold),
            );
            let to = share(scaled.saturation_threshold);
            let to = diag.keep(at.field("saturation_threshold"), to);
            let (from, to) = (from?, to?);
            if from >= to {
                let rule = "must be below saturation_threshold";
                diag.fault(at.field("scaling_threshold"), rule);
                return None;
            }
            Some((from, to))
        }
        None => {
            diag.fault(at.clone(), "has neither threshold nor scaled");
            None
        }
    }
}

/// A share in parts per million.
fn share(value: f64) -> Result<u32, String> {
    if !(0.0..=1.0).contains(&value) {
        return Err(format!("must be from 0 to 1, got {value}"));
    }
    Ok((value * f64::from(ALL)).round() as u32)
}
