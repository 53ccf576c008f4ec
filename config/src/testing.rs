//! Messages from JSON, for the tests of parsers.

use prost::Name;
use serde_json::Value;

use crate::diag::Diagnostics;

/// The message that `value` writes out.
pub(crate) fn message<M: Name + Default>(value: Value) -> M {
    weft_xds_proto::json::from_json(&value).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// All findings, faults first marked as such.
pub(crate) fn findings(diag: &Diagnostics) -> Vec<String> {
    let mark = |it: &crate::diag::Finding| match it.is_fault() {
        true => format!("fault: {it}"),
        false => format!("warning: {it}"),
    };
    diag.findings().iter().map(mark).collect()
}
