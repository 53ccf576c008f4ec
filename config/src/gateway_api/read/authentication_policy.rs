//! Reading `AuthenticationPolicy`.

use super::authorization_policy::targets;
use super::{Fields, Item, Reader};
use crate::gateway_api::authentication_policy::{AuthenticationPolicy, Mtls, MtlsMode};

const MODES: [(&str, MtlsMode); 3] = [
    ("STRICT", MtlsMode::Strict),
    ("PERMISSIVE", MtlsMode::Permissive),
    ("DISABLE", MtlsMode::Disable),
];

/// Reads the `spec` of an `AuthenticationPolicy`.
pub(crate) fn authentication_policy(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<AuthenticationPolicy> {
    let target_refs = targets(cx, fields, "AuthenticationPolicy");
    if let Some(item) = fields.get("jwt") {
        item.fault(
            cx,
            "is not built yet: no sidecar of this version verifies tokens",
        );
    }
    let mtls = fields.require(cx, "mtls").and_then(|item| mtls(cx, &item));
    Some(AuthenticationPolicy {
        target_refs,
        mtls: mtls?,
    })
}

fn mtls(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Mtls> {
    let mut fields = item.fields(cx)?;
    let mode = fields
        .require(cx, "mode")
        .and_then(|item| item.choice(cx, &MODES));
    fields.finish(cx);
    Some(Mtls { mode: mode? })
}
