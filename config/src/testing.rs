//! Messages from JSON, for the tests of parsers.

use std::sync::OnceLock;

use prost::Name;
use serde_json::Value;
use weft_xds_proto::json::Descriptors;

use crate::diag::Diagnostics;

/// The message that `value` writes out.
pub(crate) fn message<M: Name + Default>(value: Value) -> M {
    // Tests make many.
    static HELD: OnceLock<Descriptors> = OnceLock::new();
    HELD.get_or_init(Descriptors::load);
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
