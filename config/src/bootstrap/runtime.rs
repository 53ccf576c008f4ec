//! What a bootstrap says by Envoy's runtime keys (`layered_runtime`).

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::bootstrap::v3 as pb;
use weft_xds_proto::pb::google::protobuf as wkt;

use crate::diag::{Diagnostics, FieldPath};

/// Streams below which a connection is not ended for resets.
const RESET_STREAMS: &str = "overload.premature_reset_total_stream_count";

/// Seconds after which a reset is not premature.
const RESET_LIFE: &str = "overload.premature_reset_min_stream_lifetime_seconds";

/// The keys that mean something here; `None`: nothing is said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// An HTTP/2 connection ends when more of its streams were reset before their answer than half of this, and than half of
    /// all (`overload.premature_reset_total_stream_count`, 500 in Envoy). Above 0.
    pub premature_reset_streams_min: Option<u32>,
    /// A stream that was open for longer than this may be reset before its answer
    /// (`overload.premature_reset_min_stream_lifetime_seconds`, 1 in Envoy).
    pub premature_reset_life: Option<Duration>,
}

impl Runtime {
    /// Reads the static layers, of which a later one goes before an earlier one.
    pub(super) fn parse(
        proto: &pb::LayeredRuntime,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        use pb::runtime_layer::LayerSpecifier;
        let mut runtime = Self::default();
        for (index, layer) in proto.layers.iter().enumerate() {
            let at = at.field("layers").index(index);
            let ignored = |name, diag: &mut Diagnostics| {
                diag.warn(at.field(name), "is not supported and ignored");
            };
            match &layer.layer_specifier {
                Some(LayerSpecifier::StaticLayer(keys)) => {
                    runtime.read("", keys, &at.field("static_layer"), diag);
                }
                Some(LayerSpecifier::DiskLayer(_)) => ignored("disk_layer", diag),
                Some(LayerSpecifier::AdminLayer(_)) => ignored("admin_layer", diag),
                Some(LayerSpecifier::RtdsLayer(_)) => ignored("rtds_layer", diag),
                None => diag.fault(at, "says neither static_layer nor another"),
            }
        }
        runtime
    }

    /// Reads keys below `above`: `a.b: 1` and `a: {b: 1}` are the same.
    fn read(&mut self, above: &str, keys: &wkt::Struct, at: &FieldPath, diag: &mut Diagnostics) {
        // A map has no order, findings have.
        let mut fields: Vec<_> = keys.fields.iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        for (name, value) in fields {
            let key = match above {
                "" => name.clone(),
                _ => format!("{above}.{name}"),
            };
            let at = at.field(name);
            match (&value.kind, key.as_str()) {
                (_, RESET_STREAMS) => {
                    let count = whole(value).filter(|count| *count > 0);
                    let count = count.ok_or("must be a whole number from 1 to 4294967295");
                    self.premature_reset_streams_min = diag.keep(at, count);
                }
                (_, RESET_LIFE) => {
                    let seconds = whole(value).ok_or("must be a whole number of seconds");
                    let seconds = diag.keep(at, seconds).map(u64::from);
                    self.premature_reset_life = seconds.map(Duration::from_secs);
                }
                (Some(wkt::value::Kind::StructValue(below)), _) if leads_to_known(&key) => {
                    self.read(&key, below, &at, diag);
                }
                _ => diag.warn(
                    at,
                    format!("the runtime key {key} is not known here and ignored"),
                ),
            }
        }
    }
}

fn leads_to_known(prefix: &str) -> bool {
    let leads = |key: &str| {
        let rest = key.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    leads(RESET_STREAMS) || leads(RESET_LIFE)
}

/// A whole number, as such or, as Envoy takes it too, as text.
fn whole(value: &wkt::Value) -> Option<u32> {
    match value.kind.as_ref()? {
        wkt::value::Kind::NumberValue(number) => {
            let within = (0.0..=f64::from(u32::MAX)).contains(number) && number.fract() == 0.0;
            // The range was looked at, so that nothing is cut off.
            within.then_some(*number as u32)
        }
        wkt::value::Kind::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bootstrap;
    use super::*;

    fn read(layers: &str) -> (Option<Runtime>, Vec<String>) {
        let mut diag = Diagnostics::new();
        let text = format!("layered_runtime: {{layers: {layers}}}");
        let bootstrap = Bootstrap::parse_file(&text, "b.yaml", &mut diag);
        let said = diag.findings().iter().map(ToString::to_string).collect();
        (bootstrap.map(|it| it.runtime), said)
    }

    #[test]
    fn keys_are_read_in_either_form_and_the_last_layer_counts() {
        let (runtime, said) = read(
            "[{name: a, static_layer: {overload: {premature_reset_total_stream_count: 100,
             premature_reset_min_stream_lifetime_seconds: '3'}}},
             {name: b, static_layer: {overload.premature_reset_total_stream_count: 50}}]",
        );
        let runtime = runtime.expect("no fault");
        assert_eq!(said, [""; 0]);
        assert_eq!(runtime.premature_reset_streams_min, Some(50));
        assert_eq!(runtime.premature_reset_life, Some(Duration::from_secs(3)));
    }

    #[test]
    fn other_keys_and_layers_are_named_and_ignored() {
        let (runtime, said) = read(
            "[{name: a, static_layer: {overload: {global_downstream_max_connections: 5}, x.y: true}},
             {name: b, admin_layer: {}}]",
        );
        assert_eq!(runtime, Some(Runtime::default()));
        assert_eq!(said.len(), 3, "{said:?}");
        for (said, part) in said.iter().zip([
            "the runtime key overload.global_downstream_max_connections is not known",
            "the runtime key x.y is not known",
            "admin_layer",
        ]) {
            assert!(said.contains(part), "{said} has no {part}");
        }
    }

    #[test]
    fn values_out_of_range_are_faults() {
        for value in ["0", "-1", "1.5", "4294967296", "true", "many", "{a: 1}"] {
            let (runtime, said) = read(&format!(
                "[{{name: a, static_layer: {{overload.premature_reset_total_stream_count: {value}}}}}]"
            ));
            assert_eq!(runtime, None, "{value}");
            assert!(
                said.iter().any(|it| it.contains("whole number")),
                "{said:?}"
            );
        }
    }
}
