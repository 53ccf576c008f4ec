//! Reading `AuthenticationPolicy`.

mod jwt;

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
    let target_refs = targets(cx, fields);
    let (mtls_item, jwt_item) = (fields.get("mtls"), fields.get("jwt"));
    if mtls_item.is_none() && jwt_item.is_none() {
        fields.fault(cx, "must have mtls or jwt: it says nothing otherwise");
    }
    let mtls = mtls_item.map(|item| mtls(cx, &item));
    let jwt = jwt_item.map(|item| jwt::jwt(cx, &item));
    Some(AuthenticationPolicy {
        target_refs,
        mtls: mtls.map_or(Some(None), |it| it.map(Some))?,
        jwt: jwt.map_or(Some(None), |it| it.map(Some))?,
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
