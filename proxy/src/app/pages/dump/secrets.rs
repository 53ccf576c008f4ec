//! What is dumped of secrets: those told, those waited for, and who tells them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weft_config::tls::SecretName;

use super::{object, shown};
use crate::xds::accepted::Raw;
use crate::xds::status::StreamReport;

/// Adds Envoy's two lists, with who tells each, and the streams to servers.
pub(super) fn add(
    dump: &mut Map<String, Value>,
    secrets: &BTreeMap<SecretName, Option<Raw>>,
    streams: &[StreamReport],
) {
    let (mut active, mut warming) = (Vec::new(), Vec::new());
    for (secret, raw) in secrets {
        let name = ("name", json!(&*secret.name));
        let source = ("source", json!(secret.origin.to_string()));
        match raw {
            None => warming.push(Value::Object(object([name, source]))),
            Some(raw) => {
                let version = ("version_info", json!(raw.version));
                let since = jiff::Timestamp::try_from(raw.since).map(|at| at.to_string());
                let updated = ("last_updated", json!(since.unwrap_or_default()));
                let secret = ("secret", shown(&raw.packed));
                let entry = object([name, source, version, updated, secret]);
                active.push(Value::Object(entry));
            }
        }
    }
    let streams: Vec<Value> = streams.iter().map(stream).collect();
    dump.extend(object([
        ("dynamic_active_secrets", json!(active)),
        ("dynamic_warming_secrets", json!(warming)),
        ("streams", json!(streams)),
    ]));
}

fn stream(report: &StreamReport) -> Value {
    json!({
        "name": &*report.secret.name,
        "source": report.secret.origin.to_string(),
        "connected": report.connected,
        "address": report.address,
        "last_error": report.last_error,
    })
}
