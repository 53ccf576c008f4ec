//! Reading `jwt` of an `AuthenticationPolicy`.

use crate::gateway_api::authentication_policy::{
    ClaimToHeader, JwtAuthentication, JwtHeader, JwtProvider, Keys,
};
use crate::gateway_api::read::{Fields, Item, Reader, check};
use crate::jwt::KeySet;
use crate::policy::authn::RemoteKeys;
use crate::policy::editable_name;
use crate::yaml::shorten;

const PROVIDERS_MAX: usize = 16;
const AUDIENCES_MAX: usize = 64;
const PLACES_MAX: usize = 5;
const CLAIMS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;

pub(super) fn jwt(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<JwtAuthentication> {
    let mut fields = item.fields(cx)?;
    let required = fields.get("required").map(|item| item.bool(cx));
    let providers = fields.require(cx, "providers").map(|list| {
        let providers = list.each(cx, 1, PROVIDERS_MAX, provider);
        check::unique(cx, &list, &providers, "the issuer", |it| {
            Some(it.issuer.clone())
        });
        providers
    });
    fields.finish(cx);
    Some(JwtAuthentication {
        required: required.unwrap_or(Some(false))?,
        providers: providers?,
    })
}

fn provider(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<JwtProvider> {
    let mut fields = item.fields(cx)?;
    let issuer = fields.require(cx, "issuer");
    let issuer = issuer.and_then(|item| text(cx, &item));
    let audiences = texts(cx, &mut fields, "audiences", AUDIENCES_MAX);
    let keys = keys(cx, item, &mut fields);
    let headers = fields.get("fromHeaders");
    let headers = headers.map(|list| list.each(cx, 1, PLACES_MAX, header));
    let from_params = texts(cx, &mut fields, "fromParams", PLACES_MAX);
    let from_cookies = texts(cx, &mut fields, "fromCookies", PLACES_MAX);
    let forward = fields.get("forwardOriginalToken").map(|item| item.bool(cx));
    let payload = fields.get("outputPayloadToHeader");
    let payload = payload.map(|item| output_name(cx, &item));
    let claims = fields.get("outputClaimToHeaders");
    let claims = claims.map(|list| list.each(cx, 1, CLAIMS_MAX, claim));
    fields.finish(cx);
    Some(JwtProvider {
        issuer: issuer?,
        audiences,
        keys: keys?,
        from_headers: headers.unwrap_or_default(),
        from_params,
        from_cookies,
        forward_original_token: forward.unwrap_or(Some(false))?,
        output_payload_to_header: payload.map_or(Some(None), |it| it.map(Some))?,
        output_claim_to_headers: claims.unwrap_or_default(),
    })
}

fn keys(cx: &mut Reader<'_>, provider: &Item<'_>, fields: &mut Fields<'_>) -> Option<Keys> {
    match (fields.get("jwksUri"), fields.get("jwks")) {
        (Some(uri), None) => uri.parsed(cx, |text| {
            RemoteKeys::authority_and_path(text)?;
            Ok(Keys::Uri(text.to_owned()))
        }),
        (None, Some(keys)) => {
            let set = keys.parsed(cx, |text| {
                KeySet::read(text.as_bytes())
                    .map(|set| (set, text.to_owned()))
                    .map_err(|error| error.to_string())
            });
            let (set, text) = set?;
            for key in set.passed_over() {
                keys.warn(cx, format!("{key}; it is not used"));
            }
            Some(Keys::Inline(text))
        }
        (Some(_), Some(_)) | (None, None) => {
            provider.fault(cx, "must have either jwksUri or jwks");
            None
        }
    }
}

fn header(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<JwtHeader> {
    let mut fields = item.fields(cx)?;
    let name = fields.require(cx, "name");
    let name = name.and_then(|item| header_name(cx, &item));
    let prefix = fields.get("prefix").map(|item| text(cx, &item));
    fields.finish(cx);
    Some(JwtHeader {
        name: name?,
        prefix: prefix.unwrap_or_else(|| Some(String::new()))?,
    })
}

fn claim(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<ClaimToHeader> {
    let mut fields = item.fields(cx)?;
    let header = fields.require(cx, "header");
    let header = header.and_then(|item| output_name(cx, &item));
    let claim = fields.require(cx, "claim").and_then(|item| {
        item.parsed(cx, |text| {
            let parts = !text.is_empty() && text.split('.').all(|part| !part.is_empty());
            match parts && text.len() <= TEXT_BYTES_MAX {
                true => Ok(text.to_owned()),
                false => Err("must be a claim's name, or names with `.` between them".to_owned()),
            }
        })
    });
    fields.finish(cx);
    Some(ClaimToHeader {
        header: header?,
        claim: claim?,
    })
}

/// The name of a field that may be read and written.
fn header_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| editable_name(text).map(str::to_owned))
}

/// The name of a field that applications are given: not one by which proxies say who calls, or from where.
fn output_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let name = editable_name(text)?;
        let lower = name.to_ascii_lowercase();
        let owned = OWNED_PREFIXES.iter().any(|it| lower.starts_with(it));
        match owned || OWNED.contains(&lower.as_str()) {
            true => Err(format!(
                "`{}` is written by proxies: a token must not speak for them",
                shorten(name)
            )),
            false => Ok(name.to_owned()),
        }
    })
}

/// What fields of proxies begin with.
const OWNED_PREFIXES: [&str; 3] = ["x-forwarded-", "x-weft-", "x-envoy-"];

/// Further fields of proxies, or by which they frame messages.
const OWNED: [&str; 8] = [
    "content-type",
    "expect",
    "forwarded",
    "grpc-timeout",
    "proxy-connection",
    "trailer",
    "via",
    "x-request-id",
];

fn texts(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
    max: usize,
) -> Vec<String> {
    let list = fields.get(name);
    list.map(|list| list.each(cx, 1, max, text))
        .unwrap_or_default()
}

fn text(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        match (1..=TEXT_BYTES_MAX).contains(&text.len()) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "must have from 1 to {TEXT_BYTES_MAX} bytes, got `{}`",
                shorten(text)
            )),
        }
    })
}
